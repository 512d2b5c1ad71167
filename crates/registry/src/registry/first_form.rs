//! Behaviour: a registry written before aliases remembered and rules existed opens, and goes on.

use std::path::Path;

use engine::{Alias, Traffic};
use tempfile::TempDir;

use crate::testing::{OPTIONS, encoder, key, open, set_live, version};
use crate::{Action, Change, Registry, RegistryError, tools};

/// An export of the program of that time: three versions of `moved`, whose alias went from 1 to 2, and `gone`, deleted.
fn restored() -> (TempDir, Registry) {
    let exported = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/registry/first-form");
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let report = tools::import(&exported, &data, &OPTIONS).unwrap();
    assert_eq!((report.heads, report.damaged.len()), (3, 0));
    let registry = open(&data);
    (dir, registry)
}

fn roll_back(task: &str) -> Change {
    Change::Rollback { key: key(task), alias: Alias::live(), expected_generation: None }
}

#[test]
fn the_first_form_says_what_it_said() {
    let (_dir, registry) = restored();
    let task = registry.task(&key("moved")).unwrap();
    assert_eq!(registry.versions("moved"), [1, 2, 3]);
    let aliases: Vec<_> = task.aliases.iter().map(|(alias, version)| (alias.as_str(), version.number())).collect();
    assert_eq!(aliases, [("live", 2), ("next", 3)]);
    assert!(task.previous.is_empty() && task.traffic == Traffic::default());
    assert_eq!(task.versions[&version(1)].encoder, encoder());
    assert!(registry.task(&key("gone")).is_none() && registry.knows(&key("gone")));
    assert_eq!((registry.generation(), registry.history().count()), (8, 8));
}

#[test]
fn what_it_never_wrote_is_not_made_up_and_is_kept_from_then_on() {
    let (dir, mut registry) = restored();
    let refused = registry.commit(roll_back("moved"));
    assert!(matches!(refused, Err(RegistryError::NothingBefore { .. })), "{refused:?}");
    registry.commit(set_live("moved", 3)).unwrap();
    registry.commit(roll_back("moved")).unwrap();
    registry.close().unwrap();
    let registry = open(&dir.path().join("data"));
    assert_eq!(registry.task(&key("moved")).unwrap().aliases[&Alias::live()], version(2));
    let last = registry.history().next_back().unwrap();
    assert_eq!((last.action, last.version, last.previous), (Action::Rollback, Some(version(2)), Some(version(3))));
}
