//! What a fit tells its caller: progress now and then, rows that it skips, and the report.

use std::time::Duration;

use api::v1;
use api::v1::fit_head_response::Event;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use crate::fit::labelled_rows::BadRow;

/// Where messages go; the call's response holds the other end.
pub(crate) type Events = mpsc::Sender<Result<v1::FitHeadResponse, Status>>;

/// Between two messages of progress.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Tells one caller.
#[derive(Debug)]
pub(crate) struct Teller {
    events: Events,
    started: Instant,
    last_progress: Option<Instant>,
}

impl Teller {
    pub(crate) fn new(events: Events) -> Self {
        Self { events, started: Instant::now(), last_progress: None }
    }

    /// Milliseconds since the call began.
    pub(crate) fn elapsed_millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The fit has come so far; `total` is 0 where it is not known. Told at most once in [`PAUSE`], and never to a caller
    /// who does not read.
    pub(crate) fn progress(&mut self, stage: v1::Stage, done: usize, total: usize) {
        let now = Instant::now();
        if self.last_progress.is_some_and(|last| now.duration_since(last) < PAUSE) {
            return;
        }
        self.last_progress = Some(now);
        let progress = v1::Progress {
            stage: stage.into(),
            done: done as u64,
            total: total as u64,
            elapsed_millis: self.elapsed_millis(),
        };
        let _ = self.events.try_send(Ok(response(Event::Progress(progress))));
    }

    /// A row is skipped.
    pub(crate) async fn bad_row(&self, bad: BadRow) {
        let bad = v1::BadRow { line: bad.line, field: bad.field, reason: bad.reason };
        // A caller who has left ends the whole call.
        let _ = self.events.send(Ok(response(Event::BadRow(bad)))).await;
    }

    /// The last message.
    pub(crate) async fn report(&self, report: v1::FitReport) {
        let _ = self.events.send(Ok(response(Event::Report(report)))).await;
    }
}

fn response(event: Event) -> v1::FitHeadResponse {
    v1::FitHeadResponse { event: Some(event) }
}
