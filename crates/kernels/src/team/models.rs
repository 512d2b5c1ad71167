//! Every order in which the threads of a team can meet.

use loom::cell::UnsafeCell;

use super::*;

/// Switches of threads that are not forced: more than three have not been needed to show a fault.
const PREEMPTIONS: usize = 3;

fn every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut checker = loom::model::Builder::new();
    checker.preemption_bound = Some(PREEMPTIONS);
    checker.check(model);
}

/// Memory that a member writes in one step and another reads in the next. The checker complains of a read that is not
/// after the write.
struct Place(UnsafeCell<usize>);

// SAFETY: that no two members are at it at once is what the models show.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn add(&self, amount: usize) {
        // SAFETY: as above.
        self.0.with_mut(|number| unsafe { *number += amount });
    }

    fn get(&self) -> usize {
        // SAFETY: as above.
        self.0.with(|number| unsafe { *number })
    }
}

#[test]
fn a_team_of_one_needs_nobody() {
    every_order(|| {
        let mut team = Team::new(1, 1).unwrap();
        let place = Place::new();
        team.run(&|member| {
            member.share(1, |_| place.add(1));
            member.wait();
        });
        assert_eq!(place.get(), 1);
    });
}
