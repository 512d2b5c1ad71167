//! Thousands of replacements: the directory and the memory stay within bounds, and no object is left over or missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use registry::{AUDIT_ENTRIES, Change, Registry, RegistryError, tools};

use crate::effort::{effort, found};
use crate::random::Random;
use crate::script::{self, OPTIONS};
use crate::victim::{self, scratch};

/// The directory may be twice what is live, and this.
const SPARE_BYTES: u64 = 64 << 20;
/// What an allocator may take besides.
const SPARE_RSS_KIB: u64 = 4096;
/// Replacements, of two changes each, after which the audit log is as long as it gets and takes no more memory.
const LOG_IS_FULL: usize = AUDIT_ENTRIES / 2;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("thousands_of_replacements_leave_no_trace", replacements)]
}

fn replacements() -> Result<(), Failed> {
    let (rounds, tasks) = effort((300, 50), (10_000, 500));
    let scratch = scratch();
    let dir = scratch.path().join("data");
    let words = ["wear", dir.to_str().unwrap(), &rounds.to_string(), &tasks.to_string()];
    let output = victim::finish(victim::command(&words))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = said.lines().find_map(|line| line.strip_prefix("WORN ")).ok_or_else(|| said.clone())?;
    let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
    let [before, after, running] = numbers[..] else { return Err(said.into()) };
    let live = size_of(&dir.join("objects"));
    found(&format!(
        "{rounds} replacements over {tasks} heads: {live} B live, {running} B on disk while it ran; \
                    memory from {before} to {after} KiB"
    ));
    assert!(running <= 2 * live + SPARE_BYTES, "{running} bytes on disk, {live} live");
    assert!(after <= before + before / 10 + SPARE_RSS_KIB, "memory grew from {before} to {after} KiB");
    let report = tools::verify(&dir)?;
    assert_eq!((report.heads, report.unused_objects), (tasks, 0));
    assert!(report.damaged.is_empty() && report.problems.is_empty(), "{report:?}");
    Ok(())
}

/// The victim: replaces heads of many tasks, and says how much memory it had once the audit log was full (after a fifth
/// where it never will be), how much at the end, and how large the directory was then.
pub(crate) fn run(dir: &Path, rounds: usize, tasks: usize) -> Result<(), RegistryError> {
    let mut registry = Registry::open(dir, &OPTIONS)?;
    let name = |task: usize| format!("group/task{task}");
    let installs = (0..tasks).map(|task| script::one_head(script::key(&name(task)), task as u64));
    registry.commit(Change::InstallMany(installs.collect()))?;
    let mut newest: BTreeMap<usize, u64> = (0..tasks).map(|task| (task, 1)).collect();
    let mut random = Random::new(3);
    let settled = if rounds > LOG_IS_FULL { LOG_IS_FULL } else { rounds / 5 };
    let mut before = 0;
    for round in 0..rounds {
        let task = random.below(tasks);
        registry.commit(script::install(&name(task), (tasks + round) as u64))?;
        let version = script::version(newest[&task]);
        registry.commit(Change::DeleteVersion { key: script::key(&name(task)), version, with_aliases: false })?;
        *newest.get_mut(&task).unwrap() += 1;
        if round == settled {
            before = resident_kib();
        }
    }
    println!("WORN {before} {} {}", resident_kib(), size_of(dir));
    registry.close()
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { size_of(&path) } else { fs::metadata(path).map_or(0, |file| file.len()) })
        .sum()
}
