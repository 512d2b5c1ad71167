//! Behaviour: aliases go back where they came from, and traffic rules last and protect what they name.

use engine::{Alias, Canary, Shadow, Share, Split, Traffic};
use tempfile::TempDir;

use crate::testing::{delete, install, key, open, set_live, version};
use crate::{Change, Registry, RegistryError};

/// Three versions of `a`, of which 1 is live.
fn registry(dir: &TempDir) -> Registry {
    let mut registry = open(dir.path());
    (1..=3).for_each(|seed| drop(registry.install(install("a", seed)).unwrap()));
    registry.commit(set_live("a", 1)).unwrap();
    registry
}

fn roll_back(expected_generation: Option<u64>) -> Change {
    Change::Rollback { key: key("a"), alias: Alias::live(), expected_generation }
}

fn rule(canary: u64, shadow: u64) -> Traffic {
    let canary = Canary { version: version(canary), share: Share::new(0.25).unwrap(), split: Split::Key };
    Traffic { canary: Some(canary), shadow: Some(Shadow { version: version(shadow), share: None }) }
}

fn set_traffic(traffic: Traffic) -> Change {
    Change::SetTraffic { key: key("a"), traffic, expected_generation: None }
}

fn live(registry: &Registry) -> u64 {
    registry.task(&key("a")).unwrap().aliases[&Alias::live()].number()
}

#[test]
fn a_rollback_goes_to_the_version_before_and_the_next_one_comes_back() {
    let dir = TempDir::new().unwrap();
    let mut registry = registry(&dir);
    let refused = registry.commit(roll_back(None));
    assert!(matches!(refused, Err(RegistryError::NothingBefore { .. })), "{refused:?}");
    registry.commit(set_live("a", 2)).unwrap();
    registry.commit(set_live("a", 3)).unwrap();
    drop(registry);
    let mut registry = open(dir.path());
    registry.commit(roll_back(None)).unwrap();
    assert_eq!(live(&registry), 2);
    registry.commit(roll_back(None)).unwrap();
    assert_eq!(live(&registry), 3);
}

#[test]
fn a_rollback_compares_and_sets() {
    let dir = TempDir::new().unwrap();
    let mut registry = registry(&dir);
    let generation = registry.commit(set_live("a", 2)).unwrap().generation;
    let stale = registry.commit(roll_back(Some(generation - 1)));
    assert!(matches!(stale, Err(RegistryError::WrongGeneration { actual, .. }) if actual == generation), "{stale:?}");
    registry.commit(roll_back(Some(generation))).unwrap();
    assert_eq!(live(&registry), 1);
}

#[test]
fn a_rollback_never_reaches_a_deleted_version_or_an_alias_that_was_made_anew() {
    let dir = TempDir::new().unwrap();
    let mut registry = registry(&dir);
    registry.commit(set_live("a", 2)).unwrap();
    registry.commit(delete("a", 1)).unwrap();
    assert!(matches!(registry.commit(roll_back(None)), Err(RegistryError::NothingBefore { .. })));
    registry.commit(set_live("a", 3)).unwrap();
    let remove = Change::RemoveAlias { key: key("a"), alias: Alias::live(), expected_generation: None };
    registry.commit(remove).unwrap();
    assert!(matches!(registry.commit(roll_back(None)), Err(RegistryError::UnknownAlias { .. })));
    registry.commit(set_live("a", 3)).unwrap();
    assert!(matches!(registry.commit(roll_back(None)), Err(RegistryError::NothingBefore { .. })));
}

#[test]
fn a_rule_lasts_and_holds_the_versions_it_names() {
    let dir = TempDir::new().unwrap();
    let mut registry = registry(&dir);
    assert!(matches!(registry.commit(set_traffic(rule(2, 9))), Err(RegistryError::UnknownVersion { .. })));
    let committed = registry.commit(set_traffic(rule(2, 3))).unwrap();
    assert!(committed.changed && !registry.commit(set_traffic(rule(2, 3))).unwrap().changed);
    drop(registry);
    let mut registry = open(dir.path());
    assert_eq!(registry.task(&key("a")).unwrap().traffic, rule(2, 3));
    for number in [2, 3] {
        assert!(matches!(registry.commit(delete("a", number)), Err(RegistryError::TrafficInUse { .. })));
    }
    registry.commit(set_traffic(Traffic::default())).unwrap();
    registry.commit(delete("a", 2)).unwrap();
    assert_eq!(registry.versions("a"), [1, 3]);
}

#[test]
fn what_is_deleted_on_purpose_leaves_the_rule() {
    let dir = TempDir::new().unwrap();
    let mut registry = registry(&dir);
    registry.commit(set_traffic(rule(2, 3))).unwrap();
    registry.commit(Change::DeleteVersion { key: key("a"), version: version(2), with_aliases: true }).unwrap();
    let traffic = registry.task(&key("a")).unwrap().traffic;
    assert_eq!(traffic, Traffic { canary: None, ..rule(2, 3) });
}
