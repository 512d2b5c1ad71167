//! Every order in which callers and workers can meet at the queue: whoever asks is answered, whatever becomes of workers.

use std::hash::{BuildHasherDefault, DefaultHasher};

use loom::future::block_on;
use loom::thread;
use tokio::sync::oneshot;

use super::*;
use crate::batch::Budget;
use crate::batcher::Subscriber;
use crate::models::every_order;
use crate::row_key::RowKey;
use crate::shares::Lane;
use crate::testing::{CountingModel, WordTokenizer};
use crate::tokens::Tokens;

type Reply = oneshot::Receiver<Result<Done, EngineError>>;

const POOLED: Reads = Reads { pooled: true, cls: false, tokens: false };
/// The id that makes [`Frail`] panic.
const POISON: u32 = 666;

/// A model that panics at one row.
#[derive(Debug)]
struct Frail(CountingModel);

impl Model for Frail {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
        if rows.iter().any(|row| row.tokens.ids.contains(&POISON)) {
            // Without the hook of a panic, which would print in every order.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        self.0.forward(rows)
    }
}

fn frail() -> Result<Box<dyn Model>, ModelError> {
    Ok(Box::new(Frail(CountingModel::new(String::new(), 2, Arc::default()))))
}

/// A queue whose batches are one row, and workers that serve it with models of `factory`.
fn workers<const N: usize>(factory: ModelFactory) -> (Arc<Queue>, [thread::JoinHandle<()>; N]) {
    let counters = Arc::<Counters>::default();
    let queue = Arc::new(Queue::new(Budget { tokens: 8, rows: 1 }, 5, Arc::default(), Arc::clone(&counters)));
    let (states, _) = WorkerStates::new(N);
    let (states, factory) = (Arc::new(states), Arc::new(Mutex::new(factory)));
    let info = Arc::<OnceLock<ModelInfo>>::default();
    let threads = std::array::from_fn(|number| {
        let parts = WorkerParts {
            number,
            factory: Arc::clone(&factory),
            tokenizer: Arc::new(WordTokenizer { max_tokens: 64 }),
            queue: Arc::clone(&queue),
            cache: Arc::new(Cache::new(0, Arc::clone(&counters))),
            counters: Arc::clone(&counters),
            states: Arc::clone(&states),
            info: Arc::clone(&info),
        };
        thread::spawn(move || supervise(parts))
    });
    (queue, threads)
}

/// Puts a row of one token in line.
fn push(queue: &Queue, id: u32) -> Result<Reply, EngineError> {
    let tokens = Tokens { ids: vec![id], ..Tokens::default() };
    let row = Row { tokens: Arc::new(tokens), task_embedding: None, adapter: None, reads: POOLED };
    let key = RowKey::new(&row, Lane::default(), &BuildHasherDefault::<DefaultHasher>::default());
    let (reply, receiver) = oneshot::channel();
    let subscriber = Subscriber { reply, deadline: None, queued_at: Instant::now(), taken: Arc::default() };
    queue.push(vec![(key, row, subscriber)], Priority::Caller).map(|()| receiver)
}

#[test]
fn rows_are_answered_whichever_worker_is_awake() {
    every_order(2, || {
        let (queue, workers) = workers::<2>(Box::new(frail));
        let replies = [1, 2].map(|id| push(&queue, id).unwrap());
        // The queue is open still: a worker that slept through a row would never answer it.
        assert!(replies.map(|reply| block_on(reply).unwrap()).iter().all(Result::is_ok));
        queue.close(EngineError::Draining);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

/// What comes of row 1 and of another that are asked for at the same time, once their one worker has ended; `None`
/// where a reply is dropped.
fn asked_at_once(other: u32) -> [Option<Result<Done, EngineError>>; 2] {
    let (queue, [worker]) = workers(Box::new(frail));
    let other = thread::spawn({
        let queue = Arc::clone(&queue);
        move || block_on(push(&queue, other).unwrap()).ok()
    });
    let told = [block_on(push(&queue, 1).unwrap()).ok(), other.join().unwrap()];
    queue.close(EngineError::Draining);
    worker.join().unwrap();
    told
}

#[test]
fn whoever_asks_for_a_row_that_waits_or_runs_or_is_done_is_answered() {
    every_order(2, || assert!(matches!(asked_at_once(1), [Some(Ok(_)), Some(Ok(_))])));
}

#[test]
fn a_panic_is_told_to_those_of_its_row_and_to_nobody_else() {
    every_order(2, || assert!(matches!(asked_at_once(POISON), [Some(Ok(_)), None])));
}

#[test]
fn a_worker_that_goes_down_leaves_nobody_waiting() {
    every_order(3, || {
        let mut lives = 0;
        let (queue, workers) = workers::<1>(Box::new(move || {
            lives += 1;
            if lives > 1 { Err(ModelError::Load("gone".to_owned())) } else { frail() }
        }));
        let other = thread::spawn({
            let queue = Arc::clone(&queue);
            move || push(&queue, POISON).map(block_on)
        });
        match push(&queue, 1) {
            Ok(reply) => assert!(matches!(block_on(reply), Ok(Ok(_) | Err(EngineError::WorkerDown)))),
            Err(refused) => assert_eq!(refused, EngineError::WorkerDown),
        }
        assert!(!matches!(other.join().unwrap(), Ok(Ok(Ok(_)))));
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}
