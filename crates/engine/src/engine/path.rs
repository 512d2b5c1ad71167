//! The stages every ask passes: found, admitted, tokenized, looked up, queued and awaited.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::Engine;
use crate::admission::Permit;
use crate::ask::{Priority, Reading, Truncation};
use crate::batcher::{Done, Subscriber};
use crate::error::{EngineError, Stage};
use crate::live::ServedHead;
use crate::model::{Row, RowOutput};
use crate::row_key::RowKey;
use crate::rows::{Cost, Sequence, invalid};
use crate::shares::Lane;
use crate::task::{Selector, TaskKey, TenantName};
use crate::tokens::{TokenizeRequest, Tokenizer, Tokens};
use crate::worker::WorkerState;

/// About half a millisecond of dot products: the most that an async thread is kept from its connections.
const MOST_PRODUCTS_INLINE: usize = 1 << 20;
/// As long in bytes of text: another thread would cost a short call more than its text.
const MOST_BYTES_INLINE: usize = 1 << 10;

impl Engine {
    pub(super) fn find(&self, key: &TaskKey, selector: &Selector) -> Result<Arc<ServedHead>, EngineError> {
        self.live.find(key).and_then(|task| task.select(selector)).ok_or(EngineError::NotFound)
    }

    /// `reading` for a task of `tenant`, whose share its rows take where the caller names nobody else.
    pub(super) fn on_behalf(&self, reading: Reading, tenant: &TenantName) -> Reading {
        Reading { lane: reading.lane.or_else(|| Some(self.shares.lane(tenant))), ..reading }
    }

    pub(super) fn check_up(&self) -> Result<(), EngineError> {
        match &*self.state.borrow() {
            // A worker that is rebuilt after a panic keeps its queue, so asks may wait for it.
            WorkerState::Starting if self.info.get().is_none() => Err(EngineError::Starting),
            WorkerState::Starting | WorkerState::Ready => Ok(()),
            WorkerState::Stuck => Err(EngineError::WorkerStuck),
            WorkerState::Down(_) => Err(EngineError::WorkerDown),
        }
    }

    /// A permit for a caller's rows at once or not at all, out of what the server and the tenant may have in flight.
    /// Background rows have theirs when they stand in line, so that none is held by rows that wait for tokens.
    pub(super) fn admit(&self, cost: Cost, reading: Reading) -> Result<Permit, EngineError> {
        if reading.priority == Priority::Background {
            return self.admission.admit(0, 0);
        }
        let of_tenant = match reading.lane {
            Some(lane) => self.shares.take_rows(lane, cost.rows)?,
            None => None,
        };
        let permit = self.admission.admit(cost.rows, cost.bytes);
        let permit = permit.inspect_err(|_| self.counters.overloaded_asks.add(1))?;
        Ok(match of_tenant {
            Some(rows) => permit.charged(rows),
            None => permit,
        })
    }

    /// Runs `job`, which tokenizes that many `bytes`, with the length limit that `reading` comes to: at once where it is
    /// little, else on one of the few tokenizer threads.
    pub(super) async fn with_tokenizer<T: Send + 'static>(
        &self,
        bytes: usize,
        reading: Reading,
        job: impl FnOnce(&dyn Tokenizer, usize) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        if bytes > MOST_BYTES_INLINE {
            return self.tokenize_off_thread(reading, job).await;
        }
        let limit = self.token_limit(reading)?;
        let finished = catch_unwind(AssertUnwindSafe(|| job(self.tokenizer.as_ref(), limit)));
        finished.unwrap_or_else(|_| Err(tokenizer_failed()))
    }

    /// The same on one of the tokenizer threads in any case.
    pub(super) async fn tokenize_off_thread<T: Send + 'static>(
        &self,
        reading: Reading,
        job: impl FnOnce(&dyn Tokenizer, usize) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let limit = self.token_limit(reading)?;
        let work = async {
            // The semaphore is never closed.
            let _thread = self.tokenizing.acquire().await;
            let tokenizer = Arc::clone(&self.tokenizer);
            tokio::task::spawn_blocking(move || job(tokenizer.as_ref(), limit)).await
        };
        let finished = match reading.deadline {
            Some(deadline) => {
                timeout_at(deadline, work).await.map_err(|_| EngineError::DeadlineExceeded(Stage::Tokenize))?
            }
            None => work.await,
        };
        finished.unwrap_or_else(|failure| {
            error!(%failure, "tokenizer thread failed");
            Err(tokenizer_failed())
        })
    }

    fn token_limit(&self, reading: Reading) -> Result<usize, EngineError> {
        let own_limit = self.tokenizer.max_tokens();
        match reading.max_tokens {
            Some(limit) if limit > own_limit => {
                Err(EngineError::OverLimit { what: "max_tokens".into(), limit: own_limit, actual: limit })
            }
            wanted => Ok(wanted.unwrap_or(own_limit)),
        }
    }

    /// Runs arithmetic of that many `products`: at once where it is little, else on a thread that nobody waits at.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        products: usize,
        job: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let finished = if products <= MOST_PRODUCTS_INLINE {
            job()
        } else {
            tokio::task::spawn_blocking(job).await.unwrap_or_else(|failure| {
                error!(%failure, "a thread that applies heads failed");
                Err(EngineError::Internal("a thread that applies heads failed".to_owned()))
            })
        };
        finished.inspect_err(|_| self.counters.failed_rows.add(1))
    }

    /// Waits for all of `rows`, in order; or for the first that fails. What the cache has of them is not computed again,
    /// the rest stands in line.
    pub(super) async fn run(&self, rows: Vec<Row>, reading: Reading) -> Result<Vec<Done>, EngineError> {
        let taken = Arc::new(AtomicBool::new(false));
        let all = async {
            let rows = self.look_up(rows, reading);
            let _permit = match reading.priority {
                Priority::Caller => None,
                Priority::Background => Some(self.admit_background(rows.missing(), rows.tokens(), reading.lane).await?),
            };
            let pending = self.stand_in_line(rows, reading, &taken)?;
            let mut done = Vec::with_capacity(pending.len());
            for row in pending {
                done.push(row.done().await?);
            }
            Ok(done)
        };
        until(reading.deadline, &taken, all).await
    }

    /// Puts in line what the cache does not know, and gives the other end of the rows' flag that they were taken.
    pub(super) fn submit(
        &self,
        rows: Vec<Row>,
        reading: Reading,
    ) -> Result<(Vec<Pending>, Arc<AtomicBool>), EngineError> {
        let taken = Arc::new(AtomicBool::new(false));
        let pending = self.stand_in_line(self.look_up(rows, reading), reading, &taken)?;
        Ok((pending, taken))
    }

    /// A permit for so many background rows once their tenant has the tokens, and then as soon as there is one.
    pub(super) async fn admit_background(
        &self,
        rows: usize,
        tokens: usize,
        lane: Option<Lane>,
    ) -> Result<Permit, EngineError> {
        if let Some(lane) = lane.filter(|_| rows > 0) {
            self.shares.wait_for_tokens(lane, rows, tokens).await?;
        }
        self.admission.admit_background(rows).await
    }

    fn look_up(&self, rows: Vec<Row>, reading: Reading) -> LookedUp {
        let lane = reading.lane.unwrap_or_default();
        let look_up = |mut row: Row| {
            let key = RowKey::new(&row, lane, &self.hashing);
            let known = self.cache.look_up(&key, row.reads);
            row.reads = row.reads.without(&known);
            (known, Some((key, row)).filter(|(_, row)| !row.reads.is_empty()))
        };
        LookedUp(rows.into_iter().map(look_up).collect())
    }

    /// Puts in line what is missing. The tokens of callers' rows are had now or not at all, those of others are had already.
    fn stand_in_line(
        &self,
        rows: LookedUp,
        reading: Reading,
        taken: &Arc<AtomicBool>,
    ) -> Result<Vec<Pending>, EngineError> {
        let Reading { deadline, priority, lane, .. } = reading;
        if let Some(lane) = lane.filter(|_| priority == Priority::Caller && rows.missing() > 0) {
            self.shares.take_tokens(lane, rows.tokens())?;
        }
        let queued_at = Instant::now();
        let mut in_line = Vec::new();
        let pending = rows.0.into_iter().map(|(known, missing)| {
            let rest = missing.map(|(key, row)| {
                let (reply, receiver) = oneshot::channel();
                in_line.push((key, row, Subscriber { reply, deadline, queued_at, taken: Arc::clone(taken) }));
                receiver
            });
            Pending { known, rest, is_taken: false }
        });
        let pending = pending.collect();
        if !in_line.is_empty() {
            self.queue.push(in_line, priority)?;
        }
        Ok(pending)
    }
}

/// Rows, each with what the cache had of it, and what is missing, if anything is.
struct LookedUp(Vec<(RowOutput, Option<(RowKey, Row)>)>);

impl LookedUp {
    fn missing(&self) -> usize {
        self.0.iter().filter(|(_, missing)| missing.is_some()).count()
    }

    /// Tokens of the rows of which something is missing.
    fn tokens(&self) -> usize {
        self.0.iter().filter_map(|(_, missing)| missing.as_ref()).map(|(_, row)| row.tokens.len()).sum()
    }
}

/// A row on its way.
pub(super) struct Pending {
    /// What the cache had of it.
    known: RowOutput,
    /// Where the rest arrives, if any is missing; the worker holds the other end.
    rest: Option<oneshot::Receiver<Result<Done, EngineError>>>,
    is_taken: bool,
}

impl Pending {
    /// What became of the row, if that is known by now. After that the row is taken.
    pub(super) fn done_by_now(&mut self) -> Option<Result<Done, EngineError>> {
        if self.is_taken {
            return None;
        }
        let Some(rest) = &mut self.rest else {
            self.is_taken = true;
            return Some(Ok(alone(std::mem::take(&mut self.known))));
        };
        match rest.try_recv() {
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => {
                self.is_taken = true;
                Some(Err(lost()))
            }
            Ok(done) => {
                self.is_taken = true;
                Some(done.map(|done| filled(std::mem::take(&mut self.known), done)))
            }
        }
    }

    pub(super) fn is_taken(&self) -> bool {
        self.is_taken
    }

    pub(super) async fn done(self) -> Result<Done, EngineError> {
        let Self { known, rest, .. } = self;
        let Some(rest) = rest else { return Ok(alone(known)) };
        let done = rest.await.map_err(|_| lost())??;
        Ok(filled(known, done))
    }
}

fn tokenizer_failed() -> EngineError {
    EngineError::Internal("a tokenizer thread failed".to_owned())
}

fn alone(known: RowOutput) -> Done {
    Done { output: known, queued: Duration::ZERO, encoded: Duration::ZERO }
}

fn filled(known: RowOutput, mut done: Done) -> Done {
    let mut output = known;
    output.fill(&done.output);
    done.output = output;
    done
}

/// A dropped reply means that the worker panicked with the row in hand.
fn lost() -> EngineError {
    EngineError::Internal("the inference worker panicked".to_owned())
}

/// What comes of `work`, if it comes before the deadline.
pub(super) async fn until<T>(
    deadline: Option<Instant>,
    taken: &AtomicBool,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let Some(deadline) = deadline else { return work.await };
    timeout_at(deadline, work).await.unwrap_or_else(|_| {
        let stage = if taken.load(Ordering::Acquire) { Stage::Encode } else { Stage::Queue };
        Err(EngineError::DeadlineExceeded(stage))
    })
}

pub(super) fn read(
    tokenizer: &dyn Tokenizer,
    sequence: &Sequence<'_>,
    limit: usize,
    reading: Reading,
) -> Result<Arc<Tokens>, EngineError> {
    let request = TokenizeRequest { text: sequence.text, pair: sequence.pair, max_tokens: limit };
    let tokens = tokenizer.tokenize(request)?;
    match (reading.truncation, tokens.cut) {
        (Truncation::Refuse, Some(cut)) => {
            Err(EngineError::OverLimit { what: EngineError::TOKENS.into(), limit, actual: cut.tokens_before })
        }
        (Truncation::Refuse, None) | (Truncation::Cut, _) => Ok(Arc::new(tokens)),
        (Truncation::Windows(_), _) => {
            Err(invalid("truncation".to_owned(), "windows combine what a head makes of them: nothing here has a head"))
        }
    }
}
