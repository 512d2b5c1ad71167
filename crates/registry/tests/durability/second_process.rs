//! One writer a data directory: the second is told at once who has it, and the first does not notice.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Instant;

use libtest_mimic::{Failed, Trial};
use registry::{OpenOptions, Registry, RegistryError};

use crate::effort::found;
use crate::script::OPTIONS;
use crate::victim::{self, NamedTest, open, scratch};

const TRIES: usize = 100;

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [NamedTest; 3] = [
        ("a_second_process_is_told_who_has_the_directory", second_process),
        ("a_second_registry_in_the_same_process_is_refused", same_process),
        ("a_killed_holder_leaves_no_lock", killed_holder),
    ];
    tests.map(|(name, test)| Trial::test(name, test)).into()
}

/// A process that holds `dir` and commits once for each byte on its standard input.
fn holder(dir: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child =
        victim::command(&["hold", dir.to_str().unwrap()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let doomed = victim::doom(&child);
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("ACK "), "{line}");
    drop(doomed);
    (child, lines)
}

fn second_process() -> Result<(), Failed> {
    let scratch = scratch();
    let (mut child, mut lines) = holder(scratch.path());
    for number in 0..TRIES {
        for options in [OPTIONS, OpenOptions { read_only: true, ..OPTIONS }] {
            let refused = Registry::open(scratch.path(), &options).unwrap_err();
            let expected = format!("another headwater-server (pid {}) is using this data directory", child.id());
            assert_eq!(refused.to_string(), expected);
        }
        if number % 10 == 0 {
            child.stdin.as_mut().unwrap().write_all(b".")?;
            let mut line = String::new();
            lines.read_line(&mut line)?;
            assert!(line.starts_with("ACK "), "the first was disturbed: {line}");
        }
    }
    // A whole second process, with its text and status.
    let started = Instant::now();
    let output = victim::finish(victim::command(&["fixed", scratch.path().to_str().unwrap()]))?;
    found(&format!("{TRIES} times told who has it, a whole process in {:?}", started.elapsed()));
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("(pid {})", child.id())));
    drop(child.stdin.take());
    assert!(child.wait()?.success());
    open(scratch.path(), &OPTIONS)?.close()?;
    Ok(())
}

fn same_process() -> Result<(), Failed> {
    let scratch = scratch();
    let first = open(scratch.path(), &OPTIONS)?;
    let refused = Registry::open(scratch.path(), &OPTIONS);
    assert!(matches!(refused, Err(RegistryError::Locked { pid }) if pid == Some(std::process::id())), "{refused:?}");
    first.close()?;
    open(scratch.path(), &OPTIONS)?.close()?;
    Ok(())
}

fn killed_holder() -> Result<(), Failed> {
    let scratch = scratch();
    for _ in 0..5 {
        let (mut child, _lines) = holder(scratch.path());
        child.kill()?;
        child.wait()?;
        open(scratch.path(), &OPTIONS)?.close()?;
    }
    Ok(())
}
