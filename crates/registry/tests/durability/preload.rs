//! A small shared object that is loaded before libc and sees every call that changes files in the data directory, by
//! whichever thread: it kills, fails, records, or slows them. Needs no ptrace; does not see calls made without libc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use crate::effort::stride;
use crate::kill_points::{NamedScenario, SCENARIOS, Scenario, Tally};
use crate::victim::{self, scratch};

static HAS_COMPILER: LazyLock<bool> = LazyLock::new(|| victim::works(Command::new("cc").arg("--version")));

/// The built object, removed with the folder that holds it.
pub(crate) struct FileCalls {
    object: PathBuf,
    _scratch: TempDir,
}

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |(name, scenario): NamedScenario| {
        by_preload(&format!("killed_at_every_file_call_of_a_{name}"), move || kill_at_every_call(&scenario()))
    };
    SCENARIOS.into_iter().map(trial).collect()
}

/// A test that needs the object; where it cannot be built, reported as ignored with the reason.
pub(crate) fn by_preload(name: &str, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    if *HAS_COMPILER {
        Trial::test(name, test)
    } else {
        Trial::test(format!("{name} (no C compiler)"), || Ok(())).with_ignored_flag(true)
    }
}

impl FileCalls {
    /// Compiles the shared object.
    pub(crate) fn build() -> Result<Self, Failed> {
        let scratch = scratch();
        let object = scratch.path().join("file_calls.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/durability/file_calls.c");
        let output =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&object).arg(source).arg("-ldl").output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(Self { object, _scratch: scratch })
    }

    /// A victim whose calls below `dir` are counted.
    pub(crate) fn command(&self, script: &str, dir: &Path) -> Command {
        let mut command = victim::command(&[script, dir.to_str().unwrap()]);
        command.env("LD_PRELOAD", &self.object).env("HEADWATER_UNDER", dir);
        command.env("HEADWATER_COUNT_FILE", self.count_file());
        command
    }

    /// The calls of the last run that ended by itself.
    pub(crate) fn counted(&self) -> usize {
        self.counts()[0]
    }

    /// How many of them failed because they were told to.
    pub(crate) fn failed(&self) -> usize {
        self.counts()[1]
    }

    fn counts(&self) -> Vec<usize> {
        let text = fs::read_to_string(self.count_file()).unwrap();
        text.split_whitespace().map(|number| number.parse().unwrap()).collect()
    }

    /// Where a record may go.
    pub(crate) fn record_file(&self) -> PathBuf {
        self.object.with_extension("record")
    }

    fn count_file(&self) -> PathBuf {
        self.object.with_extension("count")
    }
}

fn kill_at_every_call(scenario: &Scenario) -> Result<(), Failed> {
    let file_calls = FileCalls::build()?;
    scenario.run_point(|dir| file_calls.command("fixed", dir), &mut Tally::default())?;
    let calls = file_calls.counted();
    let mut tally = Tally::default();
    for number in (1..=calls).step_by(stride()) {
        let driver = |dir: &Path| {
            let mut command = file_calls.command("fixed", dir);
            command.env("HEADWATER_KILL_AT", number.to_string());
            command
        };
        scenario.run_point(driver, &mut tally).map_err(|error| format!("call {number} of {calls}: {error}"))?;
    }
    tally.conclude(&format!("{}, by counting {calls} calls", scenario.name), 50)
}
