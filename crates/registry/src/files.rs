//! Opening, writing and syncing single files, with links and special files refused.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::RegistryError;

/// Opens `path` for reading if it is a regular file itself, neither link, directory, pipe nor device.
pub(crate) fn open_regular(path: &Path) -> Result<File, RegistryError> {
    // NONBLOCK: opening a pipe without a writer would wait for ever.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|source| {
        if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            RegistryError::folder(path, "a link, expected a file")
        } else {
            RegistryError::io("open", path)(source)
        }
    })?;
    let metadata = file.metadata().map_err(RegistryError::io("read", path))?;
    if metadata.is_file() { Ok(file) } else { Err(RegistryError::folder(path, "not a regular file")) }
}

/// Writes a new file; an existing one is an error.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<File, RegistryError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(path).map_err(RegistryError::io("create", path))?;
    file.write_all(bytes).map_err(RegistryError::io("write", path))?;
    Ok(file)
}

/// Makes `dir` and whatever folders above it are missing, each with its name: without that a power cut could take a new
/// folder and all that was synced in it.
pub(crate) fn create_directories(dir: &Path) -> Result<(), RegistryError> {
    let missing: Vec<_> = dir.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(dir).map_err(RegistryError::io("create", dir))?;
    let above = |folder: &Path| {
        let above = folder.parent()?;
        Some(if above.as_os_str().is_empty() { Path::new(".") } else { above }.to_owned())
    };
    if missing.is_empty() {
        // It may have been made a moment ago by a process that died; whoever may not look above it did not make it.
        let _ = above(dir).map(|above| sync_directory(&above));
    }
    missing.iter().rev().filter_map(|folder| above(folder)).try_for_each(|above| sync_directory(&above))
}

/// Makes the entries of `dir` durable.
pub(crate) fn sync_directory(dir: &Path) -> Result<(), RegistryError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(RegistryError::io("sync", dir))
}

/// Makes everything written to the file system that holds `dir` durable, in one call for any number of files.
pub(crate) fn sync_file_system(dir: &Path) -> Result<(), RegistryError> {
    let handle = File::open(dir).map_err(RegistryError::io("open", dir))?;
    rustix::fs::syncfs(&handle).map_err(|error| RegistryError::io("sync", dir)(error.into()))
}

/// Whether `path` is a directory itself, not a link to one.
pub(crate) fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Puts a file with `bytes` at `path`, whole or not at all; the caller syncs the directory.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    let partial = path.with_added_extension("part");
    let _ = fs::remove_file(&partial);
    let written = write_new(&partial, bytes)
        .and_then(|file| file.sync_all().map_err(RegistryError::io("sync", &partial)))
        .and_then(|()| fs::rename(&partial, path).map_err(RegistryError::io("move", path)));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Bytes that anybody may still write to the disk that holds `dir`.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64, RegistryError> {
    let stat =
        rustix::fs::statvfs(dir).map_err(|error| RegistryError::io("ask for the free space of", dir)(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses network file systems, whose locks and syncs may not hold.
pub(crate) fn check_local(dir: &Path) -> Result<(), RegistryError> {
    let stat =
        rustix::fs::statfs(dir).map_err(|error| RegistryError::io("ask for the file system of", dir)(error.into()))?;
    let name = match stat.f_type as u32 {
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB",
        0x5346_414f => "AFS",
        0x00c3_6400 => "Ceph",
        _ => return Ok(()),
    };
    Err(RegistryError::NetworkFileSystem { name })
}
