//! What threads meet at: the standard library's locks and atomics, or, under the feature `models`, a checker's, which
//! tries every order in which threads can come there and every value that an atomic may yet show.

#[cfg(not(feature = "models"))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicUsize},
    sync::{Condvar, Mutex, MutexGuard},
    thread::{Builder, JoinHandle, yield_now},
};

#[cfg(feature = "models")]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicUsize},
    sync::{Condvar, Mutex, MutexGuard},
    thread::{Builder, JoinHandle, yield_now},
};

/// A thread of that name.
pub(crate) fn spawn(name: String, life: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    Builder::new().name(name).spawn(life)
}

/// How often a thread looks before it does something else: a model learns nothing from the second time.
pub(crate) const fn looks(often: u32) -> u32 {
    if cfg!(feature = "models") { 1 } else { often }
}
