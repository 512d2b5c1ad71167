//! What the engine counts. Readers may see one counter a moment ahead of another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters that only grow, since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows answered by the model.
    pub rows: Counter,
    /// Tokens of those rows.
    pub tokens: Counter,
    /// Batches run.
    pub batches: Counter,
    /// Microseconds the worker spent in the model.
    pub model_microseconds: Counter,
    /// Rows that joined an equal row in the queue, and so cost the model nothing.
    pub deduplicated_rows: Counter,
    /// Rows whose every part was in the cache, and so never entered the queue.
    pub cache_hits: Counter,
    /// Rows looked up in the cache of which some part was missing.
    pub cache_misses: Counter,
    /// Entries that left the cache to make room.
    pub cache_evictions: Counter,
    /// Rows dropped in the queue because their caller had left.
    pub abandoned_rows: Counter,
    /// Rows dropped in the queue because their deadline had passed.
    pub expired_rows: Counter,
    /// Rows the model refused or failed.
    pub failed_rows: Counter,
    /// Asks refused because too much was in flight.
    pub overloaded_asks: Counter,
    /// Times the worker was rebuilt after a panic.
    pub worker_restarts: Counter,
    /// Times a worker was found stuck in a batch.
    pub worker_stalls: Counter,
}

impl Counters {
    /// How long the model takes for so many tokens, going by what it has taken so far; `None` before it has run.
    pub(crate) fn expected(&self, tokens: usize) -> Option<Duration> {
        let (before, took) = (self.tokens.value(), self.model_microseconds.value());
        (before > 0).then(|| Duration::from_micros(took)).map(|took| took.mul_f64(tokens as f64 / before as f64))
    }
}

/// One such number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
