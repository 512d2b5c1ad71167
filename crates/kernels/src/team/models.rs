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
fn steps_of_a_region_do_not_overlap_and_regions_follow_one_another() {
    every_order(|| {
        let mut team = Team::new(2, 2).unwrap();
        let places = [Place::new(), Place::new()];
        for region in 1..=2 {
            let sums = [Place::new(), Place::new()];
            team.run(&|member| {
                member.share(2, |task| places[task].add(1));
                member.wait();
                member.share(2, |task| sums[task].add(places[0].get() + places[1].get()));
            });
            assert_eq!(sums.map(|sum| sum.get()), [2 * region; 2]);
        }
    });
}

#[test]
fn a_member_that_panics_is_waited_for_by_nobody() {
    for culprit in [0, 1] {
        every_order(move || {
            let mut team = Team::new(2, 1).unwrap();
            let region = catch_unwind(AssertUnwindSafe(|| {
                team.run(&|member| {
                    if member.index == culprit {
                        // Without the hook of a panic, which would print for every order.
                        std::panic::resume_unwind(Box::new("on purpose"));
                    }
                    member.wait();
                });
            }));
            assert!(region.is_err());
        });
    }
}

#[test]
fn a_team_ends_whether_its_members_sleep_or_not() {
    every_order(|| {
        let mut team = Team::new(2, 1).unwrap();
        let done = AtomicUsize::new(0);
        team.run(&|member| {
            member.share(1, |_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(done.load(Ordering::Relaxed), 1);
    });
}
