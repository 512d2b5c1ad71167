//! Starting, killing and copying for victims.

use std::fs;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use registry::{OpenOptions, Registry, RegistryError};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::script::SCRIPT_FLAG;

/// Longer than anything here takes, on a machine that does other work too.
const PATIENCE: Duration = Duration::from_secs(300);

/// A test under its name.
pub(crate) type NamedTest = (&'static str, fn() -> Result<(), Failed>);

/// A folder in memory where there is one, so that a sync costs nothing; what is tested is the order of calls.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

pub(crate) fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// This binary as a victim with a script's words.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg(SCRIPT_FLAG).args(words);
    command
}

/// Runs `command` to its end. A victim that goes on for ever is a failure, not a test that stands still.
pub(crate) fn finish(mut command: Command) -> Result<Output, String> {
    let io = |error: std::io::Error| error.to_string();
    let (mut said, mut complained) = (tempfile::tempfile().map_err(io)?, tempfile::tempfile().map_err(io)?);
    command.stdin(Stdio::null()).stdout(said.try_clone().map_err(io)?).stderr(complained.try_clone().map_err(io)?);
    // A group of its own, so that a tracer's victim goes with the tracer.
    let mut child = command.process_group(0).spawn().map_err(io)?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(io)? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    if status.is_none() {
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait().map_err(io)?;
    }
    let read = |file: &mut fs::File| {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(io)?;
        Ok::<_, String>(bytes)
    };
    let (stdout, stderr) = (read(&mut said)?, read(&mut complained)?);
    match status {
        Some(status) => Ok(Output { status, stdout, stderr }),
        None => Err(format!("still running after {PATIENCE:?}, having said {}", String::from_utf8_lossy(&stdout))),
    }
}

/// Kills `child` should it be there after the longest time that anything takes, so that nobody waits for it for ever.
/// Dropping what is returned calls it off.
pub(crate) fn doom(child: &Child) -> mpsc::Sender<()> {
    let (call_off, called_off) = mpsc::channel();
    let pid = Pid::from_child(child);
    thread::spawn(move || {
        if called_off.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    });
    call_off
}

/// What `work` gives, unless it panics or goes on for ever.
pub(crate) fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    result.recv_timeout(PATIENCE).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => format!("still running after {PATIENCE:?}"),
        mpsc::RecvTimeoutError::Disconnected => "it panicked".to_owned(),
    })
}

/// Opens a registry that this process may have just closed.
pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Result<Registry, RegistryError> {
    once_let_go(|| Registry::open(dir, options))
}

/// What `work` gives on a directory that this process has just let go. Another test may be starting a victim at that
/// moment, which has this process's locks until it becomes another program.
pub(crate) fn once_let_go<T>(work: impl Fn() -> Result<T, RegistryError>) -> Result<T, RegistryError> {
    for _ in 0..200 {
        match work() {
            Err(RegistryError::Locked { pid }) if pid == Some(std::process::id()) => {
                thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
    work()
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let source = entry.unwrap().path();
        let target = to.join(source.file_name().unwrap());
        if source.is_dir() {
            copy_folder(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

/// Whether `command` runs and says that all is well.
pub(crate) fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
