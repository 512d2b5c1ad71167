//! EvaluateHead: labelled rows in, the figures of one version or two out.
//!
//! Rows are asked of the serving engine as they come, a few at a time; only logits and truths are kept. When the last
//! answer is there, a thread computes figures and intervals.

mod plan;
mod rows;
mod asking;
mod answers;
mod judgement;
mod disagreements;
mod report;
mod events;
mod storing;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::v1;
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use crate::caller::Caller;
use crate::places::LongWork;
use crate::serving::Serving;
use crate::status;
use events::{Events, Responses};
use plan::Plan;
use rows::Incoming;

/// Responses that wait for a slow reader.
const MAX_WAITING: usize = 64;

/// Evaluates on a task of its own and tells of it in the channel it returns. The work ends with its report, with the
/// first error, when the client goes away, or when the server drains. Refused while too many others run.
pub(crate) fn start(
    serving: Arc<Serving>,
    requests: Streaming<v1::EvaluateHeadRequest>,
    of_call: (Option<Instant>, Caller),
) -> Result<mpsc::Receiver<Result<v1::EvaluateHeadResponse, Status>>, Status> {
    let place = serving.place(LongWork::Evaluation, of_call.1.tenant())?;
    let (responses, receiver) = mpsc::channel(MAX_WAITING);
    tokio::spawn(async move {
        let _place = place;
        let work = evaluate(Arc::clone(&serving), requests, of_call, responses.clone());
        // A panic must not leave the client waiting.
        let contained = AssertUnwindSafe(work).catch_unwind();
        let ended = tokio::select! {
            ended = contained => ended.unwrap_or_else(|_| Err(status::internal("internal error", "an evaluation panicked"))),
            () = serving.draining() => Err(status::of_engine(engine::EngineError::Draining)),
            () = responses.closed() => return,
        };
        if let Err(refusal) = ended {
            // A client that has gone away needs no reason.
            let _ = responses.send(Err(refusal)).await;
        }
    });
    Ok(receiver)
}

async fn evaluate(
    serving: Arc<Serving>,
    requests: Streaming<v1::EvaluateHeadRequest>,
    (deadline, caller): (Option<Instant>, Caller),
    responses: Responses,
) -> Result<(), Status> {
    let events = Events::new(responses);
    let mut incoming = Incoming::new(requests, serving.engine().limits().max_inputs);
    let plan = Arc::new(Plan::parse(incoming.plan().await?, &caller.view(serving.engine().live()))?);
    let asked = asking::ask_all(&serving, &plan, &mut incoming, (deadline, &events)).await?;
    if asked.rows.is_empty() {
        let first = asked.first_skipped.map_or_else(String::new, |bad| {
            format!(": {} were skipped, first line {}, {}: {}", asked.skipped, bad.line, bad.field, bad.reason)
        });
        return Err(status::invalid_field("rows", &format!("not one row that can be judged arrived{first}")));
    }
    let stop = StopWhenDropped::default();
    let judging = {
        let (plan, events, stop) = (Arc::clone(&plan), events.clone(), Arc::clone(&stop.0));
        move || {
            let mut on_step = |done, total| {
                events.progress(v1::Stage::Judging, done, total);
                !stop.load(Ordering::Relaxed)
            };
            judgement::judge(&plan, asked, &mut on_step)
        }
    };
    let judged = tokio::task::spawn_blocking(judging).await;
    let judged = judged.map_err(|failure| status::internal("internal error", &failure.to_string()))?;
    // Nobody stops the thread but the end of this very future.
    let Some(judgement) = judged else { return Ok(()) };
    let stored = match (plan.store, &judgement.fitted) {
        (true, Some(fitted)) => {
            events.progress(v1::Stage::Installing, 0, 1);
            Some(storing::store((&serving, &caller), &plan.first, fitted.clone()).await?)
        }
        (true | false, _) => None,
    };
    let report = report::report(judgement, (stored, incoming.digest()), events.started());
    events.report(report).await;
    Ok(())
}

/// Tells a thread to stop when the future that waits for it is gone; the thread holds the other end.
#[derive(Debug, Default)]
struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
