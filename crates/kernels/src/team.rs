//! A fixed team of threads that runs one piece of work together, step by step.
//!
//! A forward pass is one region: every member runs the same function, takes tasks of a step from a shared counter, and
//! waits for the others between steps. Waits spin for a moment, because a step takes microseconds, and then give the
//! core away, because somebody else may need it to let us go on.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::placement::Placement;
use crate::sync::{
    AtomicBool, AtomicUsize, Condvar, JoinHandle, Mutex, MutexGuard, looks, spawn, spin_loop, yield_now,
};

/// Looks at a barrier before the core is given away: some ten microseconds.
const BARRIER_SPINS: u32 = looks(2_000);
/// Looks for the next region before a member goes to sleep: some fifty microseconds.
const REGION_SPINS: u32 = looks(8_000);

type Work = dyn Fn(&Member<'_>) + Sync;

/// Threads that wait for work.
#[derive(Debug)]
pub(crate) struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    members: usize,
    /// The region in progress, or the end.
    order: Mutex<Order>,
    changed: Condvar,
    /// Regions begun: what idle members look at.
    regions: AtomicUsize,
    /// Helpers that have left the region.
    left: AtomicUsize,
    arrived: AtomicUsize,
    phase: AtomicUsize,
    /// A member panicked: nobody waits for it.
    broken: AtomicBool,
    /// One a step: the next task that nobody has.
    next_tasks: Vec<Padded>,
    placement: Placement,
}

/// A counter with a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicUsize);

#[derive(Debug, Clone, Copy)]
enum Order {
    Wait,
    Run(WorkPointer),
    End,
}

#[derive(Debug, Clone, Copy)]
struct WorkPointer(*const Work);

// SAFETY: the function behind it is `Sync`, and `Team::run` keeps it alive until every member has left the region.
unsafe impl Send for WorkPointer {}

/// One thread's part in a region.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    shared: &'a Shared,
    /// Which member this is, from 0.
    pub(crate) index: usize,
    step: Cell<usize>,
}

impl Team {
    /// A team of `members` threads, the caller's among them, for regions of at most `steps` steps.
    pub(crate) fn new(members: usize, steps: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            members: members.max(1),
            order: Mutex::new(Order::Wait),
            changed: Condvar::new(),
            regions: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            arrived: AtomicUsize::new(0),
            phase: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            next_tasks: (0..steps).map(|_| Padded::default()).collect(),
            placement: Placement::new(members.max(1)),
        });
        let mut team = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for index in 1..shared.members {
            let shared = Arc::clone(&shared);
            team.threads.push(spawn(format!("encoder-{index}"), move || shared.serve(index))?);
        }
        Ok(team)
    }

    pub(crate) fn members(&self) -> usize {
        self.shared.members
    }

    /// Runs `work` on every member and returns when all are done.
    ///
    /// # Panics
    /// If a member's part panicked. The team is then of no further use.
    pub(crate) fn run(&mut self, work: &(dyn Fn(&Member<'_>) + Sync)) {
        let shared = &*self.shared;
        assert!(!shared.broken.load(Ordering::Acquire), "the team was broken by an earlier panic");
        for next in &shared.next_tasks {
            next.0.store(0, Ordering::Relaxed);
        }
        shared.left.store(0, Ordering::Relaxed);
        // SAFETY: only the lifetime changes. The pointer is used by members inside the region alone, and this call
        // does not return, nor unwind, before all of them have left it.
        let pointer = WorkPointer(unsafe { std::mem::transmute::<&(dyn Fn(&Member<'_>) + Sync), *const Work>(work) });
        if shared.members > 1 {
            shared.placement.settle(0);
            shared.give(Order::Run(pointer));
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&shared.member(0))));
        if outcome.is_err() {
            shared.broken.store(true, Ordering::Release);
        }
        wait_until(|| shared.left.load(Ordering::Acquire) == shared.members - 1);
        *shared.lock() = Order::Wait;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        assert!(!shared.broken.load(Ordering::Acquire), "a member of the team panicked");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.give(Order::End);
        for thread in self.threads.drain(..) {
            // Its panic was told when it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn member(&self, index: usize) -> Member<'_> {
        Member { shared: self, index, step: Cell::new(0) }
    }

    /// Tells the helpers what is next. Counted under the lock: a helper that has looked and is about to sleep holds it.
    fn give(&self, next: Order) {
        let mut order = self.lock();
        *order = next;
        self.regions.fetch_add(1, Ordering::Release);
        drop(order);
        self.changed.notify_all();
    }

    /// A helper's life.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            let work = match self.next_order(&mut seen) {
                Order::Run(work) => work,
                Order::Wait => continue,
                Order::End => return,
            };
            self.placement.settle(index);
            // SAFETY: `Team::run` waits for `left` before it gives up what the pointer points at.
            let work = unsafe { &*work.0 };
            if catch_unwind(AssertUnwindSafe(|| work(&self.member(index)))).is_err() {
                self.broken.store(true, Ordering::Release);
            }
            self.left.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The next order after the `seen` regions, awake for a moment and then asleep.
    fn next_order(&self, seen: &mut usize) -> Order {
        for _ in 0..REGION_SPINS {
            if self.regions.load(Ordering::Acquire) != *seen {
                break;
            }
            spin_loop();
        }
        let mut order = self.lock();
        while self.regions.load(Ordering::Acquire) == *seen {
            order = self.changed.wait(order).unwrap_or_else(PoisonError::into_inner);
        }
        *seen += 1;
        *order
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        // The lock only ever guards a whole assignment.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member<'_> {
    /// One step: calls `task` for every number below `tasks` that no other member has taken. Every member must take
    /// part in the same steps in the same order.
    pub(crate) fn share(&self, tasks: usize, mut task: impl FnMut(usize)) {
        let step = self.step.replace(self.step.get() + 1);
        let next = &self.shared.next_tasks[step].0;
        loop {
            let taken = next.fetch_add(1, Ordering::Relaxed);
            if taken >= tasks {
                return;
            }
            task(taken);
        }
    }

    /// Waits until every member is here. What they wrote before is seen after.
    ///
    /// # Panics
    /// If another member panicked.
    pub(crate) fn wait(&self) {
        let shared = self.shared;
        let phase = shared.phase.load(Ordering::Acquire);
        if shared.arrived.fetch_add(1, Ordering::AcqRel) + 1 == shared.members {
            shared.arrived.store(0, Ordering::Relaxed);
            shared.phase.store(phase + 1, Ordering::Release);
            return;
        }
        let broken = || shared.broken.load(Ordering::Acquire);
        wait_until(|| shared.phase.load(Ordering::Acquire) != phase || broken());
        assert!(!broken(), "another member of the team panicked");
    }
}

fn wait_until(reached: impl Fn() -> bool) {
    let mut spins = 0_u32;
    while !reached() {
        spins += 1;
        if spins < BARRIER_SPINS {
            spin_loop();
        } else {
            yield_now();
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "models"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "models")]
mod models;
