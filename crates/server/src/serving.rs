//! What all services share: the engine, the way to the writer, and whether the doors are open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Engine, EngineError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;

use crate::adjustable::Adjustable;
use crate::changes::Changes;
use crate::refusals::Refusals;
use crate::status;

/// Callers that watch the tasks at the same time.
const MAX_WATCHES: usize = 256;

/// Evaluations at the same time: each keeps the logits of its rows.
const MAX_EVALUATIONS: usize = 4;

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

/// Exports of whole models at the same time: each holds a thread for as long as its reader takes.
const MAX_MODEL_EXPORTS: usize = 4;

/// Shared by the services; the phase is set by the one who runs the server.
#[derive(Debug)]
pub(crate) struct Serving {
    engine: Arc<Engine>,
    changes: Changes,
    phase: watch::Receiver<Phase>,
    /// The files of the served encoder, where it came from a bundle.
    encoder_dir: Option<PathBuf>,
    exports: Arc<Semaphore>,
    evaluations: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    refusals: Arc<Refusals>,
    fits: Semaphore,
    bundles: Arc<Semaphore>,
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
        let exports = Arc::new(Semaphore::new(MAX_MODEL_EXPORTS));
        let evaluations = Arc::new(Semaphore::new(MAX_EVALUATIONS));
        let watches = Arc::new(Semaphore::new(MAX_WATCHES));
        let fits = Semaphore::new(1);
        let bundles = Arc::new(Semaphore::new(1));
        Self {
            engine,
            changes,
            phase,
            encoder_dir,
            exports,
            evaluations,
            watches,
            refusals: Arc::default(),
            fits,
            bundles,
            adjustable,
        }
    }

    /// The files of the served encoder.
    pub(crate) fn encoder_dir(&self) -> Option<&Path> {
        self.encoder_dir.as_deref()
    }

    /// The heads that were refused.
    pub(crate) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// The one place for a fit.
    pub(crate) fn fits(&self) -> &Semaphore {
        &self.fits
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

    /// Permits of evaluations; what holds one runs.
    pub(crate) fn evaluations(&self) -> &Arc<Semaphore> {
        &self.evaluations
    }

    /// The one place for a bundle that is being installed, until it is dropped.
    pub(crate) fn bundle_permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        let busy = |_| status::one_at_a_time("bundles", "another bundle is being installed");
        Arc::clone(&self.bundles).try_acquire_owned().map_err(busy)
    }

    /// Leave to watch the tasks, until it is dropped.
    pub(crate) fn watch_permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.watches).try_acquire_owned().map_err(|_| status::too_many_watches())
    }

    /// Leave to export a whole model, until it is dropped.
    pub(crate) fn export_permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.exports).try_acquire_owned().map_err(|_| status::too_many_exports())
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
