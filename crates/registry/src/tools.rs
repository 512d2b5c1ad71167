//! Offline tools: verify, export, restore, rebuild. They work on a data directory that no server has open, or on a copy.

use std::fs;
use std::path::{Path, PathBuf};

use crate::boot::{self, BootReport, JOURNAL, OBJECTS, RECORDS};
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::files;
use crate::head_folder::HeadFolder;
use crate::journal;
use crate::load::{self, DamagedHead, Proven};
use crate::lock::DirectoryLock;
use crate::objects::ObjectFolder;
use crate::registry::{OpenOptions, Registry};
use crate::snapshot;
use crate::store::{RecordStore, Records, SledStore};

/// Name of the snapshot in an export.
const EXPORTED_SNAPSHOT: &str = "registry.snapshot";
const VERIFY_CACHE_BYTES: u64 = 16 << 20;

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The registry's generation.
    pub generation: u64,
    /// Versions that are whole, down to the digest of what they would export.
    pub heads: usize,
    /// Versions that are not.
    pub damaged: Vec<DamagedHead>,
    /// Objects that nothing refers to; the next start removes them.
    pub unused_objects: usize,
    /// Anything else that is wrong; the next start would repair it.
    pub problems: Vec<String>,
}

/// Checks everything in the data directory `dir` and changes nothing in it.
///
/// # Errors
/// [`RegistryError::Locked`], [`RegistryError::RecordsLost`], or what the system refused.
pub fn verify(dir: &Path) -> Result<VerifyReport, RegistryError> {
    let _lock = DirectoryLock::take_shared(dir)?;
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
    let (state, mut damaged) = load::load(records, proven, &objects);
    let mut heads = 0;
    for installed in state.tasks().flat_map(|(_, task)| task.versions.values()) {
        let folder = HeadFolder::of_head(&installed.key.task, &installed.head, installed.encoder)?;
        if Digest::of(&folder.head_toml) == installed.digest {
            heads += 1;
        } else {
            let reason = "its objects do not make the head that its digest names".to_owned();
            damaged.push(DamagedHead { key: installed.key.clone(), version: installed.version, reason });
        }
    }
    let referenced = state.referenced_objects();
    let unused_objects = objects.list()?.iter().filter(|digest| !referenced.contains(digest)).count();
    Ok(VerifyReport { generation: state.generation, heads, damaged, unused_objects, problems })
}

/// Writes the registry in `dir` to the new folder `target`: one snapshot and every object it refers to. Equal registries
/// give equal folders.
///
/// # Errors
/// As [`Registry::open`] for reading; also if something is at `target` already.
pub fn export(dir: &Path, target: &Path) -> Result<u64, RegistryError> {
    if fs::symlink_metadata(target).is_ok() {
        return Err(RegistryError::folder(target, "exists already"));
    }
    let (_lock, state, _) = boot::open_read_only(dir)?;
    let partial = target.with_added_extension("part");
    let written =
        fs::create_dir_all(partial.join(OBJECTS)).map_err(RegistryError::io("create", &partial)).and_then(|()| {
            let bytes = snapshot::encode(state.generation, &state.records);
            files::replace(&partial.join(EXPORTED_SNAPSHOT), &bytes)?;
            let referenced = state.referenced_objects();
            referenced.iter().try_for_each(|digest| copy_object(&dir.join(OBJECTS), &partial.join(OBJECTS), digest))?;
            files::sync_file_system(&partial)?;
            fs::rename(&partial, target).map_err(RegistryError::io("move", target))
        });
    if written.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    written.map(|()| state.generation)
}

/// Makes the data directory `dir`, which must be absent or empty, from an export.
///
/// # Errors
/// If the export is damaged, or as [`Registry::open`].
pub fn restore(exported: &Path, dir: &Path, options: &OpenOptions) -> Result<BootReport, RegistryError> {
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(RegistryError::folder(dir, "is not empty"));
    }
    let path = exported.join(EXPORTED_SNAPSHOT);
    let bytes = fs::read(&path).map_err(RegistryError::io("read", &path))?;
    let damaged = || RegistryError::Damaged { what: "the exported snapshot".to_owned() };
    let (generation, records) = snapshot::decode(&bytes).ok_or_else(damaged)?;
    load::prove(&records).ok_or_else(damaged)?;
    [OBJECTS, JOURNAL].iter().try_for_each(|folder| files::create_directories(&dir.join(folder)))?;
    for digest in ObjectFolder::open(&exported.join(OBJECTS))?.list()? {
        copy_object(&exported.join(OBJECTS), &dir.join(OBJECTS), &digest)?;
    }
    files::sync_file_system(dir)?;
    journal::write_snapshot(&dir.join(JOURNAL), generation, &bytes)?;
    reopen(dir, options)
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

fn copy_object(from: &Path, to: &Path, digest: &Digest) -> Result<(), RegistryError> {
    let source = from.join(digest.hex());
    fs::copy(&source, to.join(digest.hex())).map(|_| ()).map_err(RegistryError::io("copy", &source))
}

/// The records of a store, read from a copy: opening a store writes to it.
fn read_store_copy(place: &Path) -> Result<Records, RegistryError> {
    let copy = TemporaryCopy::of(place)?;
    boot::clear_store_leftovers(&copy.dir)?;
    let store = Box::new(SledStore::open(&copy.dir, VERIFY_CACHE_BYTES)?);
    let records = store.scan();
    store.close()?;
    records
}

fn prove(records: Records) -> Option<(Proven, Records)> {
    Some((load::prove(&records)?, records))
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
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
    fn an_export_restored_elsewhere_exports_the_same_bytes() {
        let dir = TempDir::new().unwrap();
        let [data, first, other, second] = ["data", "first", "other", "second"].map(|name| dir.path().join(name));
        used(&data);
        assert_eq!(export(&data, &first).unwrap(), 4);
        assert!(matches!(export(&data, &first), Err(RegistryError::Folder { .. })));
        let report = restore(&first, &other, &OPTIONS).unwrap();
        assert_eq!((report.heads, report.damaged.len()), (2, 0));
        assert!(restore(&first, &other, &OPTIONS).is_err(), "it is not empty");
        export(&other, &second).unwrap();
        assert_eq!(contents(&first), contents(&second));
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
