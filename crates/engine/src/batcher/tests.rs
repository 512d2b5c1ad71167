//! What the queue owes: equal rows run once for all who wait, and nobody who waits is forgotten.

use std::hash::{BuildHasherDefault, DefaultHasher};

use tokio::sync::oneshot;

use super::*;
use crate::error::Stage;
use crate::model::Reads;
use crate::shares::Lane;
use crate::tokens::Tokens;

type Reply = oneshot::Receiver<Result<Done, EngineError>>;

const POOLED: Reads = Reads { pooled: true, cls: false, tokens: false };
const TOKENS: Reads = Reads { pooled: false, cls: false, tokens: true };

fn queue() -> Queue {
    Queue::new(Budget { tokens: 100, rows: 10 }, 5, Arc::default(), Arc::default())
}

/// Puts one row in line, of `length` tokens that are all `id`.
fn push(queue: &Queue, row: (u32, usize), reads: Reads, deadline: Option<Instant>) -> Reply {
    push_as(queue, row, (reads, Priority::Caller), deadline)
}

fn push_as(
    queue: &Queue,
    (id, length): (u32, usize),
    (reads, priority): (Reads, Priority),
    deadline: Option<Instant>,
) -> Reply {
    let tokens = Tokens { ids: vec![id; length], ..Tokens::default() };
    let row = Row { tokens: Arc::new(tokens), task_embedding: None, adapter: None, reads };
    let key = RowKey::new(&row, Lane::default(), &BuildHasherDefault::<DefaultHasher>::default());
    let (reply, receiver) = oneshot::channel();
    let subscriber = Subscriber { reply, deadline, queued_at: Instant::now(), taken: Arc::default() };
    queue.push(vec![(key, row, subscriber)], priority).unwrap();
    receiver
}

/// The next batch, where no job comes first.
fn take_batch(queue: &Queue) -> Option<Batch> {
    queue.take().map(|work| match work {
        Work::Batch(batch) => batch,
        Work::Job(job) => panic!("{job:?}"),
    })
}

fn ids(batch: &Batch) -> Vec<u32> {
    batch.entries.iter().map(|entry| entry.row.tokens.ids[0]).collect()
}

#[test]
fn equal_rows_are_one_row_that_reads_what_any_of_them_reads() {
    let queue = queue();
    let _replies = [(7, POOLED), (8, POOLED), (7, TOKENS)].map(|(id, reads)| push(&queue, (id, 3), reads, None));
    assert_eq!((queue.len(), queue.counters.deduplicated_rows.value()), (2, 1));
    let batch = take_batch(&queue).unwrap();
    assert_eq!(ids(&batch), [7, 8]);
    assert_eq!(batch.entries[0].row.reads, POOLED.union(TOKENS));
    assert_eq!(batch.entries[0].subscribers.len(), 2);
    assert!(batch.entries.iter().flat_map(|entry| &entry.subscribers).all(|who| who.taken.load(Ordering::Acquire)));
}

#[test]
fn a_row_that_runs_is_joined_by_those_who_read_no_more_than_it_gives() {
    let queue = queue();
    let _first = push(&queue, (7, 3), POOLED, None);
    let taken = take_batch(&queue).unwrap();
    let mut underway = queue.underway(&taken);
    let _joins = push(&queue, (7, 3), POOLED, None);
    let _reads_more = push(&queue, (7, 3), TOKENS, None);
    assert_eq!((queue.len(), queue.counters.deduplicated_rows.value()), (1, 1));
    let late = underway.late(&taken.entries[0].key);
    assert!(late.len() == 1 && late[0].taken.load(Ordering::Acquire));
    assert!(underway.late(&taken.entries[0].key).is_empty());
    assert_eq!(take_batch(&queue).unwrap().entries[0].row.reads, TOKENS);
}

#[test]
fn a_row_that_runs_twice_is_joined_where_it_began_first() {
    let queue = queue();
    let _first = push(&queue, (7, 3), POOLED, None);
    let (first, _reads_more) = (take_batch(&queue).unwrap(), push(&queue, (7, 3), TOKENS, None));
    let second = take_batch(&queue).unwrap();
    let (mut in_first, mut in_second) = (queue.underway(&first), queue.underway(&second));
    let _joins = push(&queue, (7, 3), POOLED, None);
    assert!(in_second.late(&second.entries[0].key).is_empty());
    assert_eq!(in_first.late(&first.entries[0].key).len(), 1);
    let _again = push(&queue, (7, 3), POOLED, None);
    let third = take_batch(&queue).unwrap();
    let mut in_third = queue.underway(&third);
    drop((in_first, in_second));
    let _joins_again = push(&queue, (7, 3), POOLED, None);
    assert_eq!(in_third.late(&third.entries[0].key).len(), 1);
}

#[test]
fn whoever_joined_a_row_that_never_finishes_is_told() {
    let queue = queue();
    let _first = push(&queue, (7, 3), POOLED, None);
    let taken = take_batch(&queue).unwrap();
    let underway = queue.underway(&taken);
    let mut late = push(&queue, (7, 3), POOLED, None);
    drop((taken, underway));
    assert_eq!(late.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    let _again = push(&queue, (7, 3), POOLED, None);
    assert_eq!(queue.len(), 1, "it runs no more, so it waits again");
}

#[test]
fn a_row_stays_while_one_subscriber_waits_and_goes_with_the_last() {
    let queue = queue();
    let past = Instant::now().checked_sub(Duration::from_secs(1));
    let mut expired = push(&queue, (7, 3), POOLED, past);
    let left = push(&queue, (7, 3), POOLED, None);
    let waiting = push(&queue, (7, 3), POOLED, None);
    drop((left, push(&queue, (8, 3), POOLED, None)));
    let _last = push(&queue, (9, 3), POOLED, None);
    let batch = take_batch(&queue).unwrap();
    assert_eq!(ids(&batch), [7, 9], "nobody waits for 8");
    assert_eq!(batch.entries[0].subscribers.len(), 1);
    assert_eq!(expired.try_recv(), Ok(Err(EngineError::DeadlineExceeded(Stage::Queue))));
    let counters = &queue.counters;
    assert_eq!((counters.expired_rows.value(), counters.abandoned_rows.value()), (1, 2));
    drop(waiting);
    let _again = push(&queue, (8, 3), POOLED, None);
    assert_eq!(ids(&take_batch(&queue).unwrap()), [8], "a dropped row can come again");
}

#[test]
fn a_queue_that_fails_tells_every_subscriber() {
    let queue = queue();
    let replies = [7, 7, 8].map(|id| push(&queue, (id, 3), POOLED, None));
    queue.fail(&EngineError::WorkerDown);
    for mut reply in replies {
        assert_eq!(reply.try_recv(), Ok(Err(EngineError::WorkerDown)));
    }
    assert!(take_batch(&queue).is_none());
}

#[test]
fn shorter_rows_pass_a_long_one_until_it_is_the_oldest() {
    let queue = queue();
    let mut replies = vec![push(&queue, (1, 60), POOLED, None), push(&queue, (2, 90), POOLED, None)];
    for id in 10..16 {
        replies.push(push(&queue, (id, 30), POOLED, None));
        replies.push(push(&queue, (id + 10, 60), POOLED, None));
    }
    let first = take_batch(&queue).unwrap();
    assert_eq!(ids(&first), [1, 10]);
    drop(queue.underway(&first));
    assert_eq!(ids(&take_batch(&queue).unwrap()), [2], "now it is the oldest");
    assert_eq!(ids(&take_batch(&queue).unwrap()), [20, 11]);
    let _first_again = push(&queue, (1, 60), POOLED, None);
    assert_eq!(queue.len(), 10, "rows that went are gone from the index too");
}

#[test]
fn a_batch_that_leaves_rows_behind_wakes_another_worker() {
    let queue = Arc::new(queue());
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || take_batch(&queue).map(|batch| ids(&batch)))
        })
        .collect();
    let rows = [(1, 80), (2, 80)];
    let _replies = rows.map(|row| push(&queue, row, POOLED, None));
    let mut batches: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap().unwrap()).collect();
    batches.sort();
    assert_eq!(batches, [[1], [2]]);
}

const BACKGROUND: (Reads, Priority) = (POOLED, Priority::Background);

#[test]
fn background_rows_go_when_no_caller_waits_and_never_in_a_batch_with_theirs() {
    let queue = queue();
    queue.ran(Priority::Background, 3, Duration::from_secs(1), &[]);
    let _background = push_as(&queue, (1, 3), BACKGROUND, None);
    let _callers = [2, 3].map(|id| push(&queue, (id, 3), POOLED, None));
    let batch = take_batch(&queue).unwrap();
    assert_eq!((ids(&batch), batch.priority), (vec![2, 3], Priority::Caller));
    let batch = take_batch(&queue).unwrap();
    assert_eq!((ids(&batch), batch.priority), (vec![1], Priority::Background), "after a quiet second");
}

#[test]
fn a_background_row_that_a_caller_wants_becomes_the_callers() {
    let queue = queue();
    queue.ran(Priority::Background, 3, Duration::from_secs(1), &[]);
    let _replies = [
        push_as(&queue, (7, 3), BACKGROUND, None),
        push(&queue, (8, 3), POOLED, None),
        push(&queue, (7, 3), TOKENS, None),
        push_as(&queue, (8, 3), BACKGROUND, None),
    ];
    assert_eq!((queue.len(), queue.counters.deduplicated_rows.value()), (2, 2));
    let batch = take_batch(&queue).unwrap();
    assert_eq!((ids(&batch), batch.priority), (vec![8, 7], Priority::Caller));
    assert_eq!(batch.entries[1].row.reads, POOLED.union(TOKENS));
    assert!(batch.entries.iter().all(|entry| entry.subscribers.len() == 2));
}

#[test]
fn a_closed_queue_runs_its_background_rows_at_once() {
    let queue = queue();
    queue.ran(Priority::Background, 3, Duration::from_secs(3_600), &[]);
    let _replies = [push(&queue, (2, 3), POOLED, None), push_as(&queue, (1, 3), BACKGROUND, None)];
    queue.close(EngineError::Draining);
    let mut batches = [take_batch(&queue).unwrap(), take_batch(&queue).unwrap()].map(|batch| ids(&batch));
    batches.sort();
    assert_eq!((batches, take_batch(&queue).is_none()), ([vec![1], vec![2]], true));
}

#[test]
fn a_job_waits_behind_rows_and_runs_once() {
    let queue = queue();
    let job = |tokens| Job { tokens, work: Box::new(|_| {}) };
    queue.push_job(job(3)).unwrap();
    let _replies = [push_as(&queue, (1, 3), BACKGROUND, None), push(&queue, (2, 3), POOLED, None)];
    queue.close(EngineError::Draining);
    let mut batches = [take_batch(&queue).unwrap(), take_batch(&queue).unwrap()].map(|batch| ids(&batch));
    batches.sort();
    assert_eq!(batches, [[1], [2]]);
    assert!(matches!(queue.take(), Some(Work::Job(Job { tokens: 3, .. }))));
    assert!(queue.take().is_none() && queue.push_job(job(1)).is_err());
}
