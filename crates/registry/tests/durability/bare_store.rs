//! Proof that the driver finds what it is for: the record store without our belts, killed at every call, shows the two
//! failures that the belts exist for.

use std::path::Path;

use libtest_mimic::{Failed, Trial};

use crate::effort::found;
use crate::kill_points::was_killed;
use crate::preload::{FileCalls, by_preload};
use crate::victim::{copy_folder, finish, scratch};

const RECORDS: u64 = 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        by_preload("without_belts_a_kill_during_creation_bricks_the_store", bricked_by_creation),
        by_preload("without_belts_a_kill_during_a_snapshot_bricks_the_store", bricked_by_a_snapshot),
    ]
}

/// The victim: sled alone, with its own flush as the only promise.
pub(crate) fn run(dir: &Path) {
    let db = sled::Config::default().path(dir).flush_every_ms(None).open().unwrap();
    for number in 0..RECORDS {
        db.insert(number.to_be_bytes(), vec![7; 300]).unwrap();
        db.flush().unwrap();
        println!("ACK {number}");
    }
}

fn bricked_by_creation() -> Result<(), Failed> {
    let failures = failures(None)?;
    found(&format!("the store alone, first start: after {} kills it does not open", failures.len()));
    if failures.iter().any(|unfinished| !unfinished) { Ok(()) } else { Err("no half-made store was found".into()) }
}

fn bricked_by_a_snapshot() -> Result<(), Failed> {
    let used = scratch();
    run(&used.path().join("data"));
    let failures = failures(Some(&used.path().join("data")))?;
    found(&format!("the store alone, later start: after {} kills it does not open", failures.len()));
    if failures.iter().any(|unfinished| *unfinished) { Ok(()) } else { Err("no unfinished snapshot was found".into()) }
}

/// For each kill point after which the store does not open, whether an unfinished snapshot lies in it.
fn failures(start: Option<&Path>) -> Result<Vec<bool>, Failed> {
    let counter = FileCalls::build()?;
    let run_at = |kill_at: Option<usize>| {
        let scratch = scratch();
        let dir = scratch.path().join("data");
        if let Some(start) = start {
            copy_folder(start, &dir);
        }
        let mut command = counter.command("bare", &dir);
        if let Some(number) = kill_at {
            command.env("HEADWATER_KILL_AT", number.to_string());
        }
        let output = finish(command).unwrap();
        (scratch, was_killed(&output))
    };
    run_at(None);
    let mut failures = Vec::new();
    for number in 1..=counter.counted() {
        let (scratch, was_killed) = run_at(Some(number));
        let dir = scratch.path().join("data");
        if was_killed && dir.exists() && sled::open(&dir).is_err() {
            let names = std::fs::read_dir(&dir)?.map(|entry| entry.unwrap().file_name());
            failures.push(names.into_iter().any(|name| name.to_string_lossy().ends_with(".generating")));
        }
    }
    Ok(failures)
}
