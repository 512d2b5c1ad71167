//! What the installation of a bundle tells its caller: progress now and then, heads that are refused, and the report.

use std::time::Duration;

use api::v1;
use api::v1::install_bundle_response::Event;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use crate::status;

/// Between two messages of progress.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells one caller.
#[derive(Debug)]
pub(crate) struct Teller {
    events: mpsc::Sender<Result<v1::InstallBundleResponse, Status>>,
    started: Instant,
    last_progress: Option<Instant>,
}

impl Teller {
    pub(crate) fn new(events: mpsc::Sender<Result<v1::InstallBundleResponse, Status>>) -> Self {
        Self { events, started: Instant::now(), last_progress: None }
    }

    /// It has come so far. Told at most once in [`PAUSE`], and never to a caller who does not read.
    pub(crate) fn progress(&mut self, stage: v1::Stage, done: usize, total: usize) {
        let now = Instant::now();
        if self.last_progress.is_some_and(|last| now.duration_since(last) < PAUSE) {
            return;
        }
        self.last_progress = Some(now);
        let _ = self.events.try_send(Ok(response(Event::Progress(self.progress_at(stage, done, total)))));
    }

    /// A stage begins in which nothing can be told.
    pub(crate) async fn now(&self, stage: v1::Stage, done: usize, total: usize) {
        self.tell(Event::Progress(self.progress_at(stage, done, total))).await;
    }

    /// A head is refused.
    pub(crate) async fn bad_head(&self, name: &str, reason: &str) {
        let (name, reason) = (status::echo(name).to_owned(), status::echo(reason).to_owned());
        self.tell(Event::BadHead(v1::BadHead { name, reason })).await;
    }

    /// The last message.
    pub(crate) async fn report(&self, report: v1::BundleReport) {
        self.tell(Event::Report(v1::BundleReport { elapsed_millis: self.elapsed_millis(), ..report })).await;
    }

    fn progress_at(&self, stage: v1::Stage, done: usize, total: usize) -> v1::Progress {
        let (stage, elapsed_millis) = (stage.into(), self.elapsed_millis());
        v1::Progress { stage, done: done as u64, total: total as u64, elapsed_millis }
    }

    fn elapsed_millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn tell(&self, event: Event) {
        // A caller who has left ends the whole call.
        let _ = self.events.send(Ok(response(event))).await;
    }
}

fn response(event: Event) -> v1::InstallBundleResponse {
    v1::InstallBundleResponse { event: Some(event) }
}
