//! The power fails: whatever no sync has covered may be gone, and what was acknowledged is there all the same.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};

use crate::disk_model::{Disk, Fate};
use crate::effort::{effort, found};
use crate::kill_points::{NamedScenario, SCENARIOS, Scenario, Tally};
use crate::preload::{FileCalls, by_preload};
use crate::random::Random;
use crate::recorded_calls::{self, Call};
use crate::victim::{finish, scratch};

const FATES: [Fate; 3] = [Fate::Dropped, Fate::Zeroed, Fate::Torn];

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |(name, scenario): NamedScenario| {
        let name = format!("a_power_cut_takes_nothing_acknowledged_from_a_{name}");
        by_preload(&name, move || cuts_of(&scenario()))
    };
    let control = by_preload("without_belts_a_power_cut_takes_what_the_store_has_flushed", bare_store_loses);
    SCENARIOS.into_iter().map(trial).chain([control]).collect()
}

fn cuts_of(scenario: &Scenario) -> Result<(), Failed> {
    let scratch = scratch();
    let root = scratch.path().join("root");
    fs::create_dir(&root)?;
    scenario.place(&root.join("data"));
    let (mut disk, calls) = recorded("fixed", &root)?;
    let mut random = Random::new(7);
    let cuts = effort(40, 500);
    let mut places: Vec<usize> = (0..cuts).map(|_| random.below(calls.len() + 1)).collect();
    places.sort_unstable();
    let mut tally = Tally::default();
    let mut taken = 0;
    for (number, place) in places.into_iter().enumerate() {
        calls[taken..place].iter().for_each(|call| disk.take(call));
        taken = place;
        let fate = FATES[number % FATES.len()];
        let after = scratch.path().join("after");
        disk.cut(fate, &mut random, &after);
        let judged = scenario.judge(&after.join("data"), &disk.said, &mut tally);
        judged.map_err(|reason| format!("power cut after call {place} of {}, {fate:?}: {reason}", calls.len()))?;
        fs::remove_dir_all(&after)?;
    }
    found(&format!("{}: {cuts} power cuts, {} starts rebuilt, 0 heads lost", scenario.name, tally.rebuilt));
    Ok(())
}

/// The store alone says that it has flushed, and has not.
fn bare_store_loses() -> Result<(), Failed> {
    let scratch = scratch();
    let root = scratch.path().join("root");
    fs::create_dir(&root)?;
    let (mut disk, calls) = recorded("bare", &root)?;
    let flushed = |disk: &Disk| disk.said.lines().filter(|line| line.starts_with("ACK ")).count();
    let mut lost = 0;
    for call in &calls {
        disk.take(call);
        if !matches!(call, Call::Say(text) if text.starts_with("ACK ")) {
            continue;
        }
        let after = scratch.path().join("after");
        disk.cut(Fate::Dropped, &mut Random::new(1), &after);
        let kept = sled::open(after.join("data")).map_or(0, |db| db.len());
        lost += usize::from(kept < flushed(&disk));
        fs::remove_dir_all(&after)?;
    }
    found(&format!("the store alone: records lost at {lost} of {} moments", flushed(&disk)));
    if lost > 0 { Ok(()) } else { Err("the model takes nothing from a store without belts".into()) }
}

/// The disk before a script, and the calls that the script makes.
fn recorded(script: &str, root: &Path) -> Result<(Disk, Vec<Call>), Failed> {
    let disk = Disk::of_folder(root);
    let file_calls = FileCalls::build()?;
    let record = file_calls.record_file();
    let mut command = file_calls.command(script, &root.join("data"));
    command.env("HEADWATER_UNDER", root).env("HEADWATER_RECORD", &record);
    let output = finish(command)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok((disk, recorded_calls::read(&fs::read(record)?)))
}
