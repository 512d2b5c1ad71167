//! The real sync of the record store's files, on descriptors held open from the start.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::RegistryError;

/// sled's `flush` writes pages but neither metadata nor the drive's cache, and its background sync only logs an error.
/// The kernel reports a failed write-back to every descriptor that was open when it happened: hence these two, opened
/// with the store and never before or after.
#[derive(Debug)]
pub(crate) struct Barrier {
    log: File,
    dir: File,
    path: PathBuf,
}

impl Barrier {
    /// Holds `log`, the store's data file, and the directory `dir` around it.
    pub(crate) fn new(log: File, dir: &Path) -> Result<Self, RegistryError> {
        let handle = File::open(dir).map_err(RegistryError::io("open", dir))?;
        Ok(Self { log, dir: handle, path: dir.to_owned() })
    }

    /// Returns once data, size and directory entries are on the disk. After an error it must not be tried again: the
    /// kernel may have forgotten the pages that it could not write.
    pub(crate) fn pass(&self) -> Result<(), RegistryError> {
        self.log.sync_data().map_err(RegistryError::io("sync", &self.path))?;
        self.dir.sync_all().map_err(RegistryError::io("sync", &self.path))
    }
}
