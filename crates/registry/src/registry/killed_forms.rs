//! Behaviour: a data directory that an earlier program left when it was killed opens, by either account of it, and
//! exports what that program exported.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use tempfile::TempDir;

use crate::testing::open;
use crate::{Digest, Registry, Swept, tools};

/// Each as `tests/fixtures/README.md` describes it, with its generation and its versions.
const FORMS: [(&str, u64, usize); 4] =
    [("first-form", 11, 6), ("second-form", 14, 7), ("third-form-without-audit", 18, 9), ("third-form", 27, 10)];

/// The data directory under `data`, and beside it the snapshot that the program of that time exported.
pub(super) fn unpacked(form: &str) -> TempDir {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/registry");
    let dir = TempDir::new().unwrap();
    let file = File::open(fixtures.join(format!("{form}-killed.tar"))).unwrap();
    tar::Archive::new(file).unpack(dir.path()).unwrap();
    dir
}

/// The files of a folder by their names.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    files.map(|file| (name(&file), fs::read(file).unwrap())).collect()
}

/// Whether every version exports the very manifest that it was stored with.
fn keep_their_digests(registry: &Registry) -> bool {
    registry.tasks().all(|(key, task)| {
        task.versions.values().all(|installed| {
            let folder = registry.export_head(key, installed.version).unwrap();
            Digest::of(&folder.head_toml) == installed.digest
        })
    })
}

#[test]
fn what_a_killed_program_left_opens_by_either_account_and_exports_what_it_exported() {
    for (form, generation, heads) in FORMS {
        for lost in [None, Some("records"), Some("journal")] {
            let dir = unpacked(form);
            let [data, exported, again] = ["data", "exported.tar", "again"].map(|name| dir.path().join(name));
            let objects = files(&data.join("objects"));
            if let Some(account) = lost {
                fs::remove_dir_all(data.join(account)).unwrap();
            }
            let registry = open(&data);
            let report = registry.boot_report();
            assert_eq!((registry.generation(), report.heads, report.damaged.len()), (generation, heads, 0), "{form}");
            assert_eq!((report.rebuilt.is_some(), report.swept), (lost == Some("records"), Swept::default()), "{form}");
            assert!(keep_their_digests(&registry), "{form}");
            registry.close().unwrap();
            tools::export(&data, &exported).unwrap();
            tar::Archive::new(File::open(&exported).unwrap()).unpack(&again).unwrap();
            let snapshots = [dir.path(), &again].map(|folder| fs::read(folder.join("registry.snapshot")).unwrap());
            assert!(snapshots[0] == snapshots[1], "{form} without its {lost:?} exports other records");
            assert_eq!(files(&again.join("objects")), objects, "{form}");
        }
    }
}
