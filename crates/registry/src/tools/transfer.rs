//! A registry out to one file, and from such a file into an empty data directory.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use super::{capture_of, reopen};
use crate::archive::{self, OBJECT_PREFIX, SNAPSHOT_ENTRY, damaged};
use crate::boot::{self, BootReport, JOURNAL, OBJECTS};
use crate::capture::Archived;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::files;
use crate::journal;
use crate::load;
use crate::objects::ObjectFolder;
use crate::registry::OpenOptions;
use crate::snapshot;
use crate::state::referenced_in;

/// Writes the registry in `dir` to the new file `target`. Equal registries give equal files.
///
/// # Errors
/// As [`crate::Registry::open`] for reading; also if something is at `target` already.
pub fn export(dir: &Path, target: &Path) -> Result<Archived, RegistryError> {
    if fs::symlink_metadata(target).is_ok() {
        return Err(RegistryError::folder(target, "exists already"));
    }
    let (lock, state, _) = boot::open_read_only(dir)?;
    let capture = capture_of(&state, ObjectFolder::open(&dir.join(OBJECTS))?, lock);
    let partial = target.with_added_extension("part");
    let written = File::create(&partial).map_err(RegistryError::io("create", &partial)).and_then(|file| {
        let mut out = BufWriter::new(&file);
        let archived = capture.write_archive(&mut out, |_| {})?;
        out.flush().and_then(|()| file.sync_all()).map_err(RegistryError::io("write", &partial))?;
        fs::rename(&partial, target).map_err(RegistryError::io("move", target))?;
        Ok(archived)
    });
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Makes the data directory `dir`, which must be absent or empty, from an archive, or from the folder that one unpacks
/// to. It is there whole, or not at all.
///
/// # Errors
/// If the archive is damaged, or as [`crate::Registry::open`].
pub fn import(from: &Path, dir: &Path, options: &OpenOptions) -> Result<BootReport, RegistryError> {
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(RegistryError::folder(dir, "is not empty"));
    }
    let unfinished = dir.with_added_extension("importing");
    let _ = fs::remove_dir_all(&unfinished);
    let imported = fill(from, &unfinished).and_then(|()| reopen(&unfinished, options)).and_then(|report| {
        fs::rename(&unfinished, dir).map_err(RegistryError::io("move", dir))?;
        dir.parent().filter(|parent| parent.is_dir()).map_or(Ok(()), files::sync_directory)?;
        Ok(report)
    });
    if imported.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    imported
}

/// Puts snapshot and objects in their places below `dir`.
fn fill(from: &Path, dir: &Path) -> Result<(), RegistryError> {
    [OBJECTS, JOURNAL].iter().try_for_each(|folder| files::create_directories(&dir.join(folder)))?;
    let mut intake = Intake::new(dir);
    if files::is_directory(from) {
        let path = from.join(SNAPSHOT_ENTRY);
        intake.take(SNAPSHOT_ENTRY, fs::read(&path).map_err(RegistryError::io("read", &path))?)?;
        let objects = ObjectFolder::open(&from.join(OBJECTS))?;
        for digest in objects.list()? {
            match objects.read(&digest) {
                Ok(bytes) => intake.take(&format!("{OBJECT_PREFIX}{}", digest.hex()), bytes)?,
                Err(error) => tracing::error!(%digest, %error, "an object is damaged and left out"),
            }
        }
    } else {
        let file = BufReader::new(files::open_regular(from)?);
        archive::read(file, |name, bytes| intake.take(name, bytes))?;
    }
    intake.finish()
}

/// What an import has taken so far.
struct Intake<'a> {
    dir: &'a Path,
    snapshot: Option<Snapshot>,
}

struct Snapshot {
    generation: u64,
    bytes: Vec<u8>,
    referenced: HashSet<Digest>,
}

impl<'a> Intake<'a> {
    fn new(dir: &'a Path) -> Self {
        Self { dir, snapshot: None }
    }

    fn take(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), RegistryError> {
        let Some(snapshot) = &self.snapshot else {
            self.snapshot = Some(parse_snapshot(name, bytes)?);
            return Ok(());
        };
        let digest = check_object(snapshot, name, &bytes)?;
        let path = self.dir.join(OBJECTS).join(digest.hex());
        files::write_new(&path, &bytes).map(drop)
    }

    fn finish(self) -> Result<(), RegistryError> {
        let Some(Snapshot { generation, bytes, .. }) = self.snapshot else {
            return Err(damaged("it has no snapshot"));
        };
        files::sync_file_system(self.dir)?;
        journal::write_snapshot(&self.dir.join(JOURNAL), generation, &bytes)
    }
}

/// The snapshot, which comes first.
fn parse_snapshot(name: &str, bytes: Vec<u8>) -> Result<Snapshot, RegistryError> {
    let decoded = (name == SNAPSHOT_ENTRY).then(|| snapshot::decode(&bytes)).flatten();
    let (generation, records) = decoded.ok_or_else(|| damaged("it does not begin with a whole snapshot"))?;
    load::prove(&records).ok_or_else(|| damaged("its records do not belong together"))?;
    Ok(Snapshot { generation, bytes, referenced: referenced_in(&records) })
}

/// The digest of an object that the snapshot needs and that is what its name says.
fn check_object(snapshot: &Snapshot, name: &str, bytes: &[u8]) -> Result<Digest, RegistryError> {
    name.strip_prefix(OBJECT_PREFIX)
        .and_then(|hex| Digest::from_hex(hex).ok())
        .filter(|digest| *digest == Digest::of(bytes) && snapshot.referenced.contains(digest))
        .ok_or_else(|| damaged(&format!("entry {name:?} has no place in it")))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::testing::{OPTIONS, delete, install, open};

    /// A folder whose `data` holds three versions, one of them deleted.
    fn used() -> TempDir {
        let dir = TempDir::new().unwrap();
        let mut registry = open(&dir.path().join("data"));
        (1..=3).for_each(|seed| drop(registry.install(install("a", seed)).unwrap()));
        registry.commit(delete("a", 2)).unwrap();
        registry.close().unwrap();
        dir
    }

    #[test]
    fn an_export_imported_elsewhere_exports_the_same_bytes() {
        let dir = used();
        let [data, first, other, second] = ["data", "first", "other", "second"].map(|name| dir.path().join(name));
        assert_eq!(export(&data, &first).unwrap().generation, 4);
        assert!(matches!(export(&data, &first), Err(RegistryError::Folder { .. })));
        let report = import(&first, &other, &OPTIONS).unwrap();
        assert_eq!((report.heads, report.damaged.len()), (2, 0));
        assert!(import(&first, &other, &OPTIONS).is_err(), "it is not empty");
        export(&other, &second).unwrap();
        assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
    }

    #[test]
    fn an_unpacked_archive_is_imported_as_the_archive_is() {
        let dir = used();
        let [data, first, folder, other, second] =
            ["data", "first", "folder", "other", "second"].map(|name| dir.path().join(name));
        export(&data, &first).unwrap();
        tar::Archive::new(File::open(&first).unwrap()).unpack(&folder).unwrap();
        import(&folder, &other, &OPTIONS).unwrap();
        export(&other, &second).unwrap();
        assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
    }

    #[test]
    fn an_import_that_is_refused_leaves_nothing() {
        let dir = used();
        let [data, first, bad, other] = ["data", "first", "bad", "other"].map(|name| dir.path().join(name));
        export(&data, &first).unwrap();
        let whole = fs::read(&first).unwrap();
        for cut in (0..whole.len() - 1024).step_by(512) {
            fs::write(&bad, &whole[..cut]).unwrap();
            assert!(import(&bad, &other, &OPTIONS).is_err(), "cut at {cut}");
        }
        fs::write(&bad, "no archive").unwrap();
        assert!(import(&bad, &other, &OPTIONS).is_err());
        assert!(!other.exists() && !other.with_added_extension("importing").exists());
    }
}
