//! Behaviour: how versions get their numbers, and when installing is refused.

use std::sync::Arc;

use engine::{About, Alias, Head, HeadKind, HeadParts, OodStatistics, Trust};
use tempfile::TempDir;

use crate::testing::{WIDTHS, delete, head, install, key, open, set_live, version};
use crate::{Action, Change, Install, RegistryError};

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

fn describe(description: &str, expected_generation: Option<u64>) -> Change {
    let about = About { description: description.to_owned(), ..About::default() };
    Change::Describe { key: key("a"), version: version(1), about: Box::new(about), expected_generation }
}

#[test]
fn a_version_described_anew_keeps_its_number_its_names_and_its_answers() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    registry.install(install("a", 2)).unwrap();
    registry.commit(set_live("a", 1)).unwrap();
    let before = Arc::clone(&registry.task(&key("a")).unwrap().versions[&version(1)]);
    let committed = registry.commit(describe("What?", Some(3))).unwrap();
    assert_eq!((committed.generation, committed.installed[0].version), (4, version(1)));
    let stale = registry.commit(describe("Why?", Some(3)));
    assert!(matches!(stale, Err(RegistryError::WrongGeneration { expected: 3, actual: 4 })), "{stale:?}");
    assert!(!registry.commit(describe("What?", None)).unwrap().changed, "it says so already");
    let long = registry.commit(describe(&"x".repeat(5_000), None));
    assert!(matches!(long, Err(RegistryError::Manifest(_))), "{long:?}");
    drop(registry);
    let registry = open(dir.path());
    let task = registry.task(&key("a")).unwrap();
    let after = &task.versions[&version(1)];
    assert_eq!(after.head.parts().about.description, "What?");
    assert_eq!(after.head.parts().weight, before.head.parts().weight);
    assert_eq!((after.created_unix_seconds, after.generation), (before.created_unix_seconds, 4));
    assert_ne!(after.digest, before.digest);
    assert_eq!(task.aliases[&Alias::live()], version(1));
    assert_eq!(registry.history().next_back().unwrap().action, Action::Describe);
    let unused = crate::tools::verify(dir.path());
    assert!(unused.is_err(), "the directory is in use");
    drop(registry);
    assert_eq!(crate::tools::verify(dir.path()).unwrap().unused_objects, 0, "the old manifest is gone");
}

#[test]
fn what_a_head_says_of_its_own_answers_survives_a_restart_and_an_export() {
    let dir = TempDir::new().unwrap();
    let ood = OodStatistics::new(40, 1.1, vec![0.1, -0.2, 0.3, 0.4], vec![0.01, 0.02, 0.03, 3e-5]).unwrap();
    let trust = Trust { abstain_below: Some(0.6), ood: Some(Arc::new(ood)), ..Trust::default() };
    let parts = HeadParts { trust: trust.clone(), ..head(1).parts().clone() };
    let head = Arc::new(Head::new(HeadKind::Classification, 4, parts).unwrap());
    let mut registry = open(dir.path());
    let installed = registry.install(Install { head, ..install("a", 1) }).unwrap().installed.remove(0);
    drop(registry);
    let registry = open(dir.path());
    let again = &registry.task(&key("a")).unwrap().versions[&version(1)];
    assert_eq!((&again.head.parts().trust, again.digest), (&trust, installed.digest));
    let (_, exported) = registry.export_head(&key("a"), version(1)).unwrap().parse(WIDTHS).unwrap();
    assert_eq!(exported.parts().trust, trust);
}
