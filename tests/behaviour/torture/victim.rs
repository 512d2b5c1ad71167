//! A server in a process of its own, to be killed or to have its files counted.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use registry::Digest;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const PATIENCE: Duration = Duration::from_secs(60);

/// Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Victim {
    child: Child,
    address: String,
    folder: PathBuf,
}

impl Victim {
    /// A server on what is in `folder`, once it says SERVING.
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_under(folder, |_| ()).await
    }

    /// The same with more in its environment.
    pub(crate) async fn start_under(folder: &Path, more: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_victim-server"));
        command.arg(folder).env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::null());
        more(&mut command);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            lines.read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(PATIENCE, reading).await.expect("it listens in time").unwrap().unwrap();
        let address = line.trim().strip_prefix("LISTENING ").unwrap_or_else(|| panic!("it said {line:?}")).to_owned();
        let victim = Self { child, address, folder: folder.to_owned() };
        tokio::time::timeout(PATIENCE, victim.until_serving()).await.expect("it serves in time");
        victim
    }

    async fn until_serving(&self) {
        let request = HealthCheckRequest { service: String::new() };
        let mut statuses = HealthClient::new(self.channel()).watch(request).await.unwrap().into_inner();
        while let Some(response) = statuses.message().await.unwrap() {
            if response.status() == ServingStatus::Serving {
                return;
            }
        }
        panic!("health never said SERVING");
    }

    /// A connection of the caller's own.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    /// Digest of the encoder it pretends to have.
    pub(crate) fn encoder(&self) -> Digest {
        registry::encoder_digest(&self.folder.join("bundle/encoder")).unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Number of its open descriptors.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
