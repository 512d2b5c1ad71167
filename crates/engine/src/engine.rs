//! The whole path as calls: classify, embed, tokenize, try a head, drain.

use std::convert::Infallible;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::admission::Admission;
use crate::batch::Budget;
use crate::batcher::Queue;
use crate::cache::Cache;
use crate::counters::Counters;
use crate::error::EngineError;
use crate::head_matrix::CurrentMatrix;
use crate::limits::Limits;
use crate::live::LiveTable;
use crate::model::ModelInfo;
use crate::shares::Shares;
use crate::sync;
use crate::tokens::Tokenizer;
use crate::worker::{self, ModelFactory, WorkerParts, WorkerState, WorkerStates};

mod classify;
mod features;
mod learning;
mod many;
mod one_head;
mod path;
mod reward;
mod trial;
mod vectors;
mod warming;
mod zero_shot;

pub use classify::{Answer, Answered};
pub use features::Vectors;
pub use many::{ManyAnswer, ManyAsk, Spent, TaskAnswer, TaskOutcome};
pub use reward::{RewardAnswer, RewardAsk, RewardInput, Rewarded, preferences};
pub use trial::trial_input;
pub use vectors::{EmbedAsk, Embedded, Embedding, Tokenized};
pub use zero_shot::{Candidate, ZeroShotAnswer, ZeroShotAnswered, ZeroShotAsk, ZeroShotInput};

/// Between two looks for a worker that is stuck.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What an engine is made of.
pub struct EngineParts {
    /// Builds a model on the thread of the worker that owns it.
    pub factory: ModelFactory,
    /// Workers on the one queue, each with a model of its own; at least one runs.
    pub replicas: usize,
    /// The encoder's tokenizer.
    pub tokenizer: Arc<dyn Tokenizer>,
    /// Bounds on everything.
    pub limits: Limits,
}

impl std::fmt::Debug for EngineParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineParts").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Where the time of an answer went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Text to ids, with the wait for a tokenizer thread.
    pub tokenize: Duration,
    /// In line for a worker.
    pub queue: Duration,
    /// In the model: the time of the whole batch.
    pub encode: Duration,
    /// The head on its vectors, and logits to answer.
    pub head: Duration,
}

/// One encoder, its queue, and the heads it serves.
pub struct Engine {
    tokenizer: Arc<dyn Tokenizer>,
    live: Arc<LiveTable>,
    matrix: Arc<CurrentMatrix>,
    limits: RwLock<Limits>,
    admission: Admission,
    tokenizing: Semaphore,
    queue: Arc<Queue>,
    shares: Arc<Shares>,
    cache: Arc<Cache>,
    /// Of the keys of rows: one for all, so that they can be compared.
    hashing: RandomState,
    counters: Arc<Counters>,
    state: watch::Receiver<WorkerState>,
    info: Arc<OnceLock<ModelInfo>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    states: Weak<WorkerStates>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.limits).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the workers, which begin to load the encoder at once.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn start(parts: EngineParts) -> std::io::Result<Self> {
        let EngineParts { factory, replicas, tokenizer, limits } = parts;
        let counters = Arc::new(Counters::default());
        let budget = Budget { tokens: limits.batch_tokens, rows: limits.batch_rows };
        let shares = Arc::<Shares>::default();
        let queue =
            Arc::new(Queue::new(budget, limits.background_permille, Arc::clone(&shares), Arc::clone(&counters)));
        let cache = Arc::new(Cache::new(limits.cache_bytes, Arc::clone(&counters)));
        let replicas = replicas.max(1);
        let (states, state) = WorkerStates::new(replicas);
        let (states, factory) = (Arc::new(states), Arc::new(sync::Mutex::new(factory)));
        let watched = Arc::downgrade(&states);
        let info = Arc::new(OnceLock::new());
        let workers = (0..replicas).map(|number| {
            worker::spawn(WorkerParts {
                number,
                factory: Arc::clone(&factory),
                tokenizer: Arc::clone(&tokenizer),
                queue: Arc::clone(&queue),
                cache: Arc::clone(&cache),
                counters: Arc::clone(&counters),
                states: Arc::clone(&states),
                info: Arc::clone(&info),
            })
        });
        let workers = workers.collect::<Result<Vec<_>, _>>().inspect_err(|_| queue.close(EngineError::WorkerDown))?;
        Ok(Self {
            tokenizer,
            live: Arc::default(),
            matrix: Arc::default(),
            admission: Admission::new(&limits),
            limits: RwLock::new(limits),
            tokenizing: Semaphore::new(limits.tokenizer_threads),
            queue,
            shares,
            cache,
            hashing: RandomState::new(),
            counters,
            state,
            info,
            workers: Mutex::new(workers),
            states: watched,
        })
    }

    /// What is served. Only the single writer of changes alters it.
    #[must_use]
    pub fn live(&self) -> &LiveTable {
        &self.live
    }

    /// What tenants may use, and how a busy encoder is divided among them. Whoever knows their quotas sets it.
    #[must_use]
    pub fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// How the workers are, now and from now on: ready when all are, down when one is.
    #[must_use]
    pub fn worker_state(&self) -> watch::Receiver<WorkerState> {
        self.state.clone()
    }

    /// Looks four times a second for a worker that does not come back from its batch: its state is then
    /// [`WorkerState::Stuck`] until it does, and asks are refused.
    pub async fn watch_workers(&self) -> Infallible {
        loop {
            sleep(LOOK_EVERY).await;
            if let Some(states) = self.states.upgrade() {
                self.counters.worker_stalls.add(states.look(Instant::now()));
            }
        }
    }

    /// What the model says of itself, once it has been loaded.
    #[must_use]
    pub fn info(&self) -> Option<&ModelInfo> {
        self.info.get()
    }

    /// What the engine has counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        // Nothing can panic under the lock, so a poisoned one still holds whole limits.
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other limits in force, for asks that come from now on. What was admitted stays admitted. Batches, cache,
    /// pace and tokenizer threads keep what they were started with.
    pub fn set_limits(&self, limits: Limits) {
        self.admission.resize(&limits);
        let now = &mut *self.limits.write().unwrap_or_else(PoisonError::into_inner);
        let Limits { batch_tokens, batch_rows, cache_bytes, background_permille, tokenizer_threads, .. } = *now;
        *now = Limits { batch_tokens, batch_rows, cache_bytes, background_permille, tokenizer_threads, ..limits };
    }

    /// Rows admitted and not yet answered.
    #[must_use]
    pub fn in_flight_rows(&self) -> usize {
        self.admission.in_flight_rows()
    }

    /// Rows in line for a worker.
    #[must_use]
    pub fn queued_rows(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that the cache of encoder outputs holds, keys included.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// The vocabulary's piece for `id`.
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.piece(id)
    }

    /// The longest sequence this encoder is given, special tokens included.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.tokenizer.max_tokens()
    }

    /// Takes no new asks from now on.
    pub fn begin_drain(&self) {
        self.admission.close();
    }

    /// Returns once every admitted ask has been answered and its reply has left.
    pub async fn drained(&self) {
        self.admission.idle().await;
    }

    /// Ends the workers once their queue is empty and waits for them, but no longer than until `deadline`. Whether all
    /// ended.
    pub async fn stop(&self, deadline: Instant) -> bool {
        self.admission.close();
        self.queue.close(EngineError::Draining);
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let join_all = move || workers.into_iter().for_each(|worker| drop(worker.join()));
        timeout_at(deadline, tokio::task::spawn_blocking(join_all)).await.is_ok()
    }
}
