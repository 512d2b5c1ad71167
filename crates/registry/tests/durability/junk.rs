//! Junk and damage in the data directory: it opens, or rebuilds from the journal; it is never silently shorter.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Alias, Selector};
use libtest_mimic::{Failed, Trial};
use registry::{Change, OpenOptions, Registry, RegistryError};

use crate::model;
use crate::script::{self, OPTIONS};
use crate::victim::{NamedTest, open, scratch};

/// What is done to the directory, and whether the record store must be rebuilt for it.
struct Damage {
    name: &'static str,
    rebuilds: bool,
    inflict: fn(&Path),
}

const DAMAGES: [Damage; 13] = [
    Damage {
        name: "an_unfinished_snapshot",
        rebuilds: false,
        inflict: |dir| put(dir, "snap.7fffffffffffffff.generating", b"half"),
    },
    Damage { name: "an_empty_snapshot_of_the_store", rebuilds: false, inflict: |dir| put(dir, "snap.", b"") },
    Damage { name: "a_stray_snapshot_name", rebuilds: false, inflict: |dir| put(dir, "snap.junk", b"junk") },
    Damage { name: "a_snapshot_of_zeros", rebuilds: true, inflict: |dir| put(dir, "snap.00000000ffffffff", b"") },
    Damage { name: "an_empty_conf", rebuilds: false, inflict: |dir| put(dir, "conf", b"") },
    Damage { name: "half_a_conf", rebuilds: true, inflict: |dir| cut(&dir.join("records/conf"), 2) },
    Damage { name: "an_empty_db", rebuilds: true, inflict: |dir| put(dir, "db", b"") },
    Damage { name: "a_short_db", rebuilds: true, inflict: |dir| cut(&dir.join("records/db"), 1024) },
    Damage { name: "no_db", rebuilds: true, inflict: |dir| fs::remove_file(dir.join("records/db")).unwrap() },
    Damage { name: "no_record_store", rebuilds: true, inflict: |dir| fs::remove_dir_all(dir.join("records")).unwrap() },
    Damage { name: "a_random_file", rebuilds: false, inflict: |dir| put(dir, "random", &[0x5a; 5000]) },
    Damage { name: "junk_everywhere_else", rebuilds: false, inflict: junk_everywhere_else },
    Damage { name: "a_half_made_store", rebuilds: false, inflict: half_made_store },
];

pub(crate) fn trials() -> Vec<Trial> {
    let survives = DAMAGES.iter().map(|damage| {
        Trial::test(format!("opens_complete_after_{}", damage.name), move || opens_complete_after(damage))
    });
    let others: [NamedTest; 6] = [
        ("a_lost_journal_is_written_again_from_the_store", lost_journal),
        ("a_damaged_snapshot_falls_back_to_the_one_before", damaged_snapshot),
        ("a_torn_tail_frame_counts_as_never_written", torn_tail),
        ("a_torn_deletion_sets_aside_what_it_deleted_until_it_is_made_again", torn_deletion),
        ("a_damaged_object_sets_one_version_aside", damaged_object),
        ("with_store_and_journal_lost_an_operator_decides", all_lost),
    ];
    survives.chain(others.map(|(name, test)| Trial::test(name, test))).collect()
}

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    fs::write(dir.join("records").join(name), bytes).unwrap();
}

fn cut(path: &Path, parts: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / parts).unwrap();
}

fn junk_everywhere_else(dir: &Path) {
    for place in ["objects/junk", "objects/0000.part", "journal/junk", "journal/ffff.snapshot", "junk"] {
        fs::write(dir.join(place), b"junk").unwrap();
    }
    fs::write(dir.join("journal/ffffffffffffffff.tail"), b"hwtl").unwrap();
}

fn half_made_store(dir: &Path) {
    fs::create_dir(dir.join("records.new")).unwrap();
    fs::write(dir.join("records.new/conf"), b"half").unwrap();
}

/// A registry after the fixed script, killed rather than closed where `closed` is false; and its fingerprint.
fn used(dir: &Path, closed: bool) -> String {
    let mut registry = open(dir, &OPTIONS).unwrap();
    script::changes().into_iter().for_each(|change| drop(registry.commit(change).unwrap()));
    let fingerprint = model::fingerprint(&registry);
    if closed {
        registry.close().unwrap();
    }
    fingerprint
}

fn opens_complete_after(damage: &Damage) -> Result<(), Failed> {
    for closed in [true, false] {
        let scratch = scratch();
        let expected = used(scratch.path(), closed);
        (damage.inflict)(scratch.path());
        for start in ["first", "second"] {
            let registry = open(scratch.path(), &OPTIONS)?;
            let rebuilt = registry.boot_report().rebuilt.clone();
            if start == "first" && rebuilt.is_some() != damage.rebuilds {
                return Err(format!("closed {closed}: rebuilt because {rebuilt:?}").into());
            }
            if model::fingerprint(&registry) != expected {
                return Err(format!("closed {closed}, {start} start: something else than before").into());
            }
            registry.close()?;
        }
    }
    Ok(())
}

fn lost_journal() -> Result<(), Failed> {
    let scratch = scratch();
    let expected = used(scratch.path(), true);
    fs::remove_dir_all(scratch.path().join("journal"))?;
    for _ in 0..2 {
        let registry = open(scratch.path(), &OPTIONS)?;
        assert_eq!(model::fingerprint(&registry), expected);
        registry.close()?;
        // The second time the journal must stand alone.
        let _ = fs::remove_dir_all(scratch.path().join("records"));
    }
    Ok(())
}

/// The files of the journal whose name ends so, oldest first.
fn journal_files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    files.sort();
    files
}

fn damaged_snapshot() -> Result<(), Failed> {
    let scratch = scratch();
    let expected = used(scratch.path(), true);
    let snapshots = journal_files(scratch.path(), ".snapshot");
    assert!(snapshots.len() > 1, "a snapshot of the start and one of the end: {snapshots:?}");
    cut(snapshots.last().unwrap(), 2);
    fs::remove_dir_all(scratch.path().join("records"))?;
    let registry = open(scratch.path(), &OPTIONS)?;
    assert_eq!(model::fingerprint(&registry), expected);
    Ok(())
}

/// Takes the record store away, and of the last change the end of its frame in the journal: both accounts of it.
fn tear_last_change(dir: &Path) {
    let tail = journal_files(dir, ".tail").pop().unwrap();
    let file = fs::OpenOptions::new().write(true).open(tail).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();
    fs::remove_dir_all(dir.join("records")).unwrap();
}

fn torn_tail() -> Result<(), Failed> {
    let scratch = scratch();
    let mut registry = open(scratch.path(), &OPTIONS)?;
    script::changes().into_iter().for_each(|change| drop(registry.commit(change).unwrap()));
    let before = model::fingerprint(&registry);
    registry.commit(script::install("torn", 98))?;
    drop(registry);
    tear_last_change(scratch.path());
    let mut registry = open(scratch.path(), &OPTIONS)?;
    assert_eq!(model::fingerprint(&registry), before);
    assert!(registry.boot_report().damaged.is_empty());
    registry.commit(script::install("after", 99))?;
    let expected = model::fingerprint(&registry);
    drop(registry);
    fs::remove_dir_all(scratch.path().join("records"))?;
    assert_eq!(model::fingerprint(&open(scratch.path(), &OPTIONS)?), expected);
    Ok(())
}

/// A deletion takes its objects off the disk once both accounts hold it. Where both are damaged afterwards, the
/// versions are known again and their numbers are not: they are never served.
fn torn_deletion() -> Result<(), Failed> {
    let scratch = scratch();
    used(scratch.path(), false);
    let held = |registry: &Registry| {
        let tokens: Vec<_> = registry.tokens().map(|(id, token)| (id, Arc::clone(token))).collect();
        (model::heads(registry), registry.tenants(), tokens)
    };
    let expected = held(&open(scratch.path(), &OpenOptions { read_only: true, ..OPTIONS })?);
    tear_last_change(scratch.path());
    let mut registry = open(scratch.path(), &OPTIONS)?;
    let deletion = script::changes().pop().unwrap();
    let Change::DeleteTenant { name, .. } = &deletion else { return Err("the script ends otherwise".into()) };
    assert_eq!(model::heads(&registry), expected.0, "no head but those that are whole");
    let damaged = &registry.boot_report().damaged;
    assert_eq!((damaged.len(), &damaged[0].key.tenant), (1, name), "{damaged:?}");
    let task = registry.task(&damaged[0].key).unwrap();
    assert!(task.resolve(&Selector::Alias(Alias::live())).is_none() && registry.tenant(name).is_some());
    registry.commit(deletion)?;
    assert_eq!(held(&registry), expected);
    Ok(())
}

fn damaged_object() -> Result<(), Failed> {
    let scratch = scratch();
    used(scratch.path(), true);
    let key = script::key("group/task0");
    let registry = open(scratch.path(), &OPTIONS)?;
    let digest = registry.task(&key).unwrap().versions[&script::version(2)].digest;
    let heads = registry.boot_report().heads;
    registry.close()?;
    let object = scratch.path().join("objects").join(digest.hex());
    let mut bytes = fs::read(&object)?;
    bytes[3] ^= 1;
    fs::write(&object, bytes)?;
    let mut registry = open(scratch.path(), &OPTIONS)?;
    let damaged = registry.boot_report().damaged.clone();
    assert_eq!((damaged.len(), damaged[0].version, registry.boot_report().heads), (1, script::version(2), heads - 1));
    assert!(registry.task(&key).unwrap().damaged.contains(&script::version(2)));
    // Installing the head again under the next number heals the object; the damaged version can be deleted.
    registry.commit(script::install("group/task0", 3))?;
    let version = script::version(2);
    registry.commit(Change::DeleteVersion { key: key.clone(), version, with_aliases: true })?;
    registry.close()?;
    let registry = open(scratch.path(), &OPTIONS)?;
    assert!(registry.boot_report().damaged.is_empty());
    assert!(registry.task(&key).unwrap().versions.contains_key(&script::version(3)));
    Ok(())
}

fn all_lost() -> Result<(), Failed> {
    let scratch = scratch();
    used(scratch.path(), true);
    fs::write(scratch.path().join("records/db"), b"")?;
    fs::remove_dir_all(scratch.path().join("journal"))?;
    let refused = open(scratch.path(), &OPTIONS);
    assert!(matches!(refused, Err(RegistryError::RecordsLost { objects: 1.. })), "{refused:?}");
    let accepting = OpenOptions { accept_loss: true, ..OPTIONS };
    assert_eq!(open(scratch.path(), &accepting)?.tasks().count(), 0);
    Ok(())
}
