//! How much may be in flight: a permit for the rows and bytes of an ask, held until its reply has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::error::{EngineError, Resource};
use crate::limits::Limits;

/// Rows and bytes on loan; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    rows: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

impl Permit {
    /// Holds what `other` holds, too.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows.merge(other.rows);
        self.bytes.merge(other.bytes);
    }
}

/// The rows and bytes that are free.
#[derive(Debug)]
pub(crate) struct Admission {
    rows: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_rows: usize,
    draining: AtomicBool,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            rows: Arc::new(Semaphore::new(limits.max_in_flight_rows)),
            bytes: Arc::new(Semaphore::new(limits.max_in_flight_bytes)),
            max_rows: limits.max_in_flight_rows,
            draining: AtomicBool::new(false),
        }
    }

    /// A permit at once, or the reason why not.
    pub(crate) fn admit(&self, rows: usize, bytes: usize) -> Result<Permit, EngineError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(EngineError::Draining);
        }
        Ok(Permit { rows: take(&self.rows, rows, Resource::Rows)?, bytes: take(&self.bytes, bytes, Resource::Bytes)? })
    }

    pub(crate) fn in_flight_rows(&self) -> usize {
        self.max_rows.saturating_sub(self.rows.available_permits())
    }

    /// Admits nothing from now on.
    pub(crate) fn close(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Returns once every permit has come back.
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(self.max_rows).unwrap_or(u32::MAX);
        // The semaphore is never closed, so the only outcome is all permits, given straight back.
        drop(self.rows.acquire_many(all).await);
    }
}

fn take(semaphore: &Arc<Semaphore>, n: usize, resource: Resource) -> Result<OwnedSemaphorePermit, EngineError> {
    let n = u32::try_from(n).map_err(|_| EngineError::Overloaded(resource))?;
    Arc::clone(semaphore).try_acquire_many_owned(n).map_err(|error| match error {
        TryAcquireError::NoPermits => EngineError::Overloaded(resource),
        TryAcquireError::Closed => EngineError::Draining,
    })
}
