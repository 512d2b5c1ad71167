//! One state for all workers, and what becomes of one that is stuck.

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

#[test]
fn a_worker_is_stuck_from_when_its_work_is_long_overdue_until_it_is_done() {
    let (states, seen) = WorkerStates::new(2);
    let state = || seen.borrow().clone();
    states.set(0, WorkerState::Ready);
    states.set(1, WorkerState::Ready);
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    let errand = states.begin(1, Some(second), begun);
    assert_eq!(states.look(begun + PATIENCE + second * TIMES_EXPECTED - second), 0);
    assert_eq!(state(), WorkerState::Ready, "ten times as long may be the work of others");
    assert_eq!(states.look(begun + PATIENCE + second * TIMES_EXPECTED), 1);
    assert_eq!(state(), WorkerState::Stuck);
    assert_eq!(states.look(begun + 2 * FIRST_PATIENCE), 0, "it was found already");
    drop(errand);
    assert_eq!(state(), WorkerState::Ready);
    states.look(begun + 2 * FIRST_PATIENCE);
    assert_eq!(state(), WorkerState::Ready, "it is at nothing");
}

#[test]
fn the_first_work_of_all_may_take_longer_and_so_may_a_worker_that_starts() {
    let (states, seen) = WorkerStates::new(1);
    states.set(0, WorkerState::Ready);
    let begun = Instant::now();
    let errand = states.begin(0, None, begun);
    states.look(begun + FIRST_PATIENCE / 2);
    assert_eq!(*seen.borrow(), WorkerState::Ready);
    states.set(0, WorkerState::Starting);
    states.look(begun + FIRST_PATIENCE);
    assert_eq!(*seen.borrow(), WorkerState::Starting);
    drop(errand);
}
