//! A server in a process of its own, and what it says on standard error.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::Instant;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_headwater-server");
/// Longer than anything here takes, shorter than anybody's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The starter with three of its heads, inside a data folder: a bundle that is taken in quickly.
pub(crate) fn bundle(data: &Path) -> PathBuf {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../registry/starter");
    let bundle = data.join("bundle");
    if !bundle.exists() {
        std::fs::create_dir_all(&bundle).unwrap();
        std::os::unix::fs::symlink(starter.join("encoder"), bundle.join("encoder")).unwrap();
        for head in ["heads/trec", "heads/sms_spam", "heads/banking77"] {
            std::fs::create_dir_all(bundle.join(head)).unwrap();
            for file in ["head.toml", "weights.safetensors"] {
                std::fs::copy(starter.join(head).join(file), bundle.join(head).join(file)).unwrap();
            }
        }
    }
    bundle
}

/// `headwater-server serve` on that bundle, its data in this folder, at a port of its own.
pub(crate) fn serve(data: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--threads", "1", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
    command.arg("--data").arg(data).arg("--bundle").arg(bundle(data));
    command
}

/// A server that runs; it is killed where a test leaves it behind.
pub(crate) struct Process {
    child: Child,
    events: Option<Receiver<Value>>,
    reading: Option<JoinHandle<()>>,
    pub(crate) address: SocketAddr,
    metrics: SocketAddr,
}

impl Process {
    /// Starts it and returns when it listens.
    pub(crate) fn listening(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (said, events) = sync_channel(10_000);
        let reading = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                // Where nobody takes events any more they are dropped: a pipe that is full would hold the server.
                if let Err(TrySendError::Disconnected(_)) = said.try_send(event) {
                    return;
                }
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let events = Some(events);
        let mut process = Self { child, events, reading: Some(reading), address: nowhere, metrics: nowhere };
        let address = |event: Value| event["address"].as_str().unwrap().parse().unwrap();
        process.metrics = address(process.until("metrics are served"));
        process.address = address(process.until("listening"));
        process
    }

    /// Starts it and returns when it serves.
    pub(crate) fn serving(command: &mut Command) -> Self {
        let process = Self::listening(command);
        process.until("serving");
        process
    }

    /// The next event with this message; those before it are gone.
    pub(crate) fn until(&self, message: &str) -> Value {
        let mut before = Vec::new();
        loop {
            match self.events.as_ref().unwrap().recv_timeout(PATIENCE) {
                Ok(event) if event["message"] == message => return event,
                Ok(event) => before.push(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("never said {message:?}, but {before:?}")
                }
            }
        }
    }

    /// Whatever else it said, once it has ended.
    pub(crate) fn rest(&self) -> Vec<Value> {
        self.events.as_ref().unwrap().iter().collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, no longer than this.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The page of its metrics.
    pub(crate) fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(self.metrics).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).unwrap();
        page
    }

    /// Closes the reading ends of its standard output and its standard error.
    pub(crate) fn close_outputs(&mut self) {
        drop(self.child.stdout.take());
        drop(self.events.take());
        // The next line that it writes ends the thread that reads.
        drop(self.mute_client());
        let _ = self.reading.take().map(JoinHandle::join);
    }

    /// A connection over HTTP/2 whose client never reads and never says more than hello.
    pub(crate) fn mute_client(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).unwrap();
        // The preface and an empty SETTINGS frame.
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut first = [0; 9];
        socket.read_exact(&mut first).unwrap();
        socket
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.reading.take().map(JoinHandle::join);
    }
}

/// Runs the program to its end: whether it went well, and what it printed.
pub(crate) fn output(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Whether every stored head of a data folder is whole.
pub(crate) fn is_whole(data: &Path) -> bool {
    let (whole, said) = output(&["registry", "--data", data.to_str().unwrap(), "verify"]);
    assert!(whole, "{said}");
    whole
}
