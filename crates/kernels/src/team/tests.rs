//! Regions on real threads.

use super::*;

#[test]
fn every_task_of_every_step_is_done_once_and_steps_do_not_overlap() {
    for members in [1, 2, 3] {
        let mut team = Team::new(members, 2).unwrap();
        for round in 0..200 {
            let done: Vec<AtomicUsize> = (0..37).map(|_| AtomicUsize::new(0)).collect();
            let doubled: Vec<AtomicUsize> = (0..37).map(|_| AtomicUsize::new(0)).collect();
            team.run(&|member| {
                member.share(37, |task| {
                    done[task].fetch_add(task + round, Ordering::Relaxed);
                });
                member.wait();
                member.share(37, |task| {
                    let other = done[36 - task].load(Ordering::Relaxed);
                    doubled[task].fetch_add(2 * other, Ordering::Relaxed);
                });
            });
            for (task, doubled) in doubled.iter().enumerate() {
                assert_eq!(doubled.load(Ordering::Relaxed), 2 * (36 - task + round));
            }
        }
    }
}

#[test]
fn a_panic_on_any_member_ends_the_region_for_all() {
    for culprit in [0, 1] {
        let mut team = Team::new(2, 1).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            team.run(&|member| {
                assert!(member.index != culprit, "on purpose");
                member.wait();
            });
        }));
        assert!(outcome.is_err());
    }
}
