//! Behaviour: equal tensors are stored and held once, and unused ones go.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::testing::{delete, head_with_adapter, install, key, open, version};
use crate::{Digest, Install, Registry, Swept};

fn objects(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("objects")).unwrap().count()
}

fn weight(registry: &Registry, task: &str) -> Arc<[f32]> {
    let task = registry.task(&key(task)).unwrap();
    Arc::clone(&task.versions[&version(1)].head.parts().weight)
}

#[test]
fn equal_tensors_are_one_file_and_one_allocation() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    assert_eq!(objects(dir.path()), 4, "manifest, weight, bias and task embedding");
    registry.install(install("b", 1)).unwrap();
    assert_eq!(objects(dir.path()), 5, "only the manifest differs");
    assert!(Arc::ptr_eq(&weight(&registry, "a"), &weight(&registry, "b")));
    registry.close().unwrap();
    let registry = open(dir.path());
    assert!(Arc::ptr_eq(&weight(&registry, "a"), &weight(&registry, "b")));
}

#[test]
fn an_object_goes_with_the_last_version_that_needs_it() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    registry.install(install("b", 1)).unwrap();
    registry.install(install("c", 2)).unwrap();
    registry.commit(delete("a", 1)).unwrap();
    assert_eq!(objects(dir.path()), 6, "two manifests, two weights, one bias and one task embedding");
    registry.commit(delete("b", 1)).unwrap();
    registry.commit(delete("c", 1)).unwrap();
    assert_eq!(objects(dir.path()), 0);
}

#[test]
fn what_a_crash_left_is_swept_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    drop(registry);
    let unused = Digest::of(b"unused").hex();
    std::fs::write(dir.path().join("objects").join(unused), b"unused").unwrap();
    std::fs::write(dir.path().join("objects/half.part"), b"half").unwrap();
    let registry = open(dir.path());
    assert_eq!(registry.boot_report().swept, Swept { files: 2, bytes: 10 });
    assert_eq!(objects(dir.path()), 4);
}

#[test]
fn an_export_has_the_digest_of_its_version_and_installs_as_the_same_version() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    let installed = registry.install(install("a", 1)).unwrap().installed.remove(0);
    let folder = registry.export_head(&key("a"), version(1)).unwrap();
    assert_eq!(Digest::of(&folder.head_toml), installed.digest);
    let (manifest, head) = folder.parse(crate::testing::WIDTHS).unwrap();
    assert_eq!((manifest.encoder, &head), (installed.encoder, &*installed.head));
    assert!(!registry.install(crate::Install { head: head.into(), ..install("a", 1) }).unwrap().changed);
}

#[test]
fn an_adapter_is_one_object_and_one_allocation_for_all_who_bring_it() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    let with_adapter = |task: &str, seed| Install { head: head_with_adapter(seed, true).into(), ..install(task, seed) };
    registry.install(with_adapter("a", 1)).unwrap();
    registry.install(with_adapter("b", 1)).unwrap();
    assert_eq!(objects(dir.path()), 6, "two manifests, weight, bias, task embedding and adapter");
    let adapter = |registry: &Registry, task: &str| {
        let task = registry.task(&key(task)).unwrap();
        task.versions[&version(1)].head.parts().adapter.clone().unwrap()
    };
    assert!(Arc::ptr_eq(&adapter(&registry, "a"), &adapter(&registry, "b")));
    registry.close().unwrap();

    let mut registry = open(dir.path());
    assert!(registry.boot_report().damaged.is_empty());
    assert_eq!(*registry.task(&key("a")).unwrap().versions[&version(1)].head, head_with_adapter(1, true));
    assert!(Arc::ptr_eq(&adapter(&registry, "a"), &adapter(&registry, "b")));
    let folder = registry.export_head(&key("a"), version(1)).unwrap();
    assert_eq!(folder.parse(crate::testing::WIDTHS).unwrap().1, head_with_adapter(1, true));
    registry.commit(delete("a", 1)).unwrap();
    assert_eq!(objects(dir.path()), 5);
    registry.commit(delete("b", 1)).unwrap();
    assert_eq!(objects(dir.path()), 0);
}
