//! Calls that fail instead of a process that dies: nothing is acknowledged that was not proven, nothing panics, and the
//! next start is clean. A sync that fails although the write succeeded is the case that the bare store acknowledges.

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::effort::{effort, found, stride};
use crate::kill_points::{Scenario, Tally};
use crate::preload::{FileCalls, by_preload};
use crate::strace::{record, strace, traced};

/// System call, error, and whether it goes on failing from then on.
const TRACED: [(&str, &str, &str); 6] = [
    ("fsync", "EIO", ""),
    ("fdatasync", "EIO", ""),
    ("fdatasync", "EIO", "+"),
    ("sync_file_range", "EIO", "+"),
    ("pwrite64", "ENOSPC", "+"),
    ("rename", "EIO", ""),
];
/// Every call that changes files, by its name in `file_calls.c`.
const CALLS: [&str; 11] = [
    "open",
    "write",
    "pwrite",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "syncfs",
    "rename",
    "unlink",
    "mkdir",
    "ftruncate",
];
const ERRORS: [(&str, i32); 2] = [("EIO", 5), ("ENOSPC", 28)];
/// An ordinary run tries one in so many of the calls.
const STRIDE: usize = 16;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        traced("a_failing_call_is_never_acknowledged_and_the_next_start_is_clean", fail_traced_calls),
        by_preload("whichever_call_fails_once_or_for_good_nothing_acknowledged_is_lost", fail_every_call),
        by_preload("a_store_whose_writes_fail_for_good_answers_all_the_same", writes_that_fail_for_good),
    ]
}

fn fail_traced_calls() -> Result<(), Failed> {
    let scenario = Scenario::later_start();
    let points = record(&scenario)?;
    let mut tally = Tally::default();
    for (call, error, onward) in TRACED {
        for number in (1..=points.get(call).copied().unwrap_or(0)).step_by(stride()) {
            let inject = format!("inject={call}:error={error}:when={number}{onward}");
            let trace = format!("trace={call}");
            let driver = |dir: &Path| strace(&["-o", "/dev/null", "-e", &trace, "-e", &inject], dir);
            let judged = scenario.run_failure(driver, &mut tally);
            judged.map_err(|reason| format!("{call} number {number}{onward} fails with {error}: {reason}"))?;
        }
    }
    conclude(&tally, "by strace", 30)
}

fn fail_every_call() -> Result<(), Failed> {
    let file_calls = FileCalls::build()?;
    let scenario = Scenario::later_start();
    let mut tally = Tally::default();
    let mut tried = 0;
    for call in CALLS {
        for (error, errno) in ERRORS {
            for once in [true, false] {
                let mut number = 1 + effort(tried % STRIDE, 0);
                loop {
                    let failure = Failure { call, errno, number, once };
                    let judged = scenario.run_failure(|dir| failure.strike(&file_calls, dir), &mut tally);
                    judged.map_err(|why| format!("{failure:?} with {error}: {why}"))?;
                    tried += 1;
                    if file_calls.failed() == 0 {
                        break;
                    }
                    number += effort(STRIDE, 1);
                }
            }
        }
    }
    conclude(&tally, &format!("{} kinds of call, {tried} runs", CALLS.len()), 20)
}

/// The store's own threads find out at some moment that the disk is gone, and must tell whoever waits for them.
fn writes_that_fail_for_good() -> Result<(), Failed> {
    let file_calls = FileCalls::build()?;
    let scenario = Scenario::later_start();
    let mut tally = Tally::default();
    let runs = effort(30, 300);
    for run in 0..runs {
        let failure = Failure { call: "pwrite", errno: ERRORS[0].1, number: 3 + run % 10, once: false };
        let judged = scenario.run_failure(|dir| failure.strike(&file_calls, dir), &mut tally);
        judged.map_err(|why| format!("run {run}, {failure:?}: {why}"))?;
    }
    conclude(&tally, &format!("{runs} runs in which writes fail for good"), runs)
}

/// A call that fails, by its number among calls of its name.
#[derive(Debug, Clone, Copy)]
struct Failure {
    call: &'static str,
    errno: i32,
    number: usize,
    /// Otherwise all after it fail, too.
    once: bool,
}

impl Failure {
    fn strike(self, file_calls: &FileCalls, dir: &Path) -> Command {
        let mut command = file_calls.command("fixed", dir);
        command.env("HEADWATER_FAIL_CALL", self.call).env("HEADWATER_FAIL_AT", self.number.to_string());
        command.env("HEADWATER_FAIL_WITH", self.errno.to_string());
        if self.once {
            command.env("HEADWATER_FAIL_ONCE", "");
        }
        command
    }
}

fn conclude(tally: &Tally, what: &str, least: usize) -> Result<(), Failed> {
    let Tally { refused, not_killed, rebuilt, .. } = tally;
    found(&format!("{what}: {refused} refused, {not_killed} went on, {rebuilt} rebuilt, 0 heads lost"));
    if *refused < least { Err(format!("only {refused} runs met the failure").into()) } else { Ok(()) }
}
