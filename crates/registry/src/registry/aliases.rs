//! Behaviour: aliases move under compare-and-set and protect what they name.

use engine::{Alias, Selector};
use tempfile::TempDir;

use crate::testing::{delete, install, key, open, set_live, version};
use crate::{Action, Change, Install, MAX_ALIASES, RegistryError};

#[test]
fn an_alias_comes_with_the_install_and_moves_later() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    let live = || vec![Alias::live()];
    registry.install(Install { aliases: live(), ..install("a", 1) }).unwrap();
    registry.install(Install { aliases: live(), ..install("a", 2) }).unwrap();
    let selector = Selector::Alias(Alias::live());
    assert_eq!(registry.task(&key("a")).unwrap().resolve(&selector).unwrap().version, version(2));
    registry.commit(set_live("a", 1)).unwrap();
    drop(registry);
    let registry = open(dir.path());
    assert_eq!(registry.task(&key("a")).unwrap().resolve(&selector).unwrap().version, version(1));
    let moved = registry.history().next_back().unwrap();
    assert_eq!((moved.action, moved.version, moved.previous), (Action::SetAlias, Some(version(1)), Some(version(2))));
}

#[test]
fn a_change_since_the_caller_read_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    let generation = registry.install(install("a", 2)).unwrap().generation;
    // Changes to other tasks do not count.
    registry.install(install("b", 1)).unwrap();
    let set = |number| Change::SetAlias {
        key: key("a"),
        alias: Alias::live(),
        version: version(number),
        expected_generation: Some(generation),
    };
    registry.commit(set(1)).unwrap();
    let refused = registry.commit(set(2));
    assert!(
        matches!(refused, Err(RegistryError::WrongGeneration { expected: 2, actual: 4 })),
        "the second of two writers must read again: {refused:?}"
    );
}

#[test]
fn a_version_with_an_alias_is_deleted_only_on_purpose() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    registry.install(install("a", 2)).unwrap();
    registry.commit(set_live("a", 1)).unwrap();
    assert!(matches!(registry.commit(delete("a", 1)), Err(RegistryError::AliasInUse { .. })));
    let purposely = Change::DeleteVersion { key: key("a"), version: version(1), with_aliases: true };
    registry.commit(purposely).unwrap();
    assert!(registry.task(&key("a")).unwrap().aliases.is_empty());
    // The only version takes its aliases with it.
    registry.commit(set_live("a", 2)).unwrap();
    registry.commit(delete("a", 2)).unwrap();
    assert!(registry.task(&key("a")).is_none());
}

#[test]
fn removing_an_alias_leaves_the_version() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(Install { aliases: vec![Alias::live()], ..install("a", 1) }).unwrap();
    let remove = || Change::RemoveAlias { key: key("a"), alias: Alias::live(), expected_generation: None };
    registry.commit(remove()).unwrap();
    assert!(matches!(registry.commit(remove()), Err(RegistryError::UnknownAlias { .. })));
    assert_eq!(registry.versions("a"), [1]);
}

#[test]
fn a_task_has_a_bounded_number_of_the_longest_aliases() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    let longest = format!("{}/{}", "t".repeat(63), "u".repeat(64));
    let mut long = install(&longest, 1);
    long.key.tenant = "n".repeat(64).parse().unwrap();
    let key = long.key.clone();
    registry.install(long).unwrap();
    let set = |number: usize| Change::SetAlias {
        key: key.clone(),
        alias: format!("{number:a>64}").parse().unwrap(),
        version: version(1),
        expected_generation: None,
    };
    (0..MAX_ALIASES).for_each(|number| drop(registry.commit(set(number)).unwrap()));
    assert!(matches!(registry.commit(set(MAX_ALIASES)), Err(RegistryError::TooManyAliases { .. })));
    drop(registry);
    assert_eq!(open(dir.path()).task(&key).unwrap().aliases.len(), MAX_ALIASES);
}
