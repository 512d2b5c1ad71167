//! Mechanism: the queue between asks and the worker. It never waits to fill a batch.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::batch::{Budget, next_batch};
use crate::counters::Counters;
use crate::error::{EngineError, Stage};
use crate::model::{Row, RowOutput};

/// What comes back for one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    pub(crate) output: RowOutput,
    pub(crate) queued: Duration,
    pub(crate) encoded: Duration,
}

/// A row in the queue: the model sees `row` alone.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) row: Row,
    pub(crate) reply: oneshot::Sender<Result<Done, EngineError>>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) queued_at: Instant,
    /// Set when the row joins a batch; the ask holds the other end, to say where a deadline hit it.
    pub(crate) taken: Arc<AtomicBool>,
}

/// The queue. Its length is bounded by admission: every row in it holds a permit.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    budget: Budget,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    closed: Option<EngineError>,
}

impl Queue {
    pub(crate) fn new(budget: Budget, counters: Arc<Counters>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), budget, counters }
    }

    /// Puts all rows of an ask in line, or none.
    pub(crate) fn push(&self, entries: Vec<Entry>) -> Result<(), EngineError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        state.entries.extend(entries);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The next batch, as soon as there is one; `None` once the queue is closed and empty.
    pub(crate) fn take_batch(&self) -> Option<Vec<Entry>> {
        let mut state = self.lock();
        loop {
            self.drop_the_dead(&mut state.entries);
            let n = next_batch(state.entries.iter().map(|entry| entry.row.tokens.len()), self.budget);
            if n > 0 {
                let batch: Vec<_> = state.entries.drain(..n).collect();
                for entry in &batch {
                    entry.taken.store(true, Ordering::Release);
                }
                return Some(batch);
            }
            if state.closed.is_some() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Refuses new rows with `reason`; what is in line still runs.
    pub(crate) fn close(&self, reason: EngineError) {
        self.lock().closed.get_or_insert(reason);
        self.changed.notify_all();
    }

    /// Refuses new rows with `reason` and answers everything in line with it.
    pub(crate) fn fail(&self, reason: &EngineError) {
        let entries = {
            let mut state = self.lock();
            state.closed.get_or_insert_with(|| reason.clone());
            std::mem::take(&mut state.entries)
        };
        self.changed.notify_all();
        for entry in entries {
            // A caller who has left needs no answer.
            let _ = entry.reply.send(Err(reason.clone()));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    fn drop_the_dead(&self, entries: &mut VecDeque<Entry>) {
        let now = Instant::now();
        let (mut expired, mut abandoned) = (0, 0);
        entries.retain_mut(|entry| {
            if entry.reply.is_closed() {
                abandoned += 1;
                return false;
            }
            let alive = entry.deadline.is_none_or(|deadline| deadline > now);
            if !alive {
                expired += 1;
                let (spent, _) = oneshot::channel();
                let reply = std::mem::replace(&mut entry.reply, spent);
                let _ = reply.send(Err(EngineError::DeadlineExceeded(Stage::Queue)));
            }
            alive
        });
        self.counters.expired_rows.add(expired);
        self.counters.abandoned_rows.add(abandoned);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
