//! Behaviour: how versions get their numbers, and when installing is refused.

use tempfile::TempDir;

use crate::testing::{delete, head, install, key, open, set_live, version};
use crate::{Change, Install, RegistryError};

#[test]
fn versions_are_counted_from_one_and_found_again_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    for seed in 1..=3 {
        let committed = registry.install(install("a", seed)).unwrap();
        assert_eq!(committed.installed[0].version, version(seed));
        assert_eq!(committed.generation, seed);
    }
    registry.close().unwrap();
    let registry = open(dir.path());
    assert_eq!((registry.versions("a"), registry.generation()), (vec![1, 2, 3], 3));
    assert_eq!(*registry.task(&key("a")).unwrap().versions[&version(2)].head, head(2));
    assert_eq!(registry.history().count(), 3);
}

#[test]
fn the_newest_head_again_is_the_same_version() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    let again = registry.install(install("a", 1)).unwrap();
    assert_eq!((again.changed, again.generation, again.installed[0].version), (false, 1, version(1)));
    // An older head that is no longer the newest is a new version: order matters to whoever reads the list.
    registry.install(install("a", 2)).unwrap();
    assert_eq!(registry.install(install("a", 1)).unwrap().installed[0].version, version(3));
}

#[test]
fn an_explicit_number_takes_one_head_only() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    let numbered = |number, seed| Install { version: Some(version(number)), ..install("a", seed) };
    registry.install(numbered(5, 1)).unwrap();
    assert!(!registry.install(numbered(5, 1)).unwrap().changed);
    assert!(matches!(registry.install(numbered(5, 2)), Err(RegistryError::AlreadyExists { .. })));
    assert!(matches!(registry.install(numbered(4, 2)), Err(RegistryError::AlreadyExists { .. })));
    assert_eq!(registry.install(install("a", 2)).unwrap().installed[0].version, version(6));
}

#[test]
fn a_deleted_number_is_never_given_again() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    registry.install(install("a", 2)).unwrap();
    registry.commit(delete("a", 2)).unwrap();
    registry.commit(delete("a", 1)).unwrap();
    assert!(registry.task(&key("a")).is_none() && registry.knows(&key("a")));
    registry.close().unwrap();
    let mut registry = open(dir.path());
    let taken = Install { version: Some(version(2)), ..install("a", 2) };
    assert!(matches!(registry.install(taken), Err(RegistryError::AlreadyExists { .. })));
    assert_eq!(registry.install(install("a", 2)).unwrap().installed[0].version, version(3));
}

#[test]
fn names_that_differ_only_in_case_are_refused_within_a_tenant() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("glue/SST2", 1)).unwrap();
    let clash = registry.install(install("glue/sst2", 1));
    assert!(matches!(clash, Err(RegistryError::CaseClash { .. })), "{clash:?}");
    let mut elsewhere = install("glue/sst2", 1);
    elsewhere.key.tenant = "other".parse().unwrap();
    registry.install(elsewhere).unwrap();
    // The name is free again once its last version is gone.
    registry.commit(delete("glue/SST2", 1)).unwrap();
    registry.install(install("glue/sst2", 1)).unwrap();
}

#[test]
fn many_are_installed_together_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    let clash = Change::InstallMany(vec![install("a", 1), install("b", 2), install("B", 3)]);
    assert!(matches!(registry.commit(clash), Err(RegistryError::CaseClash { .. })));
    assert_eq!((registry.tasks().count(), registry.generation()), (0, 0));
    let many = (0..40).map(|number| install(&format!("t{number}"), number)).collect();
    let committed = registry.commit(Change::InstallMany(many)).unwrap();
    assert_eq!((committed.installed.len(), committed.tasks.len(), committed.generation), (40, 40, 1));
    assert_eq!(registry.history().next_back().unwrap().heads, 40);
    drop(registry);
    assert_eq!(open(dir.path()).tasks().count(), 40);
}

#[test]
fn deleting_what_is_not_there_says_what_is_missing() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    assert!(matches!(registry.commit(delete("a", 1)), Err(RegistryError::UnknownTask { .. })));
    registry.install(install("a", 1)).unwrap();
    assert!(matches!(registry.commit(delete("a", 2)), Err(RegistryError::UnknownVersion { .. })));
    assert!(matches!(registry.commit(set_live("a", 2)), Err(RegistryError::UnknownVersion { .. })));
    assert!(matches!(registry.export_head(&key("a"), version(2)), Err(RegistryError::UnknownVersion { .. })));
}
