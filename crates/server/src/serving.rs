//! What all services share: the engine, the way to the writer, and whether the doors are open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Engine, EngineError, TenantName};
use tokio::sync::watch;
use tonic::Status;

use crate::adjustable::Adjustable;
use crate::changes::Changes;
use crate::places::{LongWork, Place, Places};
use crate::refusals::Refusals;
use crate::status;

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The encoder loads, or heads are being published.
    Starting,
    /// Everything answers.
    Open,
    /// No new work.
    Draining,
}

/// Shared by the services; the phase is set by the one who runs the server.
#[derive(Debug)]
pub(crate) struct Serving {
    engine: Arc<Engine>,
    changes: Changes,
    phase: watch::Receiver<Phase>,
    /// The files of the served encoder, where it came from a bundle.
    encoder_dir: Option<PathBuf>,
    places: Arc<Places>,
    refusals: Arc<Refusals>,
    adjustable: watch::Receiver<Adjustable>,
}

impl Serving {
    pub(crate) fn new(
        engine: Arc<Engine>,
        changes: Changes,
        phase: watch::Receiver<Phase>,
        encoder_dir: Option<PathBuf>,
        adjustable: watch::Receiver<Adjustable>,
    ) -> Self {
        Self { engine, changes, phase, encoder_dir, places: Arc::default(), refusals: Arc::default(), adjustable }
    }

    /// The files of the served encoder.
    pub(crate) fn encoder_dir(&self) -> Option<&Path> {
        self.encoder_dir.as_deref()
    }

    /// The heads that were refused.
    pub(crate) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// Bytes that a fit may hold in memory.
    pub(crate) fn fit_memory_bytes(&self) -> usize {
        self.adjustable.borrow().fit_memory_bytes
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, for a thread that outlives the call.
    pub(crate) fn shared_engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// A place for work of this tenant's that takes long.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED.
    pub(crate) fn place(&self, work: LongWork, tenant: &TenantName) -> Result<Place, Status> {
        self.places.take(work, tenant)
    }

    /// Refuses a call that comes too early or too late.
    pub(crate) fn check_open(&self) -> Result<(), Status> {
        match *self.phase.borrow() {
            Phase::Starting => Err(status::of_engine(EngineError::Starting)),
            Phase::Open => Ok(()),
            Phase::Draining => Err(status::of_engine(EngineError::Draining)),
        }
    }

    /// Returns when the server begins to drain.
    pub(crate) async fn draining(&self) {
        let mut phase = self.phase.clone();
        // A sender that is gone means that the server is, too.
        let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
    }
}
