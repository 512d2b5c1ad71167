//! Starting, killing and copying for victims.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use registry::{OpenOptions, Registry, RegistryError};
use tempfile::TempDir;

use crate::script::SCRIPT_FLAG;

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

/// Opens a registry that this process has just closed. Another test may be starting a victim at that moment, which has
/// this process's locks until it becomes another program.
pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Result<Registry, RegistryError> {
    for _ in 0..200 {
        match Registry::open(dir, options) {
            Err(RegistryError::Locked { pid }) if pid == Some(std::process::id()) => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
    Registry::open(dir, options)
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
