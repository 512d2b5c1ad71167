//! Kill points by one counter for the whole process: a small shared object, loaded before libc, counts the calls that
//! change files in the data directory. Needs no ptrace; does not see calls made without libc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use crate::kill_points::{NamedScenario, SCENARIOS, Scenario, Tally};
use crate::victim::{self, scratch};

/// The built object, removed with the folder that holds it.
pub(crate) struct CallCounter {
    object: PathBuf,
    _scratch: TempDir,
}

pub(crate) fn trials() -> Vec<Trial> {
    let has_compiler = victim::works(Command::new("cc").arg("--version"));
    let trial = |(name, scenario): NamedScenario| {
        if has_compiler {
            Trial::test(format!("killed_at_every_file_call_of_a_{name}"), move || kill_at_every_call(&scenario()))
        } else {
            let name = format!("killed_at_every_file_call_of_a_{name} (kill points: no C compiler)");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    };
    SCENARIOS.into_iter().map(trial).collect()
}

impl CallCounter {
    /// Compiles the shared object.
    pub(crate) fn build() -> Result<Self, Failed> {
        let scratch = scratch();
        let object = scratch.path().join("count_calls.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/durability/count_calls.c");
        let output =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&object).arg(source).arg("-ldl").output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(Self { object, _scratch: scratch })
    }

    /// A victim whose calls below `dir` are counted, and which dies at number `kill_at`.
    pub(crate) fn command(&self, script: &str, dir: &Path, kill_at: Option<usize>) -> Command {
        let mut command = victim::command(&[script, dir.to_str().unwrap()]);
        command.env("LD_PRELOAD", &self.object).env("HEADWATER_KILL_UNDER", dir);
        command.env("HEADWATER_COUNT_FILE", self.count_file());
        if let Some(number) = kill_at {
            command.env("HEADWATER_KILL_AT", number.to_string());
        }
        command
    }

    /// The calls of the last undisturbed run.
    pub(crate) fn counted(&self) -> usize {
        fs::read_to_string(self.count_file()).unwrap().trim().parse().unwrap()
    }

    fn count_file(&self) -> PathBuf {
        self.object.with_extension("count")
    }
}

fn kill_at_every_call(scenario: &Scenario) -> Result<(), Failed> {
    let counter = CallCounter::build()?;
    scenario.run_point(|dir| counter.command("fixed", dir, None), &mut Tally::default())?;
    let calls = counter.counted();
    let mut tally = Tally::default();
    for number in 1..=calls {
        let driver = |dir: &Path| counter.command("fixed", dir, Some(number));
        scenario.run_point(driver, &mut tally).map_err(|error| format!("call {number} of {calls}: {error}"))?;
    }
    tally.conclude(&format!("{}, by counting {calls} calls", scenario.name), 50)
}
