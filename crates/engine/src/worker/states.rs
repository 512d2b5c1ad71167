//! How all workers of an engine are, as one.

use std::sync::PoisonError;

use tokio::sync::watch;

use super::WorkerState;
use crate::sync::Mutex;

/// The state of each worker, and the other end of what the engine watches. Held by the workers alone: once all have
/// ended, the watchers are told.
#[derive(Debug)]
pub(crate) struct WorkerStates {
    each: Mutex<Vec<WorkerState>>,
    sender: watch::Sender<WorkerState>,
}

impl WorkerStates {
    /// So many workers that all start, and their state as one.
    pub(crate) fn new(workers: usize) -> (Self, watch::Receiver<WorkerState>) {
        let (sender, receiver) = watch::channel(WorkerState::Starting);
        (Self { each: Mutex::new(vec![WorkerState::Starting; workers]), sender }, receiver)
    }

    /// Worker `number` is in `state` from now on.
    pub(crate) fn set(&self, number: usize, state: WorkerState) {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = each.get_mut(number) {
            *own = state;
        }
        // Under the lock, so that states are told in the order in which they came true.
        self.sender.send_replace(as_one(&each));
    }
}

/// Ready when all are ready, down when one is down for good.
fn as_one(each: &[WorkerState]) -> WorkerState {
    let down = each.iter().find(|state| matches!(state, WorkerState::Down(_)));
    let starting = each.iter().find(|state| **state == WorkerState::Starting);
    down.or(starting).cloned().unwrap_or(WorkerState::Ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_must_be_ready_and_one_takes_all_down() {
        let (states, seen) = WorkerStates::new(2);
        let now = || seen.borrow().clone();
        states.set(1, WorkerState::Ready);
        assert_eq!(now(), WorkerState::Starting);
        states.set(0, WorkerState::Ready);
        assert_eq!(now(), WorkerState::Ready);
        states.set(1, WorkerState::Starting);
        assert_eq!(now(), WorkerState::Starting);
        let down = WorkerState::Down("why".to_owned());
        states.set(1, down.clone());
        states.set(0, WorkerState::Starting);
        assert_eq!(now(), down);
    }
}
