//! The solver on a thread of its own, which gives way to the encoder's, and ends when nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::Engine;
use fitting::{Examples, FitError, Fitted, Settings, Step, Watch};
use tokio::sync::oneshot;

use crate::fit::figures::{self, Beside, Judged};

/// While callers are served the solver stands still: it looks again after a nap, and after so many naps goes on for a block,
/// so that it gets on even where callers never cease.
const NAP: Duration = Duration::from_micros(500);
const MOST_NAPS: usize = 100;
/// The least that the system's scheduler gives.
const NICEST: i32 = 19;

/// How far the solver is, and whether it shall end. Shared by its thread and whoever waits.
#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    cancelled: AtomicBool,
    is_solving: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
}

impl Watch for Shared {
    fn is_cancelled(&self) -> bool {
        for _ in 0..MOST_NAPS {
            if self.cancelled.load(Ordering::Relaxed) {
                return true;
            }
            if self.engine.in_flight_rows() == 0 {
                return false;
            }
            std::thread::sleep(NAP);
        }
        false
    }

    fn step(&self, step: Step) {
        let (is_solving, done, total) = match step {
            Step::Searching { done, total } => (false, done, total),
            Step::Solving { done, total } => (true, done, total),
        };
        self.done.store(done as u64, Ordering::Relaxed);
        self.total.store(total as u64, Ordering::Relaxed);
        self.is_solving.store(is_solving, Ordering::Relaxed);
    }
}

/// What a solver is given.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) train: Examples,
    pub(crate) validation: Option<Examples>,
    pub(crate) settings: Settings,
    /// Whether thresholds are to be found on rows held out.
    pub(crate) thresholds: bool,
}

/// What it comes to: a layer, and what is to be said of it.
#[derive(Debug, Clone)]
pub(crate) struct Solved {
    /// Without the answers to rows held out, which have been judged.
    pub(crate) fitted: Arc<Fitted>,
    pub(crate) judged: Judged,
}

/// A solver at work. Dropping it ends the work soon.
#[derive(Debug)]
pub(crate) struct Solving {
    shared: Arc<Shared>,
    result: oneshot::Receiver<Result<Solved, FitError>>,
}

impl Solving {
    /// Begins to fit, out of the way of `engine`'s callers.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub(crate) fn start(engine: Arc<Engine>, work: Work) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            engine,
            cancelled: AtomicBool::default(),
            is_solving: AtomicBool::default(),
            done: AtomicU64::default(),
            total: AtomicU64::default(),
        });
        let watch = Arc::clone(&shared);
        let (reply, result) = oneshot::channel();
        let run = move || {
            // A system that refuses only makes the solver a heavier neighbour.
            let _ = rustix::process::setpriority_process(None, NICEST);
            let _ = reply.send(solve(work, watch.as_ref()));
        };
        std::thread::Builder::new().name("fit".into()).spawn(run)?;
        Ok(Self { shared, result })
    }

    /// How far the solver is.
    pub(crate) fn step(&self) -> Step {
        let (done, total) = (&self.shared.done, &self.shared.total);
        let (done, total) = (done.load(Ordering::Relaxed) as usize, total.load(Ordering::Relaxed) as usize);
        if self.shared.is_solving.load(Ordering::Relaxed) {
            Step::Solving { done, total }
        } else {
            Step::Searching { done, total }
        }
    }

    /// The result; `None` where the thread has ended without one.
    pub(crate) async fn result(&mut self) -> Option<Result<Solved, FitError>> {
        (&mut self.result).await.ok()
    }
}

impl Drop for Solving {
    fn drop(&mut self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }
}

fn solve(work: Work, watch: &dyn Watch) -> Result<Solved, FitError> {
    let Work { train, validation, settings, thresholds } = work;
    let mut fitted = fitting::fit(&train, validation.as_ref(), &settings, watch)?;
    let unseen = std::mem::take(&mut fitted.unseen);
    // The vectors are let go before their room is needed again.
    let answers = validation.unwrap_or(train).into_answers();
    let beside = Beside { temperature: fitted.temperature, thresholds };
    let judged = figures::judge(&answers, fitted.bias.len(), &unseen, beside);
    Ok(Solved { fitted: Arc::new(fitted), judged })
}
