//! Reading a record store without changing it: opening one writes to it, so it is opened as a copy.

use std::fs;
use std::path::{Path, PathBuf};

use crate::boot;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::files;
use crate::store::{RecordStore, Records, SledStore};

const VERIFY_CACHE_BYTES: u64 = 16 << 20;

/// The records of a store, read from a copy: opening a store writes to it.
pub(super) fn read_store_copy(place: &Path) -> Result<Records, RegistryError> {
    let copy = TemporaryCopy::of(place)?;
    boot::clear_store_leftovers(&copy.dir)?;
    let store = Box::new(SledStore::open(&copy.dir, VERIFY_CACHE_BYTES)?);
    let records = store.scan();
    store.close()?;
    records
}

struct TemporaryCopy {
    dir: PathBuf,
}

impl TemporaryCopy {
    fn of(place: &Path) -> Result<Self, RegistryError> {
        let unique = Digest::of(place.as_os_str().as_encoded_bytes()).hex();
        let dir = std::env::temp_dir().join(format!("headwater-verify-{}-{unique}", std::process::id()));
        fs::create_dir(&dir).map_err(RegistryError::io("create", &dir))?;
        let copy = Self { dir };
        copy_flat_folders(place, &copy.dir)?;
        Ok(copy)
    }
}

impl Drop for TemporaryCopy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Copies files, and folders of files, as a store has them.
fn copy_flat_folders(from: &Path, to: &Path) -> Result<(), RegistryError> {
    for entry in fs::read_dir(from).map_err(RegistryError::io("list", from))? {
        let source = entry.map_err(RegistryError::io("list", from))?.path();
        let Some(name) = source.file_name() else { continue };
        let target = to.join(name);
        if files::is_directory(&source) {
            fs::create_dir(&target).map_err(RegistryError::io("create", &target))?;
            copy_flat_folders(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(RegistryError::io("copy", &source))?;
        }
    }
    Ok(())
}
