//! Kill points by system call, through strace: sees every call, also those not made through libc, but counts them for
//! each thread alone.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use libtest_mimic::{Failed, Trial};

use crate::effort::stride;
use crate::kill_points::{NamedScenario, SCENARIOS, Scenario, Tally, was_killed};
use crate::script::SCRIPT_FLAG;
use crate::victim::{program, scratch};

const CALLS: &str = "openat,write,pwrite64,writev,rename,renameat,renameat2,link,unlink,unlinkat,mkdir,mkdirat,\
                     ftruncate,fallocate,fsync,fdatasync,syncfs,sync_file_range";
/// Set where the tests must not be ignored.
const REQUIRED: &str = "HEADWATER_REQUIRE_PTRACE";

static REFUSAL: LazyLock<Option<String>> = LazyLock::new(refusal);

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |(name, scenario): NamedScenario| {
        let name = format!("killed_at_every_system_call_of_a_{name}");
        traced(&name, move || kill_at_every_call(&scenario()))
    };
    SCENARIOS.into_iter().map(trial).collect()
}

/// A test that needs strace; where it cannot work, reported as ignored with the reason.
pub(crate) fn traced(name: &str, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    match REFUSAL.as_ref().filter(|_| std::env::var_os(REQUIRED).is_none()) {
        Some(reason) => Trial::test(format!("{name} (kill points: {reason})"), || Ok(())).with_ignored_flag(true),
        None => Trial::test(name, test),
    }
}

/// Why strace cannot kill here, found out by killing `true` at its first call.
fn refusal() -> Option<String> {
    let probe = ["-f", "-o", "/dev/null", "-e", "trace=openat", "-e", "inject=openat:signal=KILL:when=1", "true"];
    match Command::new("strace").args(probe).output() {
        Err(error) => Some(format!("no strace, {error}")),
        Ok(output) if was_killed(&output) => None,
        Ok(output) => {
            let reason = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
            Some(format!("ptrace refused, {reason}"))
        }
    }
}

fn kill_at_every_call(scenario: &Scenario) -> Result<(), Failed> {
    let points = record(scenario)?;
    let mut tally = Tally::default();
    for (call, most) in &points {
        for number in (1..=*most).step_by(stride()) {
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let trace = format!("trace={call}");
            let driver = |dir: &Path| strace(&["-o", "/dev/null", "-e", &trace, "-e", &inject], dir);
            scenario.run_point(driver, &mut tally).map_err(|error| format!("{call} number {number}: {error}"))?;
        }
    }
    tally.conclude(&format!("{}, by strace", scenario.name), 100)
}

/// For each system call, the most that any one thread makes in an undisturbed run.
pub(crate) fn record(scenario: &Scenario) -> Result<BTreeMap<String, usize>, Failed> {
    let scratch = scratch();
    let log = scratch.path().join("log");
    let trace = format!("trace={CALLS}");
    let log_path = log.to_str().unwrap().to_owned();
    let driver = |dir: &Path| strace(&["-o", &log_path, "-e", &trace], dir);
    scenario.run_point(driver, &mut Tally::default())?;
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    for line in fs::read_to_string(log)?.lines() {
        // "<thread> <call>(…" or "<thread> <... call resumed>", which is the end of one counted before.
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *counts.entry((thread.to_owned(), call.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in counts {
        let entry = most.entry(call).or_insert(0);
        *entry = count.max(*entry);
    }
    Ok(most)
}

/// The fixed script in `dir` under strace.
pub(crate) fn strace(options: &[&str], dir: &Path) -> Command {
    let mut command = Command::new("strace");
    command.arg("-f").args(options).arg(program()).args([SCRIPT_FLAG, "fixed"]).arg(dir);
    command
}
