//! Free space: refuses installs before the disk is full, and keeps a ballast file to let go so that deleting still works.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::error::RegistryError;
use crate::files;

const NAME: &str = "ballast";

/// The reserve of one data directory.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    ballast: PathBuf,
    ballast_bytes: u64,
}

impl Space {
    /// Makes sure that the ballast is there, unless the disk is too full for it.
    pub(crate) fn open(dir: &Path, ballast_bytes: u64) -> Self {
        let space = Self { dir: dir.to_owned(), ballast: dir.join(NAME), ballast_bytes };
        space.restore();
        space
    }

    /// Checks that `bytes` can be written and the ballast's size still be free.
    ///
    /// # Errors
    /// [`RegistryError::DiskFull`].
    pub(crate) fn check(&self, bytes: u64) -> Result<(), RegistryError> {
        self.restore();
        // Besides the bytes themselves: blocks are filled partly, and the store appends before it reuses.
        let needed = bytes.saturating_mul(2).saturating_add(self.ballast_bytes);
        let free = self.free()?;
        if free < needed { Err(RegistryError::DiskFull { needed, free }) } else { Ok(()) }
    }

    /// The refusal of a write that the system has refused for want of space.
    pub(crate) fn full(&self) -> RegistryError {
        RegistryError::DiskFull { needed: self.ballast_bytes, free: self.free().unwrap_or(0) }
    }

    /// Lets the ballast go if the disk is nearly full, so that a deletion can be written.
    pub(crate) fn make_room(&self) -> Result<(), RegistryError> {
        if self.free()? < self.ballast_bytes && fs::remove_file(&self.ballast).is_ok() {
            tracing::warn!(bytes = self.ballast_bytes, "the disk is full: the ballast is used to delete");
        }
        Ok(())
    }

    /// Puts the ballast back where there is room for it.
    pub(crate) fn restore(&self) {
        let is_whole = fs::metadata(&self.ballast).is_ok_and(|metadata| metadata.len() == self.ballast_bytes);
        if is_whole || self.free().is_ok_and(|free| free < 2 * self.ballast_bytes) {
            return;
        }
        if let Err(error) = write_ballast(&self.ballast, self.ballast_bytes) {
            tracing::warn!(%error, "no room for the ballast");
            let _ = fs::remove_file(&self.ballast);
        }
    }

    fn free(&self) -> Result<u64, RegistryError> {
        files::free_bytes(&self.dir)
    }
}

fn write_ballast(path: &Path, bytes: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        allocated => return Ok(allocated?),
    }
    // A file system that cannot reserve may compress: zeros would hold no space.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut written = 0;
    while written < bytes {
        let mut block = Vec::with_capacity(1 << 16);
        while block.len() < 1 << 16 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend(state.to_le_bytes());
        }
        block.truncate(usize::try_from(bytes - written).unwrap_or(usize::MAX));
        file.write_all(&block)?;
        written += block.len() as u64;
    }
    Ok(())
}
