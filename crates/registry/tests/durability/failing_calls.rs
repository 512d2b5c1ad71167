//! Calls that fail instead of a process that dies: nothing is acknowledged that was not proven, nothing panics, and the
//! next start is clean. A sync that fails although the write succeeded is the case that the bare store acknowledges.

use std::path::Path;

use libtest_mimic::{Failed, Trial};

use crate::kill_points::{Scenario, Tally};
use crate::strace::{record, strace, traced};

/// System call, error, and whether it goes on failing from then on.
const FAILURES: [(&str, &str, &str); 6] = [
    ("fsync", "EIO", ""),
    ("fdatasync", "EIO", ""),
    ("fdatasync", "EIO", "+"),
    ("sync_file_range", "EIO", "+"),
    ("pwrite64", "ENOSPC", "+"),
    ("rename", "EIO", ""),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![traced("a_failing_call_is_never_acknowledged_and_the_next_start_is_clean", fail_every_call)]
}

fn fail_every_call() -> Result<(), Failed> {
    let scenario = Scenario::later_start();
    let points = record(&scenario)?;
    let mut tally = Tally::default();
    for (call, error, onward) in FAILURES {
        for number in 1..=points.get(call).copied().unwrap_or(0) {
            let inject = format!("inject={call}:error={error}:when={number}{onward}");
            let trace = format!("trace={call}");
            let driver = |dir: &Path| strace(&["-o", "/dev/null", "-e", &trace, "-e", &inject], dir);
            let judged = scenario.run_failure(driver, &mut tally);
            judged.map_err(|reason| format!("{call} number {number}{onward} fails with {error}: {reason}"))?;
        }
    }
    let Tally { refused, not_killed, rebuilt, .. } = tally;
    println!("failing calls: {refused} runs refused, {not_killed} went on, {rebuilt} rebuilt");
    if refused < 30 { Err(format!("only {refused} runs met the failure").into()) } else { Ok(()) }
}
