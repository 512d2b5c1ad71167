//! Offline tools: verify, count, export, import, rebuild, sweep. They work on a data directory that no server has open,
//! or on a copy.

mod store_copy;
mod transfer;

use std::path::Path;

use crate::boot::{self, BootReport, JOURNAL, OBJECTS, RECORDS};
use crate::capture::{Capture, Hold};
use crate::error::RegistryError;
use crate::journal;
use crate::load::{self, Proven};
use crate::lock::DirectoryLock;
use crate::objects::{ObjectFolder, Swept};
use crate::registry::{OpenOptions, Registry};
use crate::snapshot;
use crate::state::State;
use crate::stats::{self, RegistryStats};
use crate::store::Records;
use crate::verification::{Verification, VerifyReport};

use store_copy::read_store_copy;

pub use transfer::{export, import};

/// Checks everything in the data directory `dir` and changes nothing in it.
///
/// # Errors
/// [`RegistryError::Locked`], [`RegistryError::RecordsLost`], or what the system refused.
pub fn verify(dir: &Path) -> Result<VerifyReport, RegistryError> {
    let lock = DirectoryLock::take_shared(dir)?;
    let objects = ObjectFolder::open(&dir.join(OBJECTS))?;
    let mut problems = journal::damaged_snapshots(&dir.join(JOURNAL))?;
    let account = journal::load(&dir.join(JOURNAL))?.and_then(|account| prove(account.records));
    let stored = read_store_copy(&dir.join(RECORDS)).map(prove);
    problems.extend(match (&account, &stored) {
        (None, Ok(None) | Err(_)) => return Err(RegistryError::RecordsLost { objects: objects.list()?.len() }),
        (_, Err(error)) => Some(format!("the record store cannot be read: {error}")),
        (_, Ok(None)) => Some("a record in the record store is damaged or missing".to_owned()),
        (None, Ok(Some(_))) => Some("no snapshot of the journal is valid".to_owned()),
        (Some((account, of_account)), Ok(Some((stored, of_stored)))) => {
            let is_behind = stored.generation < account.generation;
            let differs = stored.generation == account.generation && of_account != of_stored;
            (is_behind || differs).then(|| "the record store is behind the journal or differs from it".to_owned())
        }
    });
    let stored = stored.ok().flatten();
    let newest = [stored, account].into_iter().flatten().max_by_key(|(proven, _)| proven.generation);
    let Some((proven, records)) = newest else { return Ok(VerifyReport::default()) };
    let (state, damaged) = load::load(records, proven, &objects);
    let referenced = state.referenced_objects();
    let unused_objects = objects.list()?.iter().filter(|digest| !referenced.contains(digest)).count();
    let capture = capture_of(&state, objects, lock);
    Verification::new(&state, capture, VerifyReport { damaged, unused_objects, problems, ..VerifyReport::default() })
        .run(|_| {})
}

/// Counts and bytes of the registry in `dir`, of which nothing is changed.
///
/// # Errors
/// As [`Registry::open`] for reading.
pub fn stats(dir: &Path) -> Result<RegistryStats, RegistryError> {
    let (_lock, state, _) = boot::open_read_only(dir)?;
    stats::stats(dir, &state)
}

/// Removes every object file in `dir` that no version needs.
///
/// # Errors
/// As [`Registry::open`].
pub fn collect_garbage(dir: &Path, options: &OpenOptions) -> Result<Swept, RegistryError> {
    Ok(reopen(dir, options)?.swept)
}

/// Makes the record store in `dir` anew from the journal and keeps the old one beside it.
///
/// # Errors
/// [`RegistryError::RecordsLost`] if the journal cannot be read, and as [`Registry::open`].
pub fn rebuild(dir: &Path, options: &OpenOptions) -> Result<BootReport, RegistryError> {
    let lock = DirectoryLock::take(dir)?;
    let account = journal::load(&dir.join(JOURNAL))?;
    if account.and_then(|account| load::prove(&account.records)).is_none() {
        let objects = ObjectFolder::open(&dir.join(OBJECTS))?.list()?.len();
        return Err(RegistryError::RecordsLost { objects });
    }
    boot::set_aside(dir, &dir.join(RECORDS))?;
    drop(lock);
    reopen(dir, options)
}

fn reopen(dir: &Path, options: &OpenOptions) -> Result<BootReport, RegistryError> {
    let registry = Registry::open(dir, options)?;
    let report = registry.boot_report().clone();
    registry.close()?;
    Ok(report)
}

/// The whole of `state`, which nobody changes while `lock` is held.
fn capture_of(state: &State, folder: ObjectFolder, lock: Option<DirectoryLock>) -> Capture {
    let objects = state.referenced_objects().into_iter().collect();
    let snapshot = snapshot::encode(state.generation, &state.records);
    Capture::new(state.generation, snapshot, objects, folder, Hold::Directory(lock))
}

fn prove(records: Records) -> Option<(Proven, Records)> {
    Some((load::prove(&records)?, records))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::digest::Digest;
    use crate::testing::{OPTIONS, delete, install, open};

    /// Three versions, one deleted; closed.
    fn used(dir: &Path) {
        let mut registry = open(dir);
        (1..=3).for_each(|seed| drop(registry.install(install("a", seed)).unwrap()));
        registry.commit(delete("a", 2)).unwrap();
        registry.close().unwrap();
    }

    /// Names and bytes of all files below a folder.
    fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
                    files.push((name, fs::read(&path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    #[test]
    fn verify_finds_nothing_wrong_with_a_whole_registry_and_changes_nothing() {
        let dir = TempDir::new().unwrap();
        used(dir.path());
        let before = contents(dir.path());
        let report = verify(dir.path()).unwrap();
        assert_eq!(report, VerifyReport { generation: 4, heads: 2, ..VerifyReport::default() });
        assert_eq!(contents(dir.path()), before);
    }

    #[test]
    fn verify_names_what_is_damaged() {
        let dir = TempDir::new().unwrap();
        used(dir.path());
        let objects = ObjectFolder::open(&dir.path().join(OBJECTS)).unwrap();
        let head = open(dir.path()).export_head(&crate::testing::key("a"), crate::testing::version(3)).unwrap();
        fs::write(dir.path().join(OBJECTS).join(Digest::of(&head.head_toml).hex()), b"other").unwrap();
        fs::write(dir.path().join(OBJECTS).join(Digest::of(b"unused").hex()), b"unused").unwrap();
        fs::write(dir.path().join(RECORDS).join("db"), b"").unwrap();
        let report = verify(dir.path()).unwrap();
        assert_eq!((report.heads, report.damaged.len(), report.unused_objects), (1, 1, 1));
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
        assert!(objects.list().unwrap().len() > 3);
    }

    #[test]
    fn counts_agree_with_the_folder_and_a_sweep_leaves_nothing_unused() {
        let dir = TempDir::new().unwrap();
        used(dir.path());
        fs::write(dir.path().join(OBJECTS).join(Digest::of(b"unused").hex()), b"unused").unwrap();
        let before = stats(dir.path()).unwrap();
        assert_eq!((before.generation, before.tasks, before.versions, before.history), (4, 1, 2, 4));
        assert_eq!((before.unused_objects, before.unused_bytes), (1, 6));
        assert_eq!(collect_garbage(dir.path(), &OPTIONS).unwrap(), Swept { files: 1, bytes: 6 });
        let after = stats(dir.path()).unwrap();
        assert_eq!((after.objects, after.unused_objects), (before.objects - 1, 0));
        assert!(after.object_bytes > 0 && after.store_bytes > 0 && after.journal_bytes > 0);
    }

    #[test]
    fn rebuild_makes_the_store_anew_and_keeps_the_old_one() {
        let dir = TempDir::new().unwrap();
        used(dir.path());
        let report = rebuild(dir.path(), &OPTIONS).unwrap();
        assert_eq!((report.heads, report.rebuilt.is_some()), (2, true));
        let kept = fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("records.corrupt-"));
        assert_eq!(kept.count(), 1);
        assert_eq!(verify(dir.path()).unwrap().heads, 2);
    }
}
