//! How large a registry is, in memory's words and the disk's.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::boot::{JOURNAL, OBJECTS, RECORDS};
use crate::error::RegistryError;
use crate::files;
use crate::objects::ObjectFolder;
use crate::state::State;

/// Counts and bytes of one registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegistryStats {
    /// The number of the last change.
    pub generation: u64,
    /// Tenants that have tasks.
    pub tenants: usize,
    /// Tasks that have versions.
    pub tasks: usize,
    /// Versions that can be served.
    pub versions: usize,
    /// Versions whose objects are damaged.
    pub damaged: usize,
    /// Changes that are remembered.
    pub history: usize,
    /// Records of all kinds.
    pub records: usize,
    /// Bytes of their values.
    pub record_bytes: u64,
    /// Object files, the unused ones included.
    pub objects: usize,
    /// Their bytes.
    pub object_bytes: u64,
    /// Object files that nothing refers to.
    pub unused_objects: usize,
    /// Their bytes.
    pub unused_bytes: u64,
    /// Bytes of the record store's files.
    pub store_bytes: u64,
    /// Bytes of the journal's files.
    pub journal_bytes: u64,
    /// Bytes of record stores that were not trusted and set aside.
    pub set_aside_bytes: u64,
    /// Bytes free on the disk, for anybody.
    pub free_bytes: u64,
}

/// Measures the registry in `dir`, whose records are `state`.
pub(crate) fn stats(dir: &Path, state: &State) -> Result<RegistryStats, RegistryError> {
    let mut stats = RegistryStats {
        generation: state.generation,
        history: state.history().count(),
        records: state.records.len(),
        record_bytes: state.records.values().map(|value| value.len() as u64).sum(),
        store_bytes: folder_bytes(&dir.join(RECORDS))?,
        journal_bytes: folder_bytes(&dir.join(JOURNAL))?,
        set_aside_bytes: set_aside_bytes(dir)?,
        free_bytes: files::free_bytes(dir)?,
        ..RegistryStats::default()
    };
    let mut tenants = BTreeSet::new();
    for (key, task) in state.tasks() {
        tenants.insert(&key.tenant);
        stats.tasks += 1;
        stats.versions += task.versions.len();
        stats.damaged += task.damaged.len();
    }
    stats.tenants = tenants.len();
    let referenced = state.referenced_objects();
    for (digest, bytes) in ObjectFolder::open(&dir.join(OBJECTS))?.sizes()? {
        stats.objects += 1;
        stats.object_bytes += bytes;
        if !referenced.contains(&digest) {
            stats.unused_objects += 1;
            stats.unused_bytes += bytes;
        }
    }
    Ok(stats)
}

fn set_aside_bytes(dir: &Path) -> Result<u64, RegistryError> {
    let aside = format!("{RECORDS}.corrupt");
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(RegistryError::io("list", dir))? {
        let entry = entry.map_err(RegistryError::io("list", dir))?;
        if entry.file_name().to_string_lossy().starts_with(&aside) {
            bytes += folder_bytes(&entry.path())?;
        }
    }
    Ok(bytes)
}

/// Bytes of all files below `folder`. A file that goes away meanwhile has none.
fn folder_bytes(folder: &Path) -> Result<u64, RegistryError> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(RegistryError::io("list", folder))? {
        let entry = entry.map_err(RegistryError::io("list", folder))?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path())?,
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    Ok(bytes)
}
