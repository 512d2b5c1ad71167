//! Behaviour: a registry written before retention rules existed opens, and goes on.

use std::path::Path;
use std::time::Duration;

use engine::{Alias, Canary, Retention, Shadow, Share, Split, Traffic};
use tempfile::TempDir;

use crate::testing::{OPTIONS, head_with_adapter, key, open, version};
use crate::{Change, Digest, tools};

/// An archive of the program of that time: `ruled` with three versions, an alias that moved and was rolled back and a
/// traffic rule; `adapted`, whose head brings an adapter; `gone`, deleted.
fn archive() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/registry/second-form.tar")
}

#[test]
fn the_second_form_says_what_it_said_and_exports_as_it_was() {
    let dir = TempDir::new().unwrap();
    let (data, again) = (dir.path().join("data"), dir.path().join("again.tar"));
    let report = tools::import(&archive(), &data, &OPTIONS).unwrap();
    assert_eq!((report.heads, report.damaged.len()), (4, 0));
    tools::export(&data, &again).unwrap();
    assert_eq!(Digest::of(&std::fs::read(again).unwrap()), Digest::of(&std::fs::read(archive()).unwrap()));

    let registry = open(&data);
    let task = registry.task(&key("ruled")).unwrap();
    assert_eq!((task.aliases[&Alias::live()], task.previous[&Alias::live()]), (version(1), version(2)));
    let canary = Canary { version: version(2), share: Share::new(0.25).unwrap(), split: Split::Key };
    let traffic = Traffic { canary: Some(canary), shadow: Some(Shadow { version: version(3), share: None }) };
    assert_eq!((task.traffic, task.retention), (traffic, Retention::default()));
    let adapted = registry.task(&key("adapted")).unwrap();
    assert_eq!(*adapted.versions[&version(1)].head, head_with_adapter(4, true));
    assert!(registry.task(&key("gone")).is_none() && registry.knows(&key("gone")));
    assert_eq!((registry.generation(), registry.history().count()), (10, 10));
}

#[test]
fn a_rule_set_on_the_second_form_is_kept_from_then_on() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    tools::import(&archive(), &data, &OPTIONS).unwrap();
    let mut registry = open(&data);
    let retention = Retention { keep_last: Some(1), keep_for: Some(Duration::from_secs(3600)) };
    registry.commit(Change::SetRetention { key: key("ruled"), retention, expected_generation: None }).unwrap();
    registry.close().unwrap();
    let registry = open(&data);
    assert_eq!(registry.task(&key("ruled")).unwrap().retention, retention);
    assert_eq!(registry.versions("ruled"), [1, 2, 3], "alias, its past and the traffic rule hold them");
}
