//! Killing the fixed script at one point after another, by either driver, and judging what is left.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Failed;

use crate::effort::found;
use crate::model;
use crate::script::{self, OPTIONS};
use crate::victim::{copy_folder, finish, open, scratch};

const SIGKILL: i32 = 9;
/// The script's exit status when the registry refused.
const REFUSED: i32 = 3;

/// A directory to start from, and what it must look like after each change.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Copied for every point; absent where the script makes its directory.
    start: Option<PathBuf>,
    fingerprints: Vec<String>,
    _scratch: tempfile::TempDir,
}

/// A scenario to be made when its test runs, under its name.
pub(crate) type NamedScenario = (&'static str, fn() -> Scenario);

/// Every scenario.
pub(crate) const SCENARIOS: [NamedScenario; 2] =
    [("first_start", Scenario::first_start), ("later_start", Scenario::later_start)];

/// What a series of points came to.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) killed: usize,
    pub(crate) not_killed: usize,
    pub(crate) refused: usize,
    pub(crate) rebuilt: usize,
}

impl Scenario {
    /// The script makes its data directory.
    fn first_start() -> Self {
        let scratch = scratch();
        let fingerprints = model::fixed_script(&scratch.path().join("model"));
        Self { name: "first start", start: None, fingerprints, _scratch: scratch }
    }

    /// The script finds a data directory that was used and closed before.
    pub(crate) fn later_start() -> Self {
        let scratch = scratch();
        let (start, model) = (scratch.path().join("start"), scratch.path().join("model"));
        let mut registry = open(&start, &OPTIONS).unwrap();
        (10..13).for_each(|seed| drop(registry.commit(script::install("group/earlier", seed)).unwrap()));
        registry.close().unwrap();
        copy_folder(&start, &model);
        let fingerprints = model::fixed_script(&model);
        Self { name: "later start", start: Some(start), fingerprints, _scratch: scratch }
    }

    /// Runs the script under `driver`, which is given the data directory, and judges what is left. The run must end by
    /// the kill or by itself.
    pub(crate) fn run_point(&self, driver: impl FnOnce(&Path) -> Command, tally: &mut Tally) -> Result<(), String> {
        self.run(driver, false, tally)
    }

    /// The same where calls fail instead: the script may also end because the registry refused.
    pub(crate) fn run_failure(&self, driver: impl FnOnce(&Path) -> Command, tally: &mut Tally) -> Result<(), String> {
        self.run(driver, true, tally)
    }

    /// Makes `dir` what the script is to find.
    pub(crate) fn place(&self, dir: &Path) {
        if let Some(start) = &self.start {
            copy_folder(start, dir);
        }
    }

    fn run(&self, driver: impl FnOnce(&Path) -> Command, may_refuse: bool, tally: &mut Tally) -> Result<(), String> {
        let scratch = scratch();
        let dir = scratch.path().join("data");
        self.place(&dir);
        let output = finish(driver(&dir))?;
        if was_killed(&output) {
            tally.killed += 1;
        } else if output.status.success() {
            tally.not_killed += 1;
        } else if may_refuse && output.status.code() == Some(REFUSED) {
            tally.refused += 1;
        } else {
            return Err(format!("the script failed by itself: {}", text(&output)));
        }
        // The store's own threads may panic over a failed sync, and are caught; ours may not.
        if let Some(panic) = text(&output).lines().find(|line| line.contains("panicked at crates/")) {
            return Err(panic.to_owned());
        }
        self.judge(&dir, &text(&output), tally)
    }

    /// Opens what is left twice, since some damage shows only at the second time, and compares it with what `output`
    /// says was acknowledged.
    pub(crate) fn judge(&self, dir: &Path, output: &str, tally: &mut Tally) -> Result<(), String> {
        let changes = output.lines().filter(|line| line.starts_with("ACK ")).count();
        let first = open_and_look(dir, tally)?;
        let second = open_and_look(dir, tally)?;
        if first != second {
            return Err("the second start shows something else than the first".to_owned());
        }
        let allowed = self.fingerprints.iter().skip(changes).take(2);
        if allowed.clone().any(|allowed| *allowed == first) {
            return Ok(());
        }
        let found = self.fingerprints.iter().position(|known| *known == first);
        Err(format!("{changes} changes were acknowledged, the state is that after {found:?}"))
    }
}

impl Tally {
    /// Says what was counted. A death alone must never make a rebuild necessary: that is for damaged disks.
    pub(crate) fn conclude(&self, what: &str, least: usize) -> Result<(), Failed> {
        let Self { killed, not_killed, rebuilt, .. } = self;
        found(&format!("{what}: {killed} points killed, {not_killed} not reached, {rebuilt} rebuilt"));
        if *rebuilt > 0 {
            return Err(format!("{rebuilt} starts had to rebuild the record store").into());
        }
        if *killed < least { Err(format!("only {killed} points were killed").into()) } else { Ok(()) }
    }
}

fn open_and_look(dir: &Path, tally: &mut Tally) -> Result<String, String> {
    let registry = open(dir, &OPTIONS).map_err(|error| format!("it does not open: {error}"))?;
    let report = registry.boot_report();
    if !report.damaged.is_empty() {
        return Err(format!("damaged: {:?}", report.damaged));
    }
    tally.rebuilt += usize::from(report.rebuilt.is_some());
    let fingerprint = model::fingerprint(&registry);
    registry.close().map_err(|error| format!("it does not close: {error}"))?;
    let partial = fs::read_dir(dir.join("objects")).unwrap();
    let partial = partial.filter(|entry| entry.as_ref().unwrap().path().extension().is_some()).count();
    if partial == 0 { Ok(fingerprint) } else { Err("a half-written object is left".to_owned()) }
}

/// A tracer that follows its victim's death exits by the same signal, or with 128 and its number.
pub(crate) fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(SIGKILL) || output.status.code() == Some(128 + SIGKILL)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
