//! What threads meet at: the standard library's locks and atomics, or, under the feature `models`, a checker's, which
//! tries every order in which threads can come there.

#[cfg(not(feature = "models"))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize},
};

#[cfg(feature = "models")]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize},
};

/// A place where threads come to something that a library guards, a map or a semaphore: each of its calls is one step.
/// Nothing but a mark, unless a model is tried: there it is where the checker chooses who goes first.
#[derive(Debug, Default)]
pub(crate) struct Meeting {
    #[cfg(feature = "models")]
    passed: AtomicUsize,
}

impl Meeting {
    /// A step comes.
    pub(crate) fn pass(&self) {
        #[cfg(feature = "models")]
        self.passed.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
    }
}
