//! Mechanism: the queue between asks and the workers. It never waits to fill a batch, and equal rows are one row while
//! they wait and while they run.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::batch::{Budget, Candidate, next_batch};
use crate::counters::Counters;
use crate::error::{EngineError, Stage};
use crate::model::{Reads, Row, RowOutput};
use crate::row_key::RowKey;

/// What comes back for one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    pub(crate) output: RowOutput,
    pub(crate) queued: Duration,
    pub(crate) encoded: Duration,
}

/// Who waits for a row.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) reply: oneshot::Sender<Result<Done, EngineError>>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) queued_at: Instant,
    /// Set when the row joins a batch; the ask holds the other end, to say where a deadline hit it.
    pub(crate) taken: Arc<AtomicBool>,
}

/// A row in the queue: the model sees `row` alone.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: RowKey,
    /// Reads what any of its subscribers reads.
    pub(crate) row: Row,
    /// In the order in which they came; while the row waits there is at least one.
    pub(crate) subscribers: Vec<Subscriber>,
    /// Batches in which later rows went before it.
    overtaken: u8,
    /// It runs, and others may join it.
    joinable: bool,
}

/// The queue. Its length is bounded by admission: every subscriber holds a permit.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    budget: Budget,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct State {
    /// By number in line, oldest first.
    entries: BTreeMap<u64, Entry>,
    /// The number in line of every row that waits.
    places: HashMap<RowKey, u64>,
    next_place: u64,
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
    pub(crate) fn new(budget: Budget, counters: Arc<Counters>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), budget, counters }
    }

    /// Puts all rows of an ask in line, or none. A row that waits or runs already gets one subscriber more.
    pub(crate) fn push(&self, rows: Vec<(RowKey, Row, Subscriber)>) -> Result<(), EngineError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        let joined = rows.into_iter().map(|row| state.join_or_append(row)).filter(|joined| *joined).count();
        drop(state);
        self.counters.deduplicated_rows.add(joined as u64);
        self.changed.notify_one();
        Ok(())
    }

    /// The next batch, as soon as there is one; `None` once the queue is closed and empty.
    pub(crate) fn take_batch(&self) -> Option<Vec<Entry>> {
        let mut state = self.lock();
        loop {
            self.drop_the_dead(&mut state);
            let mut batch = state.take_next(self.budget);
            if !batch.is_empty() {
                state.register(&mut batch);
                for subscriber in batch.iter().flat_map(|entry| &entry.subscribers) {
                    subscriber.taken.store(true, Ordering::Release);
                }
                if !state.entries.is_empty() {
                    // What is left is for another worker, if one is free.
                    self.changed.notify_one();
                }
                return Some(batch);
            }
            if state.closed.is_some() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What the worker that has taken `batch` holds until it is done.
    pub(crate) fn underway(&self, batch: &[Entry]) -> Underway<'_> {
        let joinable = batch.iter().filter(|entry| entry.joinable);
        Underway { queue: self, keys: joinable.map(|entry| entry.key.clone()).collect() }
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
            state.places.clear();
            std::mem::take(&mut state.entries)
        };
        self.changed.notify_all();
        for subscriber in entries.into_values().flat_map(|entry| entry.subscribers) {
            // A caller who has left needs no answer.
            let _ = subscriber.reply.send(Err(reason.clone()));
        }
    }

    /// Rows in line, equal ones counted once.
    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Takes out the subscribers whose deadline has passed or who have left, and the rows that nobody waits for now.
    fn drop_the_dead(&self, state: &mut State) {
        let now = Instant::now();
        let (mut expired, mut abandoned) = (0, 0);
        let State { entries, places, .. } = state;
        entries.retain(|_, entry| {
            entry.subscribers.retain_mut(|subscriber| {
                if subscriber.reply.is_closed() {
                    abandoned += 1;
                    return false;
                }
                let alive = subscriber.deadline.is_none_or(|deadline| deadline > now);
                if !alive {
                    expired += 1;
                    let (spent, _) = oneshot::channel();
                    let reply = std::mem::replace(&mut subscriber.reply, spent);
                    let _ = reply.send(Err(EngineError::DeadlineExceeded(Stage::Queue)));
                }
                alive
            });
            if entry.subscribers.is_empty() {
                places.remove(&entry.key);
            }
            !entry.subscribers.is_empty()
        });
        self.counters.expired_rows.add(expired);
        self.counters.abandoned_rows.add(abandoned);
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
    /// Whether an equal row was there to join.
    fn join_or_append(&mut self, (key, row, subscriber): (RowKey, Row, Subscriber)) -> bool {
        if let Some(entry) = self.places.get(&key).and_then(|place| self.entries.get_mut(place)) {
            entry.row.reads = entry.row.reads.union(row.reads);
            entry.subscribers.push(subscriber);
            return true;
        }
        if let Some(running) = self.running.get_mut(&key).filter(|running| running.reads.covers(row.reads)) {
            subscriber.taken.store(true, Ordering::Release);
            running.late.push(subscriber);
            return true;
        }
        self.places.insert(key.clone(), self.next_place);
        self.entries
            .insert(self.next_place, Entry { key, row, subscribers: vec![subscriber], overtaken: 0, joinable: false });
        self.next_place += 1;
        false
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

    fn take_next(&mut self, budget: Budget) -> Vec<Entry> {
        let candidate = |entry: &Entry| Candidate { length: entry.row.tokens.len(), overtaken: entry.overtaken };
        let plan = next_batch(self.entries.values().map(candidate), budget);
        let reach = plan.taken.last().map_or(0, |last| last + 1);
        let in_line: Vec<u64> = self.entries.keys().copied().take(reach).collect();
        for place in plan.overtaken {
            if let Some(entry) = in_line.get(place).and_then(|number| self.entries.get_mut(number)) {
                entry.overtaken += 1;
            }
        }
        let taken = plan.taken.into_iter().filter_map(|place| self.entries.remove(in_line.get(place)?));
        let batch: Vec<Entry> = taken.collect();
        for entry in &batch {
            self.places.remove(&entry.key);
        }
        batch
    }
}

#[cfg(test)]
mod tests;
