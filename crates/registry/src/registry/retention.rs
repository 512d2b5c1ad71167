//! Behaviour: a task keeps what its rule says and what anybody names, and gives up the rest in the same step.

use std::time::Duration;

use engine::{Canary, Retention, Share, Split, Traffic};
use tempfile::TempDir;

use crate::plan::plan;
use crate::state::State;
use crate::testing::{delete, install, key, open, set_live, version};
use crate::{Action, Author, Change, RegistryError, Swept};

fn keep(keep_last: Option<u32>, seconds: Option<u64>) -> Retention {
    Retention { keep_last, keep_for: seconds.map(Duration::from_secs) }
}

fn set(retention: Retention) -> Change {
    Change::SetRetention { key: key("a"), retention, expected_generation: None }
}

#[test]
fn the_last_versions_and_what_is_named_are_kept_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    (1..=6).for_each(|seed| drop(registry.install(install("a", seed)).unwrap()));
    registry.commit(set_live("a", 1)).unwrap();
    registry.commit(set_live("a", 2)).unwrap();
    let canary = Canary { version: version(3), share: Share::new(0.5).unwrap(), split: Split::Random };
    let traffic = Traffic { canary: Some(canary), shadow: None };
    registry.commit(Change::SetTraffic { key: key("a"), traffic, expected_generation: None }).unwrap();
    let committed = registry.commit(set(keep(Some(2), None))).unwrap();
    assert!(committed.changed && !registry.commit(set(keep(Some(2), None))).unwrap().changed);
    assert_eq!(registry.versions("a"), [1, 2, 3, 5, 6], "live, live before, canary, and the last two");
    let entry = registry.history().next_back().unwrap();
    assert_eq!((entry.action, entry.heads), (Action::SetRetention, 1));
    // Every later change of the task applies the rule, and what nobody names any more goes with it.
    registry.install(install("a", 7)).unwrap();
    assert_eq!(registry.versions("a"), [1, 2, 3, 6, 7]);
    registry
        .commit(Change::SetTraffic { key: key("a"), traffic: Traffic::default(), expected_generation: None })
        .unwrap();
    assert_eq!(registry.versions("a"), [1, 2, 6, 7]);
    registry.commit(set_live("a", 7)).unwrap();
    assert_eq!(registry.versions("a"), [2, 6, 7]);
    assert_eq!(registry.collect_garbage().unwrap(), Swept::default(), "their objects went with them");
    drop(registry);
    let mut registry = open(dir.path());
    assert_eq!((registry.versions("a"), registry.boot_report().swept), (vec![2, 6, 7], Swept::default()));
    assert_eq!(registry.task(&key("a")).unwrap().retention, keep(Some(2), None));
    // The task's own end takes the rule with it.
    [2, 6, 7].into_iter().for_each(|number| {
        registry.commit(Change::DeleteVersion { key: key("a"), version: version(number), with_aliases: true }).unwrap();
    });
    drop(registry);
    let mut registry = open(dir.path());
    registry.install(install("a", 8)).unwrap();
    assert_eq!(registry.task(&key("a")).unwrap().retention, Retention::default());
}

#[test]
fn a_bundle_with_many_versions_of_a_task_leaves_no_object_of_those_given_up() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    registry.commit(set(keep(Some(1), None))).unwrap();
    registry.commit(Change::InstallMany((2..=5).map(|seed| install("a", seed)).collect())).unwrap();
    assert_eq!(registry.versions("a"), [5]);
    assert_eq!(registry.collect_garbage().unwrap(), Swept::default());
}

#[test]
fn versions_that_grow_old_are_given_up_by_one_change_over_all_tasks() {
    let mut state = State::default();
    let mut at = |change: Change, seconds: u64| {
        let plan = plan(&state, change, (&Author::server("test"), seconds)).unwrap();
        let changed = plan.committed.changed;
        state.publish(plan);
        let versions = |task: &str| -> Vec<u64> {
            state.task(&key(task)).unwrap().versions.keys().map(|version| version.number()).collect()
        };
        (changed, versions("a"), state.task(&key("b")).map_or(Vec::new(), |_| versions("b")))
    };
    for (seed, seconds) in [(1, 1000), (2, 1010), (3, 1020)] {
        at(Change::Install(install("a", seed)), seconds);
    }
    at(Change::Install(install("b", 1)), 1000);
    at(Change::Install(install("b", 2)), 1001);
    at(set(keep(None, Some(100))), 1030);
    assert_eq!(at(Change::Retire, 1100), (false, vec![1, 2, 3], vec![1, 2]));
    assert_eq!(at(Change::Retire, 1101), (true, vec![2, 3], vec![1, 2]), "b has no rule");
    // A clock that went back keeps everything; one that runs ahead leaves the newest.
    assert_eq!(at(Change::Retire, 5), (false, vec![2, 3], vec![1, 2]));
    assert_eq!(at(Change::Retire, 1 << 40), (true, vec![3], vec![1, 2]));
}

#[test]
fn a_rule_compares_and_sets_and_needs_its_task() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    assert!(matches!(registry.commit(set(keep(Some(1), None))), Err(RegistryError::UnknownTask { .. })));
    let generation = registry.install(install("a", 1)).unwrap().generation;
    let stale = Change::SetRetention {
        key: key("a"),
        retention: keep(Some(1), None),
        expected_generation: Some(generation + 1),
    };
    assert!(matches!(registry.commit(stale), Err(RegistryError::WrongGeneration { .. })));
    registry.install(install("a", 2)).unwrap();
    registry.commit(delete("a", 1)).unwrap();
    assert_eq!(registry.versions("a"), [2]);
}
