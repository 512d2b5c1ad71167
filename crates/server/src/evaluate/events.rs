//! What the caller hears while an evaluation runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::v1;
use api::v1::evaluate_head_response::Event;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use super::rows::BadRow;

/// Progress comes no more often.
const BETWEEN_PROGRESS: Duration = Duration::from_millis(100);

pub(super) type Responses = mpsc::Sender<Result<v1::EvaluateHeadResponse, Status>>;

/// The way to the caller. Clones tell the same caller.
#[derive(Debug, Clone)]
pub(super) struct Events {
    responses: Responses,
    started: Instant,
    told: Arc<Mutex<Option<Instant>>>,
}

impl Events {
    pub(super) fn new(responses: Responses) -> Self {
        Self { responses, started: Instant::now(), told: Arc::default() }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// How far it has come; left out where the last word is not long ago, or the caller does not keep up.
    pub(super) fn progress(&self, stage: v1::Stage, done: usize, total: usize) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now.duration_since(told) < BETWEEN_PROGRESS) {
            return;
        }
        let elapsed_millis = now.duration_since(self.started).as_millis() as u64;
        let progress = v1::Progress { stage: stage.into(), done: done as u64, total: total as u64, elapsed_millis };
        if self.responses.try_send(Ok(response(Event::Progress(progress)))).is_ok() {
            *told = Some(now);
        }
    }

    pub(super) async fn bad_row(&self, bad: BadRow) {
        let BadRow { line, field, reason } = bad;
        self.send(Event::BadRow(v1::BadRow { line, field, reason })).await;
    }

    pub(super) async fn report(&self, report: v1::EvaluationReport) {
        self.send(Event::Report(report)).await;
    }

    async fn send(&self, event: Event) {
        // A caller who has gone away is noticed by whoever drives the evaluation.
        let _ = self.responses.send(Ok(response(event))).await;
    }
}

fn response(event: Event) -> v1::EvaluateHeadResponse {
    v1::EvaluateHeadResponse { event: Some(event) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_ten_times_a_second_at_most() {
        let (responses, mut heard) = mpsc::channel(64);
        let started = Instant::now();
        let events = Events::new(responses);
        (1..=10_000).for_each(|done| events.progress(v1::Stage::Encoding, done, 10_000));
        let most = started.elapsed().as_millis() / 100 + 1;
        let mut told = 0;
        while heard.try_recv().is_ok() {
            told += 1;
        }
        assert!((1..=most).contains(&told), "{told} of at most {most}");
    }
}
