//! How much may be in flight: a permit for the rows and bytes of an ask, held until its reply has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::allowance::RowsInUse;
use crate::error::{EngineError, Resource};
use crate::limits::Limits;
use crate::sync::{AtomicBool, Meeting};

/// One row of so many that may be in flight may be one that nobody waits for.
const BACKGROUND_SHARE: usize = 16;
/// And never more than so many.
const MOST_BACKGROUND_ROWS: usize = 64;

/// Rows and bytes on loan; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    held: Vec<OwnedSemaphorePermit>,
    of_tenant: Vec<RowsInUse>,
}

impl Permit {
    /// Holds what `other` holds, too.
    pub(crate) fn add(&mut self, other: Self) {
        self.held.extend(other.held);
        self.of_tenant.extend(other.of_tenant);
    }

    /// The rows are this tenant's.
    pub(crate) fn charged(mut self, rows: RowsInUse) -> Self {
        self.of_tenant.push(rows);
        self
    }
}

/// The rows and bytes that are free.
#[derive(Debug)]
pub(crate) struct Admission {
    rows: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// Of rows that nobody waits for: a small share, beside the others.
    background: Arc<Semaphore>,
    max_background: usize,
    max_rows: AtomicUsize,
    max_bytes: AtomicUsize,
    draining: AtomicBool,
    meeting: Meeting,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        let max_background = (limits.max_in_flight_rows / BACKGROUND_SHARE).clamp(1, MOST_BACKGROUND_ROWS);
        Self {
            background: Arc::new(Semaphore::new(max_background)),
            max_background,
            rows: Arc::new(Semaphore::new(limits.max_in_flight_rows)),
            bytes: Arc::new(Semaphore::new(limits.max_in_flight_bytes)),
            max_rows: AtomicUsize::new(limits.max_in_flight_rows),
            max_bytes: AtomicUsize::new(limits.max_in_flight_bytes),
            draining: AtomicBool::new(false),
            meeting: Meeting::default(),
        }
    }

    /// A permit at once, or the reason why not.
    pub(crate) fn admit(&self, rows: usize, bytes: usize) -> Result<Permit, EngineError> {
        self.refuse_when_draining()?;
        self.meeting.pass();
        let held = vec![take(&self.rows, rows, Resource::Rows)?, take(&self.bytes, bytes, Resource::Bytes)?];
        // Asked again with the permits in hand: a drain that has begun meanwhile may have seen them all come back.
        self.refuse_when_draining()?;
        Ok(Permit { held, of_tenant: Vec::new() })
    }

    /// A permit for rows that nobody waits for, as soon as there is one. It counts no bytes: so few rows hold little. An
    /// input of more rows than there may be takes all there are.
    pub(crate) async fn admit_background(&self, rows: usize) -> Result<Permit, EngineError> {
        let n = u32::try_from(rows.clamp(1, self.max_background)).unwrap_or(u32::MAX);
        let rows = Arc::clone(&self.background).acquire_many_owned(n).await.map_err(|_| EngineError::Draining)?;
        self.refuse_when_draining()?;
        Ok(Permit { held: vec![rows], of_tenant: Vec::new() })
    }

    fn refuse_when_draining(&self) -> Result<(), EngineError> {
        if self.draining.load(Ordering::Acquire) { Err(EngineError::Draining) } else { Ok(()) }
    }

    /// Lets so much be in flight from now on. Where that is less, what is out comes back first.
    pub(crate) fn resize(&self, limits: &Limits) {
        resize(&self.rows, &self.max_rows, limits.max_in_flight_rows);
        resize(&self.bytes, &self.max_bytes, limits.max_in_flight_bytes);
    }

    pub(crate) fn in_flight_rows(&self) -> usize {
        let out = |most: usize, semaphore: &Semaphore| most.saturating_sub(semaphore.available_permits());
        out(self.max_rows.load(Ordering::Relaxed), &self.rows) + out(self.max_background, &self.background)
    }

    /// Admits nothing from now on.
    pub(crate) fn close(&self) {
        self.draining.store(true, Ordering::Release);
        self.background.close();
    }

    /// Returns once every permit has come back.
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(self.max_rows.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        self.meeting.pass();
        // The semaphore is never closed, so the only outcome is all permits, given straight back.
        drop(self.rows.acquire_many(all).await);
    }
}

/// Changes how many permits there are in all. Those that are too many are taken out of use as they come back: until then
/// nothing else gets them.
fn resize(semaphore: &Arc<Semaphore>, most: &AtomicUsize, wanted: usize) {
    let before = most.swap(wanted, Ordering::Relaxed);
    if wanted >= before {
        semaphore.add_permits(wanted - before);
        return;
    }
    let missing = before - wanted - semaphore.forget_permits(before - wanted);
    if let Ok(missing @ 1..) = u32::try_from(missing) {
        let semaphore = Arc::clone(semaphore);
        tokio::spawn(async move {
            if let Ok(permits) = semaphore.acquire_many_owned(missing).await {
                permits.forget();
            }
        });
    }
}

fn take(semaphore: &Arc<Semaphore>, n: usize, resource: Resource) -> Result<OwnedSemaphorePermit, EngineError> {
    let n = u32::try_from(n).map_err(|_| EngineError::Overloaded(resource))?;
    Arc::clone(semaphore).try_acquire_many_owned(n).map_err(|error| match error {
        TryAcquireError::NoPermits => EngineError::Overloaded(resource),
        TryAcquireError::Closed => EngineError::Draining,
    })
}
