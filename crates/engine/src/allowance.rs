//! What one tenant may use, and what it uses: calls, rows in flight, tokens.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::bucket::Bucket;
use crate::error::EngineError;
use crate::quota::Quota;
use crate::sync::AtomicUsize;

/// What a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Calls in a second.
    Calls,
    /// Tokens through the encoder in a second.
    Tokens,
    /// Rows in flight.
    Rows,
    /// Versions of heads.
    Versions,
    /// Bytes of heads.
    Bytes,
}

impl Limited {
    /// Every one of them, in the order of [`Use::refused`].
    pub const ALL: [Self; 5] = [Self::Calls, Self::Tokens, Self::Rows, Self::Versions, Self::Bytes];

    /// The quota's field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "requests_per_second",
            Self::Tokens => "tokens_per_second",
            Self::Rows => "rows_in_flight",
            Self::Versions => "head_versions",
            Self::Bytes => "head_bytes",
        }
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a tenant uses and was refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Calls so far.
    pub calls: u64,
    /// Rows of callers admitted and not yet answered.
    pub rows_in_flight: u64,
    /// Tokens so far, of rows that callers wait for and of those that nobody does.
    pub tokens: u64,
    /// Rows that nobody waits for and that wait for their tokens.
    pub waiting_rows: u64,
    /// Refusals so far, in the order of [`Limited::ALL`].
    pub refused: [u64; 5],
}

type Rate = ArcSwapOption<Mutex<Bucket>>;

/// Limits and use of a tenant. Without limits it only counts.
#[derive(Debug)]
pub(crate) struct Allowance {
    calls_rate: Rate,
    tokens_rate: Rate,
    max_rows: AtomicUsize,
    rows: AtomicUsize,
    calls: AtomicU64,
    tokens: AtomicU64,
    waiting_rows: AtomicUsize,
    /// Held by whoever is next to have tokens among the rows that nobody waits for.
    next: tokio::sync::Mutex<()>,
    /// Says that other limits hold.
    changed: Notify,
    refused: [AtomicU64; 5],
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            calls_rate: Rate::empty(),
            tokens_rate: Rate::empty(),
            max_rows: AtomicUsize::new(usize::MAX),
            rows: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            waiting_rows: AtomicUsize::new(0),
            next: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            refused: Default::default(),
        }
    }
}

/// A tenant's rows in flight; dropping it takes them off.
#[derive(Debug)]
pub(crate) struct RowsInUse {
    allowance: Arc<Allowance>,
    rows: usize,
}

impl Drop for RowsInUse {
    fn drop(&mut self) {
        self.allowance.rows.fetch_sub(self.rows, Ordering::AcqRel);
    }
}

/// Rows that wait; dropping it takes them off.
struct WaitingRows<'a> {
    count: &'a AtomicUsize,
    rows: usize,
}

impl<'a> WaitingRows<'a> {
    fn new(count: &'a AtomicUsize, rows: usize) -> Self {
        count.fetch_add(rows, Ordering::Relaxed);
        Self { count, rows }
    }
}

impl Drop for WaitingRows<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(self.rows, Ordering::Relaxed);
    }
}

impl Allowance {
    /// These limits hold from now on. A rate that stays the same goes on as it was.
    pub(crate) fn limit(&self, quota: &Quota) {
        let now = Instant::now();
        let burst = |rate| quota.request_burst.map_or(rate, f64::from);
        let calls = quota.requests_per_second.map(|rate| Bucket::new(rate, burst(rate), now));
        change(&self.calls_rate, calls);
        change(&self.tokens_rate, quota.tokens_per_second.map(|rate| Bucket::new(rate, rate, now)));
        let rows = quota.rows_in_flight.map_or(usize::MAX, |rows| rows as usize);
        self.max_rows.store(rows, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn take_call(&self) -> Result<(), EngineError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.take(&self.calls_rate, 1, Limited::Calls)
    }

    pub(crate) fn take_tokens(&self, tokens: usize) -> Result<(), EngineError> {
        self.take(&self.tokens_rate, tokens, Limited::Tokens)?;
        self.tokens.fetch_add(tokens as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Tokens of rows that nobody waits for, one after the other: as soon as the rate has made up for what was taken
    /// before and half a second's worth is left to callers, who would be refused. Only a rate that gives none ever is an
    /// error.
    pub(crate) async fn wait_for_tokens(&self, rows: usize, tokens: usize) -> Result<(), EngineError> {
        let _waiting = WaitingRows::new(&self.waiting_rows, rows);
        let _next = self.next.lock().await;
        loop {
            // Before the look, so that no change passes unnoticed after it.
            let changed = self.changed.notified();
            let taken = look(&self.tokens_rate, |bucket| bucket.take_spare(tokens as f64, Instant::now()));
            match taken {
                Ok(()) => break,
                Err(Some(wait)) => tokio::select! {
                    () = sleep(wait) => {}
                    () = changed => {}
                },
                Err(None) => return Err(self.refusal(Limited::Tokens, None)),
            }
        }
        self.tokens.fetch_add(tokens as u64, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn take_rows(self: Arc<Self>, rows: usize) -> Result<RowsInUse, EngineError> {
        let most = self.max_rows.load(Ordering::Acquire);
        let more = |now: usize| now.checked_add(rows).filter(|sum| *sum <= most || rows == 0);
        if self.rows.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok() {
            return Ok(RowsInUse { allowance: self, rows });
        }
        Err(self.refusal(Limited::Rows, (rows <= most).then_some(EngineError::RETRY_SOON)))
    }

    pub(crate) fn count_refusal(&self, what: Limited) {
        if let Some(count) = self.refused.get(what as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn used(&self) -> Use {
        Use {
            calls: self.calls.load(Ordering::Relaxed),
            rows_in_flight: self.rows.load(Ordering::Relaxed) as u64,
            tokens: self.tokens.load(Ordering::Relaxed),
            waiting_rows: self.waiting_rows.load(Ordering::Relaxed) as u64,
            refused: self.refused.each_ref().map(|count| count.load(Ordering::Relaxed)),
        }
    }

    fn take(&self, rate: &Rate, many: usize, what: Limited) -> Result<(), EngineError> {
        let taken = look(rate, |bucket| bucket.take(many as f64, Instant::now()));
        taken.map_err(|retry| self.refusal(what, retry))
    }

    fn refusal(&self, what: Limited, retry: Option<Duration>) -> EngineError {
        self.count_refusal(what);
        EngineError::OverQuota { what, retry }
    }
}

/// What comes of a look into the bucket. Where there is none, nothing is in the way.
fn look(rate: &Rate, take: impl FnOnce(&mut Bucket) -> Result<(), Option<Duration>>) -> Result<(), Option<Duration>> {
    let rate = rate.load();
    let Some(bucket) = rate.as_ref() else { return Ok(()) };
    take(&mut bucket.lock().unwrap_or_else(PoisonError::into_inner))
}

fn change(rate: &Rate, wanted: Option<Bucket>) {
    let before = rate.load_full();
    let Some(wanted) = wanted else { return rate.store(None) };
    let wanted = match before.as_deref().map(|before| before.lock().unwrap_or_else(PoisonError::into_inner)) {
        Some(before) if before.is_like(&wanted) => return,
        Some(mut before) => wanted.at_most(&mut before),
        None => wanted,
    };
    rate.store(Some(Arc::new(Mutex::new(wanted))));
}
