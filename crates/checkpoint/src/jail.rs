//! Pickles are read in a process of their own, which cannot open a file, start a process, or take more memory, time
//! or disk than it was given.
//!
//! The parent hands over two open files, the pickle as standard input and the place for the tensors as standard
//! output; what the child has to say comes on standard error. Nothing it writes is trusted: the parent reads the
//! tensors through the same guard as any other file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::error::CheckpointError;
use crate::state_dict;

/// How often the parent looks whether the child has ended.
const POLL: Duration = Duration::from_millis(5);
/// The most that is kept of what a child says.
const MAX_WORDS_BYTES: u64 = 4_096;
/// The child may write this much for every byte it reads, and [`LEAST_OUTPUT_BYTES`] in any case: tensors that share
/// a storage are written once each.
const OUTPUT_FACTOR: u64 = 4;
const LEAST_OUTPUT_BYTES: u64 = 16 << 20;

/// How the reading process is started, and what it may use.
#[derive(Debug, Clone)]
pub struct Jail {
    /// The program to run; it must hand its arguments after `arguments` to [`child_main`] before anything else.
    pub program: PathBuf,
    /// What makes the program read a pickle, such as a hidden subcommand.
    pub arguments: Vec<OsString>,
    /// Memory it may take beyond what it has when it starts, in bytes.
    pub memory_bytes: u64,
    /// Processor time it may use.
    pub processor: Duration,
    /// Time after which it is killed whatever it does.
    pub patience: Duration,
}

impl Jail {
    /// Converts the pickled checkpoint `input`, called `name` in messages, into safetensors in `output`.
    ///
    /// # Errors
    /// [`CheckpointError::Jail`], with what the child said or the limit it broke.
    pub(crate) fn convert(&self, name: &str, input: File, output: &File) -> Result<(), CheckpointError> {
        let failed = |reason: String| CheckpointError::Jail { file: name.to_owned(), reason };
        let input_bytes = input.metadata().map_err(CheckpointError::io(name))?.len();
        let output_bytes = input_bytes.saturating_mul(OUTPUT_FACTOR).max(LEAST_OUTPUT_BYTES);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear();
        if let Some(folders) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", folders);
        }
        let child = command
            .arg(self.memory_bytes.to_string())
            .arg(self.processor.as_secs().max(1).to_string())
            .arg(output_bytes.to_string())
            .stdin(input)
            .stdout(output.try_clone().map_err(CheckpointError::io(name))?)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("{} did not start: {error}", self.program.display())))?;
        let (status, words) = wait(child, self.patience).map_err(failed)?;
        if status.success() { Ok(()) } else { Err(failed(explain(status, &words))) }
    }
}

/// Waits for `child` at most `patience`; gives its status and what it said.
fn wait(mut child: Child, patience: Duration) -> Result<(ExitStatus, String), String> {
    let errors = child.stderr.take();
    // What the child says fits into the pipe: it says one line, and a flood of words would only block the child
    // itself until it is killed.
    let started = SystemTime::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed().is_ok_and(|elapsed| elapsed < patience) => std::thread::sleep(POLL),
            Ok(None) | Err(_) => {
                child.kill().and_then(|()| child.wait()).map_err(|error| format!("it cannot be ended: {error}"))?;
                return Err(format!("it took longer than {} s", patience.as_secs()));
            }
        }
    };
    let mut words = Vec::new();
    if let Some(errors) = errors {
        // Half a message is better than none.
        drop(errors.take(MAX_WORDS_BYTES).read_to_end(&mut words));
    }
    Ok((status, String::from_utf8_lossy(&words).chars().filter(|c| !c.is_control()).collect()))
}

fn explain(status: ExitStatus, words: &str) -> String {
    if words.is_empty() {
        format!("the reading process ended with {status}; it broke a limit")
    } else {
        words.to_owned()
    }
}

/// The child's whole life: takes its limits from `arguments` (memory, processor seconds, output bytes), gives up what
/// it does not need, converts standard input to standard output.
pub fn child_main(arguments: &[OsString]) -> ExitCode {
    match read_jailed(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn read_jailed(arguments: &[OsString]) -> Result<(), String> {
    let number = |text: &OsStr| text.to_str().and_then(|text| text.parse::<u64>().ok());
    let limits: Option<Vec<u64>> = arguments.iter().map(|text| number(text)).collect();
    let Some([memory_bytes, processor_seconds, output_bytes]) = limits.as_deref() else {
        return Err("expected three numbers: memory bytes, processor seconds, output bytes".to_owned());
    };
    let own = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
    let input = own(std::io::stdin().as_fd()).map_err(|error| format!("standard input: {error}"))?;
    let output = own(std::io::stdout().as_fd()).map_err(|error| format!("standard output: {error}"))?;
    // The archive reader holds a second handle on the input.
    let spare = own(input.as_fd()).map_err(|error| format!("standard input: {error}"))?;
    let open_files = rustix::fd::AsRawFd::as_raw_fd(&spare) as u64 + 1;
    drop(spare);
    let limit = |resource: Resource, most: u64| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|errno| format!("cannot limit {resource:?}: {errno}"))
    };
    limit(Resource::As, memory_in_use()?.saturating_add(*memory_bytes))?;
    limit(Resource::Cpu, *processor_seconds)?;
    limit(Resource::Fsize, output_bytes.saturating_add(8 << 20))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nproc, 0)?;
    limit(Resource::Nofile, open_files)?;
    state_dict::convert(input, output, *output_bytes).map_err(|error| error.whole())
}

/// Address space in use, in bytes. A program that is linked with large libraries has much of it from the start.
fn memory_in_use() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/self/statm").map_err(|error| format!("/proc/self/statm: {error}"))?;
    let pages = text.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or("/proc/self/statm does not begin with a number")?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}
