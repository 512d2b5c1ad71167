//! A core for each member of a team.
//!
//! A member that wakes while its last core is busy for another microsecond is often put beside the one who woke it. Two
//! members on one core take twice as long, and the system looks for such cases every few milliseconds only: a whole
//! forward may be over by then. So a member that finds itself beside another one moves, and stays as free as before.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

const NOWHERE: usize = usize::MAX;

/// Where the members of a team were when they entered the present region.
#[derive(Debug)]
pub(crate) struct Placement {
    cores: Vec<AtomicUsize>,
}

impl Placement {
    pub(crate) fn new(members: usize) -> Self {
        Self { cores: (0..members).map(|_| AtomicUsize::new(NOWHERE)).collect() }
    }

    /// Called by member `index` as it enters a region: leaves the core of a member with a lower number.
    pub(crate) fn settle(&self, index: usize) {
        let mut core = sched_getcpu();
        let before = &self.cores[..index];
        if before.iter().any(|other| other.load(Ordering::Relaxed) == core) && self.leave(index) {
            core = sched_getcpu();
        }
        self.cores[index].store(core, Ordering::Relaxed);
    }

    /// Whether there was a core to go to: one that is allowed and that no member with a lower number has.
    fn leave(&self, index: usize) -> bool {
        let Ok(allowed) = sched_getaffinity(None) else { return false };
        let mut free = allowed;
        for other in &self.cores[..index] {
            let core = other.load(Ordering::Relaxed);
            if core < CpuSet::MAX_CPU {
                free.unset(core);
            }
        }
        let moved = free.count() > 0 && sched_setaffinity(None, &free).is_ok();
        // It was allowed before, so it is now; a failure would leave the thread on the cores that are free.
        moved && sched_setaffinity(None, &allowed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_beside_another_one_moves_and_may_still_go_everywhere() {
        let allowed = sched_getaffinity(None).unwrap();
        if allowed.count() < 2 {
            return;
        }
        let placement = Placement::new(2);
        for _ in 0..100 {
            let first = sched_getcpu();
            placement.cores[0].store(first, Ordering::Relaxed);
            placement.settle(1);
            let second = placement.cores[1].load(Ordering::Relaxed);
            assert_ne!(second, first);
            assert_eq!(sched_getaffinity(None).unwrap(), allowed);
        }
    }

    #[test]
    fn a_team_larger_than_the_machine_stays_where_it_is() {
        let placement = Placement::new(CpuSet::MAX_CPU + 1);
        for core in 0..CpuSet::MAX_CPU {
            placement.cores[core].store(core, Ordering::Relaxed);
        }
        assert!(!placement.leave(CpuSet::MAX_CPU));
    }
}
