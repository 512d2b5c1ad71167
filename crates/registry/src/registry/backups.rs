//! Behaviour: a backup is one single generation, whatever changes meanwhile, and what it reads stays until it is done.

use std::path::Path;

use tempfile::TempDir;

use crate::testing::{OPTIONS, delete, install, key, open};
use crate::{Capture, Digest, Swept, tools};

fn archive(capture: &Capture) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(capture.write_archive(&mut bytes, |_| {}).unwrap().left_out.is_empty());
    bytes
}

/// Imports `bytes` into a new data directory and exports that.
fn there_and_back(bytes: &[u8], dir: &Path) -> Vec<u8> {
    let (file, data, again) = (dir.join("in.tar"), dir.join("imported"), dir.join("out.tar"));
    std::fs::write(&file, bytes).unwrap();
    assert!(tools::import(&file, &data, &OPTIONS).unwrap().damaged.is_empty());
    tools::export(&data, &again).unwrap();
    let bytes = std::fs::read(&again).unwrap();
    [file, again].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    std::fs::remove_dir_all(data).unwrap();
    bytes
}

#[test]
fn a_capture_stays_what_it_was_while_everything_in_it_is_replaced() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(&dir.path().join("data"));
    (1..=3).for_each(|seed| drop(registry.install(install("a", seed)).unwrap()));
    let capture = registry.capture().unwrap();
    let before = archive(&capture);
    (4..=6).for_each(|seed| drop(registry.install(install("a", seed)).unwrap()));
    (1..=3).for_each(|number| drop(registry.commit(delete("a", number)).unwrap()));
    assert_eq!(registry.collect_garbage().unwrap(), Swept::default(), "the capture still reads them");
    assert_eq!(archive(&capture), before);
    assert_eq!(there_and_back(&before, dir.path()), before);
    drop(capture);
    // Three manifests and three weights; bias and task embedding are those of the versions that are left.
    assert_eq!(registry.collect_garbage().unwrap().files, 6);
    assert_eq!(registry.stats().unwrap().unused_objects, 0);
}

#[test]
fn a_check_while_changes_go_on_names_what_is_damaged() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    (1..=3).for_each(|seed| drop(registry.install(install("a", seed)).unwrap()));
    let verification = registry.verification().unwrap();
    registry.commit(delete("a", 1)).unwrap();
    let mut read = 0;
    let n_objects = verification.n_objects();
    let report = verification.run(|done| read = done).unwrap();
    assert_eq!((report.generation, report.heads, report.damaged.len()), (3, 3, 0));
    assert_eq!((read, report.problems), (n_objects, vec![]));
    let manifest = Digest::of(&registry.export_head(&key("a"), crate::testing::version(3)).unwrap().head_toml);
    std::fs::write(dir.path().join("objects").join(manifest.hex()), b"other").unwrap();
    let report = registry.verification().unwrap().run(|_| {}).unwrap();
    assert_eq!((report.heads, report.damaged.len()), (1, 1));
    assert_eq!(report.damaged[0].version.number(), 3);
    // A backup holds the others.
    let archived = registry.capture().unwrap().write_archive(&mut Vec::new(), |_| {}).unwrap();
    assert_eq!(archived.left_out, [manifest]);
}

#[test]
fn garbage_is_what_no_version_needs_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    (1..=3).for_each(|seed| drop(registry.install(install("a", seed)).unwrap()));
    let objects = || std::fs::read_dir(dir.path().join("objects")).unwrap().count();
    let before = objects();
    std::fs::write(dir.path().join("objects").join(Digest::of(b"unused").hex()), b"unused").unwrap();
    assert_eq!(registry.stats().unwrap().unused_bytes, 6);
    assert_eq!(registry.collect_garbage().unwrap(), Swept { files: 1, bytes: 6 });
    assert_eq!(objects(), before);
    assert_eq!(registry.verification().unwrap().run(|_| {}).unwrap().heads, 3);
}
