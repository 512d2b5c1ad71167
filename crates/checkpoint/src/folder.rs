//! A source folder, read-only: regular files inside it and nothing else, each under a size limit.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::CheckpointError;

/// A folder of checkpoint files. Symbolic links are followed only where they stay inside `bounds`.
#[derive(Debug)]
pub(crate) struct SourceFolder {
    root: PathBuf,
    bounds: PathBuf,
}

impl SourceFolder {
    /// Opens the folder `path`. In the hub's own cache a snapshot holds links into the `blobs` beside it, so there the
    /// bounds are the repository's cache folder.
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let root = path.canonicalize().map_err(CheckpointError::io(path))?;
        if !root.is_dir() {
            return Err(CheckpointError::NotRegular { path: root, found: "not a folder" });
        }
        let snapshots = root.parent().filter(|parent| parent.ends_with("snapshots"));
        let repository = snapshots.and_then(Path::parent).filter(|repository| repository.join("blobs").is_dir());
        let bounds = repository.unwrap_or(&root).to_path_buf();
        Ok(Self { root, bounds })
    }

    /// The folder's own name, for messages and default task names.
    pub(crate) fn name(&self) -> String {
        self.root.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Opens the file `name`, a single path component; `None` where it does not exist.
    ///
    /// # Errors
    /// If it is no regular file inside the bounds, or larger than `limit` bytes.
    pub(crate) fn file(&self, name: &str, limit: u64) -> Result<Option<File>, CheckpointError> {
        let path = self.root.join(name);
        if name.is_empty() || name.contains(['/', '\\', '\0']) || name == "." || name == ".." {
            return Err(CheckpointError::NotRegular { path, found: "a path, not a file name" });
        }
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => return Ok(None),
            Err(error) => return Err(CheckpointError::io(&path)(error)),
        };
        if !real.starts_with(&self.bounds) {
            return Err(CheckpointError::NotRegular { path, found: "a link to a place outside it" });
        }
        // Without NONBLOCK, opening a pipe would wait for a writer for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let descriptor =
            rustix::fs::open(&real, flags, Mode::empty()).map_err(|errno| CheckpointError::io(&path)(errno.into()))?;
        let file = File::from(descriptor);
        let metadata = file.metadata().map_err(CheckpointError::io(&path))?;
        if !metadata.is_file() {
            return Err(CheckpointError::NotRegular { path, found: "a folder, a device or a pipe" });
        }
        if metadata.len() > limit {
            return Err(CheckpointError::TooLarge { path, bytes: metadata.len(), limit });
        }
        Ok(Some(file))
    }

    /// The bytes of the file `name`; `None` where it does not exist.
    ///
    /// # Errors
    /// As [`SourceFolder::file`].
    pub(crate) fn bytes(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
        let Some(file) = self.file(name, limit)? else { return Ok(None) };
        let mut bytes = Vec::new();
        // The file may grow between the check and the read.
        file.take(limit).read_to_end(&mut bytes).map_err(CheckpointError::io(self.root.join(name)))?;
        Ok(Some(bytes))
    }

    /// As [`SourceFolder::bytes`], for a file that must be there.
    pub(crate) fn required_bytes(
        &self,
        name: &str,
        limit: u64,
        hint: Option<&'static str>,
    ) -> Result<Vec<u8>, CheckpointError> {
        self.bytes(name, limit)?.ok_or_else(|| self.missing(name, hint))
    }

    /// Whether something of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.root.join(name).symlink_metadata().is_ok()
    }

    /// The error for a file that should be there.
    pub(crate) fn missing(&self, file: &str, hint: Option<&'static str>) -> CheckpointError {
        CheckpointError::MissingFile { folder: self.root.display().to_string(), file: file.to_owned(), hint }
    }
}
