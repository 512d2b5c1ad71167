//! The wall clock jumps, or stands: changes are ordered by their generation, dates go on from the first look at it, and
//! nothing fails.

use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};

use crate::effort::found;
use crate::model;
use crate::preload::{FileCalls, by_preload};
use crate::script::{self, OPTIONS};
use crate::victim::{finish, open, scratch};

const A_DAY: u64 = 24 * 60 * 60;

pub(crate) fn trials() -> Vec<Trial> {
    vec![by_preload("a_clock_that_jumps_or_stands_changes_nothing_but_times", jumping_clock)]
}

fn jumping_clock() -> Result<(), Failed> {
    let reference = scratch();
    let expected = model::fixed_script(&reference.path().join("data"));
    let file_calls = FileCalls::build()?;
    for clock in ["back", "forward", "stopped"] {
        let scratch = scratch();
        let mut command = file_calls.command("fixed", scratch.path());
        let output = finish({
            command.env("HEADWATER_CLOCK", clock);
            command
        })?;
        assert!(output.status.success(), "{clock}: {}", String::from_utf8_lossy(&output.stderr));
        let registry = open(scratch.path(), &OPTIONS)?;
        assert_eq!(registry.boot_report().rebuilt, None);
        assert_eq!(Some(&model::fingerprint(&registry)), expected.last(), "{clock}");
        let mut log: Vec<_> = registry.audit(u64::MAX).collect();
        log.reverse();
        let generations: Vec<u64> = log.iter().map(|entry| entry.generation).collect();
        assert_eq!(generations, (1..=script::changes().len() as u64).collect::<Vec<_>>(), "{clock}");
        let times: Vec<u64> = log.iter().map(|entry| entry.unix_seconds).collect();
        assert!(times.is_sorted() && times[times.len() - 1] - times[0] < A_DAY, "{clock}: {times:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let ahead = times[0].cast_signed() - now.cast_signed();
        let as_told = match clock {
            "back" => ahead < -A_DAY.cast_signed(),
            "forward" => ahead > A_DAY.cast_signed(),
            _ => ahead.unsigned_abs() < A_DAY,
        };
        assert!(as_told, "{clock} and {ahead} seconds ahead");
    }
    found("back a year at each look, forward a year at each look, stopped: 0 failures");
    Ok(())
}
