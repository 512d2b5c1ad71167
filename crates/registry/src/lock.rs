//! One process a data directory: a lock that the kernel lets go when its holder dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::RegistryError;

/// Held for the life of a registry. The file stays when the lock goes; it says whose it is while it is held.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

const NAME: &str = "lock";

impl DirectoryLock {
    /// Takes the data directory for this process alone.
    ///
    /// # Errors
    /// [`RegistryError::Locked`] at once if another has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, RegistryError> {
        let path = dir.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(RegistryError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RegistryError::Locked { pid: holder(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(RegistryError::io("lock", &path)(error)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(RegistryError::io("write", &path))?;
        Ok(Self { _file: file })
    }

    /// Takes the data directory for reading, beside other readers. A directory that was never locked needs none.
    ///
    /// # Errors
    /// [`RegistryError::Locked`] at once if a process may be changing it.
    pub(crate) fn take_shared(dir: &Path) -> Result<Option<Self>, RegistryError> {
        let Ok(mut file) = File::open(dir.join(NAME)) else { return Ok(None) };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(RegistryError::Locked { pid: holder(&mut file) }),
            // A file system without locks cannot have another holder either.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(Self { _file: file })),
        }
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
