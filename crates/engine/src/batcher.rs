//! Mechanism: the queue between asks and the workers. It never waits to fill a batch, and equal rows are one row while
//! they wait and while they run.

use std::collections::{HashMap, HashSet, VecDeque, hash_map};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ask::Priority;
use crate::batch::Budget;
use crate::counters::Counters;
use crate::error::EngineError;
use crate::line::Line;
use crate::model::{Model, Reads, Row, RowOutput};
use crate::pace::{Leave, Pace};
use crate::row_key::RowKey;
use crate::shares::Shares;
use crate::sync::{Condvar, Mutex, MutexGuard};

pub(crate) use crate::line::{Entry, Subscriber};

/// What comes back for one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    pub(crate) output: RowOutput,
    pub(crate) queued: Duration,
    pub(crate) encoded: Duration,
}

/// Rows that a worker takes away together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    /// Whose rows they are: all of one priority.
    pub(crate) priority: Priority,
}

type WorkOfJob = Box<dyn FnOnce(&mut dyn Model) + Send>;

/// Work with the model itself, in between batches, that nobody waits at a screen for.
pub(crate) struct Job {
    /// Tokens of a batch that would take about as long.
    pub(crate) tokens: usize,
    pub(crate) work: WorkOfJob,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// What a worker takes away.
#[derive(Debug)]
pub(crate) enum Work {
    Batch(Batch),
    Job(Job),
}

impl Work {
    /// Tokens of it, or of a batch that would take about as long.
    pub(crate) fn tokens(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.entries.iter().map(|entry| entry.row.tokens.len()).sum(),
            Self::Job(job) => job.tokens,
        }
    }
}

/// The queue. Its length is bounded by admission: every subscriber holds a permit.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    budget: Budget,
    shares: Arc<Shares>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    /// Rows that callers wait for.
    callers: Line,
    /// Rows that can wait: none of them is in the other line as well.
    background: Line,
    /// They wait behind the background rows; every one holds a permit.
    jobs: VecDeque<Job>,
    pace: Pace,
    running: HashMap<RowKey, Running>,
    closed: Option<EngineError>,
}

/// A row that a worker has taken.
#[derive(Debug)]
struct Running {
    reads: Reads,
    /// Who came when it was running already.
    late: Vec<Subscriber>,
}

/// The rows of a batch while it runs. Whoever joined a row that never finishes learns it from the end of this.
#[derive(Debug)]
pub(crate) struct Underway<'a> {
    queue: &'a Queue,
    /// Those that others may join and that are not done: once done a row may run again elsewhere.
    keys: HashSet<RowKey>,
}

impl Queue {
    /// A queue whose batches keep to `budget`, whose background rows take at most so many thousandths of the time while
    /// callers would notice them, and whose lanes have these shares.
    pub(crate) fn new(budget: Budget, background_permille: u32, shares: Arc<Shares>, counters: Arc<Counters>) -> Self {
        let state = State {
            callers: Line::default(),
            background: Line::default(),
            jobs: VecDeque::new(),
            pace: Pace::new(budget.tokens, background_permille),
            running: HashMap::new(),
            closed: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), budget, shares, counters }
    }

    /// Puts all rows of an ask in line, or none. A row that waits or runs already gets one subscriber more.
    pub(crate) fn push(&self, rows: Vec<(RowKey, Row, Subscriber)>, priority: Priority) -> Result<(), EngineError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        let joined = rows.into_iter().map(|row| state.join_or_append(row, priority)).filter(|joined| *joined).count();
        if priority == Priority::Caller {
            state.pace.caller_came(Instant::now());
        }
        drop(state);
        self.counters.deduplicated_rows.add(joined as u64);
        self.changed.notify_one();
        Ok(())
    }

    /// Puts a job in line.
    pub(crate) fn push_job(&self, job: Job) -> Result<(), EngineError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The next batch or job, as soon as there is one; `None` once the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            self.drop_the_dead(&mut state, now);
            let wake_at = match state.take_next(self.budget, &self.shares, now) {
                Ok(mut work) => {
                    if let Work::Batch(batch) = &mut work {
                        state.register(&mut batch.entries);
                        for subscriber in batch.entries.iter().flat_map(|entry| &entry.subscribers) {
                            subscriber.taken.store(true, Ordering::Release);
                        }
                    }
                    if !state.is_empty() {
                        // What is left is for another worker, if one is free.
                        self.changed.notify_one();
                    }
                    return Some(work);
                }
                Err(wake_at) => wake_at,
            };
            if state.closed.is_some() && state.is_empty() {
                return None;
            }
            state = match wake_at {
                Some(at) => {
                    let patience = at.saturating_duration_since(now);
                    self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Tells the queue how long a batch took, and how long its callers waited, so that background rows keep their
    /// distance.
    pub(crate) fn ran(&self, priority: Priority, tokens: usize, took: Duration, latencies: &[Duration]) {
        let now = Instant::now();
        let mut state = self.lock();
        match priority {
            Priority::Caller => latencies.iter().for_each(|latency| state.pace.caller_served(*latency, now)),
            Priority::Background => state.pace.background_ran(tokens, took, now),
        }
    }

    /// What the worker that has taken `batch` holds until it is done.
    pub(crate) fn underway(&self, batch: &Batch) -> Underway<'_> {
        let joinable = batch.entries.iter().filter(|entry| entry.joinable);
        Underway { queue: self, keys: joinable.map(|entry| entry.key.clone()).collect() }
    }

    /// Refuses new rows with `reason`; what is in line still runs.
    pub(crate) fn close(&self, reason: EngineError) {
        self.lock().closed.get_or_insert(reason);
        self.changed.notify_all();
    }

    /// Refuses new rows with `reason` and answers everything in line with it.
    pub(crate) fn fail(&self, reason: &EngineError) {
        let entries: Vec<Entry> = {
            let mut state = self.lock();
            state.closed.get_or_insert_with(|| reason.clone());
            // Whoever asked for a job learns of its end by that.
            state.jobs.clear();
            let callers = state.callers.clear();
            callers.chain(state.background.clear()).collect()
        };
        self.changed.notify_all();
        for subscriber in entries.into_iter().flat_map(|entry| entry.subscribers) {
            // A caller who has left needs no answer.
            let _ = subscriber.reply.send(Err(reason.clone()));
        }
    }

    /// Rows in line, equal ones counted once.
    pub(crate) fn len(&self) -> usize {
        let state = self.lock();
        state.callers.len() + state.background.len()
    }

    fn drop_the_dead(&self, state: &mut State, now: Instant) {
        for dead in [state.callers.drop_the_dead(now), state.background.drop_the_dead(now)] {
            self.counters.expired_rows.add(dead.expired);
            self.counters.abandoned_rows.add(dead.abandoned);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Underway<'_> {
    /// Those who joined a row since it was taken; from now on nobody joins it.
    pub(crate) fn late(&mut self, key: &RowKey) -> Vec<Subscriber> {
        if !self.keys.remove(key) {
            return Vec::new();
        }
        self.queue.lock().running.remove(key).map_or_else(Vec::new, |running| running.late)
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        for key in &self.keys {
            state.running.remove(key);
        }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.callers.is_empty() && self.background.is_empty() && self.jobs.is_empty()
    }

    /// Lets others join the rows of `batch`, but for those that run in another batch already and are joined there.
    fn register(&mut self, batch: &mut [Entry]) {
        for entry in batch {
            if let hash_map::Entry::Vacant(place) = self.running.entry(entry.key.clone()) {
                place.insert(Running { reads: entry.row.reads, late: Vec::new() });
                entry.joinable = true;
            }
        }
    }

    /// The next batch or job; otherwise when to look again, where that is known.
    fn take_next(&mut self, budget: Budget, shares: &Shares, now: Instant) -> Result<Work, Option<Instant>> {
        let next = self.background.first_length(shares).or_else(|| self.jobs.front().map(|job| job.tokens));
        let leave = next.map(|first| match self.closed {
            Some(_) if self.callers.is_empty() => Leave::Now { tokens: budget.tokens },
            Some(_) => Leave::NotBefore(now),
            None => self.pace.leave(first, !self.callers.is_empty(), now),
        });
        match leave {
            Some(Leave::Now { tokens }) => {
                if self.background.is_empty()
                    && let Some(job) = self.jobs.pop_front()
                {
                    return Ok(Work::Job(job));
                }
                let entries = self.background.take_next(Budget { tokens, ..budget }, shares);
                Ok(Work::Batch(Batch { entries, priority: Priority::Background }))
            }
            Some(Leave::NotBefore(_)) | None if !self.callers.is_empty() => {
                let entries = self.callers.take_next(budget, shares);
                Ok(Work::Batch(Batch { entries, priority: Priority::Caller }))
            }
            Some(Leave::NotBefore(at)) => Err(Some(at)),
            None => Err(None),
        }
    }

    /// Whether an equal row was there to join. A background row that a caller wants as well becomes the caller's.
    fn join_or_append(&mut self, (key, row, subscriber): (RowKey, Row, Subscriber), priority: Priority) -> bool {
        let Err(subscriber) = self.callers.join(&key, &row, subscriber) else { return true };
        let Err(subscriber) = self.background.join(&key, &row, subscriber) else {
            if priority == Priority::Caller
                && let Some(Entry { row, subscribers, .. }) = self.background.remove(&key)
            {
                self.callers.append(key, row, subscribers);
            }
            return true;
        };
        if let Some(running) = self.running.get_mut(&key).filter(|running| running.reads.covers(row.reads)) {
            subscriber.taken.store(true, Ordering::Release);
            running.late.push(subscriber);
            return true;
        }
        let line = match priority {
            Priority::Caller => &mut self.callers,
            Priority::Background => &mut self.background,
        };
        line.append(key, row, vec![subscriber]);
        false
    }
}

#[cfg(test)]
#[cfg(not(feature = "models"))]
mod tests;
