//! Who watches a fit: told how far it is, and able to end it.

/// How far a fit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Fits of the search for a strength, done and in all.
    Searching {
        /// Done.
        done: usize,
        /// In all; fewer where the search ends early.
        total: usize,
    },
    /// Iterations of the last fit, done and at most.
    Solving {
        /// Done.
        done: usize,
        /// At most.
        total: usize,
    },
}

/// Who watches a fit. Called from the fit's own thread, about every millisecond.
pub trait Watch {
    /// Whether the fit shall end now, without a result. The fit stands still until it returns, so a watch may also hold
    /// it up while the processor is wanted elsewhere.
    fn is_cancelled(&self) -> bool;

    /// The fit has come so far.
    fn step(&self, step: Step);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn step(&self, _: Step) {}
}
