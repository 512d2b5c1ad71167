//! A thread that builds and owns a model, and what happens when it panics. Several may serve one queue.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::ask::Priority;
use crate::batcher::{Batch, Done, Job, Queue, Work};
use crate::cache::Cache;
use crate::counters::Counters;
use crate::error::EngineError;
use crate::model::{Model, ModelError, ModelInfo, Reads, Row, RowOutput};
use crate::sync::Mutex;
use crate::tokens::{Text, TokenizeRequest, Tokenizer};

mod states;

#[cfg(test)]
#[cfg(feature = "models")]
mod models;

pub(crate) use states::WorkerStates;

/// More rebuilds than this within [`RESTART_WINDOW`] take the worker down for good.
const MAX_RESTARTS: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
const WARM_UP_TEXT: &str = "The spring fills the stream, and the stream turns the mill.";

/// Builds a model on the thread of its worker: called once for each worker, one after another, and again after a panic.
pub type ModelFactory = Box<dyn FnMut() -> Result<Box<dyn Model>, ModelError> + Send>;

/// How a worker is, or all workers of an engine are: ready when all are, stuck or down when one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerState {
    /// It loads the encoder, at the start or after a panic.
    Starting,
    /// It has answered a warm-up row.
    Ready,
    /// It has been at one batch for far longer than batches take; ready again when that is done.
    Stuck,
    /// It will not come back. The text says why.
    Down(String),
}

/// What a worker thread is given.
pub(crate) struct WorkerParts {
    /// Its number among the workers, from 0.
    pub(crate) number: usize,
    /// Shared by all workers, each of which holds it while it builds its model.
    pub(crate) factory: Arc<Mutex<ModelFactory>>,
    pub(crate) tokenizer: Arc<dyn Tokenizer>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) states: Arc<WorkerStates>,
    pub(crate) info: Arc<OnceLock<ModelInfo>>,
}

/// Starts a worker. The thread ends when the queue is closed and empty, or when the worker goes down.
pub(crate) fn spawn(parts: WorkerParts) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("inference-{}", parts.number)).spawn(move || supervise(parts))
}

fn supervise(parts: WorkerParts) {
    let mut panics = VecDeque::new();
    loop {
        parts.states.set(parts.number, WorkerState::Starting);
        let life = catch_unwind(AssertUnwindSafe(|| live(&parts)));
        let reason = match life {
            Ok(Ok(())) => return,
            Ok(Err(load_error)) => Some(load_error.to_string()),
            Err(_) => {
                parts.counters.worker_restarts.add(1);
                let now = Instant::now();
                panics.push_back(now);
                panics.retain(|at| now.duration_since(*at) < RESTART_WINDOW);
                let too_often = panics.len() > MAX_RESTARTS;
                too_often.then(|| format!("{} panics within {RESTART_WINDOW:?}", panics.len()))
            }
        };
        if let Some(reason) = reason {
            error!(worker = parts.number, %reason, "inference worker is down");
            parts.queue.fail(&EngineError::WorkerDown);
            parts.states.set(parts.number, WorkerState::Down(reason));
            return;
        }
        warn!(worker = parts.number, "inference worker panicked, rebuilding the model");
    }
}

/// One life of the worker: build, warm up, serve until the queue ends. A panic in the model drops the replies of its
/// batch, which tells the callers, and ends the life.
fn live(parts: &WorkerParts) -> Result<(), ModelError> {
    let mut model = build(&parts.factory)?;
    warm_up(model.as_mut(), parts.tokenizer.as_ref())?;
    let info = parts.info.get_or_init(|| model.info().clone());
    info!(worker = parts.number, device = %info.device, dtype = %info.dtype, encoder = %info.encoder_digest, "encoder is ready");
    parts.states.set(parts.number, WorkerState::Ready);
    while let Some(work) = parts.queue.take() {
        let expected = parts.counters.expected(work.tokens());
        let _errand = parts.states.begin(parts.number, expected, Instant::now());
        match work {
            Work::Batch(batch) => run(model.as_mut(), batch, parts),
            Work::Job(Job { tokens, work }) => {
                let started = Instant::now();
                work(model.as_mut());
                parts.queue.ran(Priority::Background, tokens, started.elapsed(), &[]);
            }
        }
    }
    Ok(())
}

fn build(factory: &Mutex<ModelFactory>) -> Result<Box<dyn Model>, ModelError> {
    // A factory that panicked is called again, as after any panic of a worker.
    let mut factory = factory.lock().unwrap_or_else(PoisonError::into_inner);
    (*factory)()
}

fn warm_up(model: &mut dyn Model, tokenizer: &dyn Tokenizer) -> Result<(), ModelError> {
    let request = TokenizeRequest { text: Text::Raw(WARM_UP_TEXT), pair: None, max_tokens: tokenizer.max_tokens() };
    let tokens = tokenizer.tokenize(request).map_err(|error| ModelError::Load(error.to_string()))?;
    let reads = Reads { cls: true, ..Reads::default() };
    let row = Row { tokens: Arc::new(tokens), task_embedding: None, adapter: None, reads };
    model.forward(&[row]).map(drop)
}

fn run(model: &mut dyn Model, batch: Batch, parts: &WorkerParts) {
    let counters = &parts.counters;
    let started = Instant::now();
    let underway = parts.queue.underway(&batch);
    let (rows, waiting): (Vec<_>, Vec<_>) =
        batch.entries.into_iter().map(|entry| (entry.row, (entry.key, entry.subscribers))).unzip();
    // Bound last, so that it ends first should the model panic: nobody joins a row whose callers know already.
    let mut underway = underway;
    let outputs = forward(model, &rows);
    let encoded = started.elapsed();
    counters.batches.add(1);
    counters.model_microseconds.add(u64::try_from(encoded.as_micros()).unwrap_or(u64::MAX));
    let latencies = waiting.iter().flat_map(|(_, subscribers)| subscribers);
    let latencies: Vec<Duration> = latencies.map(|subscriber| subscriber.queued_at.elapsed()).collect();
    let tokens = rows.iter().map(|row| row.tokens.len()).sum();
    parts.queue.ran(batch.priority, tokens, encoded, &latencies);
    for ((output, (key, subscribers)), row) in outputs.into_iter().zip(waiting).zip(&rows) {
        if let Ok(output) = &output {
            parts.cache.keep(&key, output);
            counters.rows.add(1);
            counters.tokens.add(row.tokens.len() as u64);
        } else {
            counters.failed_rows.add(1);
        }
        // It is in the cache by now, so whoever comes after these needs no row.
        for subscriber in subscribers.into_iter().chain(underway.late(&key)) {
            let queued = started.duration_since(subscriber.queued_at);
            let done = output.clone().map(|output| Done { output, queued, encoded });
            // A caller who has left meanwhile needs no answer.
            let _ = subscriber.reply.send(done);
        }
    }
}

/// One result a row. A row at fault fails alone: the others run again without it. A batch too large for the device
/// runs again in halves.
fn forward(model: &mut dyn Model, rows: &[Row]) -> Vec<Result<RowOutput, EngineError>> {
    match model.forward(rows) {
        Ok(outputs) => outputs.into_iter().map(Ok).collect(),
        Err(ModelError::RowMisfit { row, .. } | ModelError::NotFinite { row })
            if rows.len() > 1 && row < rows.len() =>
        {
            let mut results = forward(model, &rows[..row]);
            results.extend(forward(model, &rows[row..=row]));
            results.extend(forward(model, &rows[row + 1..]));
            results
        }
        Err(ModelError::OutOfMemory) if rows.len() > 1 => {
            let (first, second) = rows.split_at(rows.len() / 2);
            let mut results = forward(model, first);
            results.extend(forward(model, second));
            results
        }
        Err(error) => {
            if let ModelError::Backend(reason) = &error {
                error!(%reason, rows = rows.len(), "batch failed");
            }
            rows.iter().map(|_| Err(error.clone().into())).collect()
        }
    }
}
