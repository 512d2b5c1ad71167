//! How all workers of an engine are, as one; and which of them does not come back from its batch.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::WorkerState;
use crate::sync::{Mutex, MutexGuard};

/// What a worker is allowed for anything, before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(4);
/// And so many times what the work has taken on average.
const TIMES_EXPECTED: u32 = 10;
/// What it is allowed where nothing is known of the average yet: a device may compile its kernels for the first rows.
const FIRST_PATIENCE: Duration = Duration::from_secs(120);

/// The state of each worker, and the other end of what the engine watches. Held by the workers alone: once all have
/// ended, the watchers are told.
#[derive(Debug)]
pub(crate) struct WorkerStates {
    each: Mutex<Vec<Worker>>,
    sender: watch::Sender<WorkerState>,
}

#[derive(Debug, Clone)]
struct Worker {
    state: WorkerState,
    /// When what it is doing should have been done, while it does anything.
    due: Option<Instant>,
}

/// Work that a worker is at, until it is dropped.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    states: &'a WorkerStates,
    number: usize,
}

impl WorkerStates {
    /// So many workers that all start, and their state as one.
    pub(crate) fn new(workers: usize) -> (Self, watch::Receiver<WorkerState>) {
        let (sender, receiver) = watch::channel(WorkerState::Starting);
        let worker = Worker { state: WorkerState::Starting, due: None };
        (Self { each: Mutex::new(vec![worker; workers]), sender }, receiver)
    }

    /// Worker `number` is in `state` from now on.
    pub(crate) fn set(&self, number: usize, state: WorkerState) {
        self.change(number, |worker| worker.state = state);
    }

    /// Worker `number` has taken work that should take as long as `expected`, where that is known.
    pub(crate) fn begin(&self, number: usize, expected: Option<Duration>, now: Instant) -> Errand<'_> {
        let allowed = expected.map_or(FIRST_PATIENCE, |expected| PATIENCE + expected * TIMES_EXPECTED);
        self.change(number, |worker| worker.due = Some(now + allowed));
        Errand { states: self, number }
    }

    /// Workers whose work should have been done by `now` are stuck from now on, until it is. How many these are.
    pub(crate) fn look(&self, now: Instant) -> u64 {
        let mut each = self.lock();
        let mut found = 0;
        for worker in each.iter_mut() {
            if worker.state == WorkerState::Ready && worker.due.is_some_and(|due| due <= now) {
                worker.state = WorkerState::Stuck;
                found += 1;
            }
        }
        if found > 0 {
            self.tell(&each);
        }
        found
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut Worker)) {
        let mut each = self.lock();
        let Some(worker) = each.get_mut(number) else { return };
        let before = worker.state.clone();
        change(worker);
        if worker.state != before {
            self.tell(&each);
        }
    }

    /// Under the lock, so that states are told in the order in which they came true.
    fn tell(&self, each: &[Worker]) {
        self.sender.send_replace(as_one(each));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.each.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Errand<'_> {
    fn drop(&mut self) {
        self.states.change(self.number, |worker| {
            worker.due = None;
            if worker.state == WorkerState::Stuck {
                worker.state = WorkerState::Ready;
            }
        });
    }
}

/// Ready when all are ready, stuck when one is, down when one is down for good.
fn as_one(each: &[Worker]) -> WorkerState {
    let states = || each.iter().map(|worker| &worker.state);
    let down = states().find(|state| matches!(state, WorkerState::Down(_)));
    let first = |wanted| states().find(move |state| **state == wanted);
    let worst = down.or_else(|| first(WorkerState::Stuck)).or_else(|| first(WorkerState::Starting));
    worst.cloned().unwrap_or(WorkerState::Ready)
}

#[cfg(test)]
#[cfg(not(feature = "models"))]
mod tests;
