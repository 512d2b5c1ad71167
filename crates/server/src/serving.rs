//! What all services share: the engine, the way to the writer, and whether the doors are open.

use std::sync::Arc;

use engine::{Engine, EngineError};
use tokio::sync::{Semaphore, watch};
use tonic::Status;

use crate::changes::Changes;
use crate::status;

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

/// Shared by the services; the phase is set by the one who runs the server.
#[derive(Debug)]
pub(crate) struct Serving {
    engine: Arc<Engine>,
    changes: Changes,
    phase: watch::Receiver<Phase>,
    evaluations: Arc<Semaphore>,
}

impl Serving {
    pub(crate) fn new(engine: Arc<Engine>, changes: Changes, phase: watch::Receiver<Phase>) -> Self {
        Self { engine, changes, phase, evaluations: Arc::new(Semaphore::new(MAX_EVALUATIONS)) }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Permits of evaluations; what holds one runs.
    pub(crate) fn evaluations(&self) -> &Arc<Semaphore> {
        &self.evaluations
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
