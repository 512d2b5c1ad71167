//! Every order in which threads can meet at what the engine shares: permits, a tenant's rows, the live table.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize};
use loom::thread;

use crate::admission::Admission;
use crate::allowance::Allowance;
use crate::error::EngineError;
use crate::head::{Head, HeadKind, HeadParts};
use crate::head_matrix::CurrentMatrix;
use crate::live::LiveTable;
use crate::quota::Quota;
use crate::testing::{publish, small_limits};

/// Tries the model in every order of its threads with so many switches that nothing forces.
pub(crate) fn every_order(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut checker = loom::model::Builder::new();
    checker.preemption_bound = Some(preemptions);
    checker.max_branches = 10_000;
    checker.check(model);
}

#[test]
fn nothing_is_served_once_a_drain_has_ended() {
    every_order(4, || {
        let admission = Arc::new(Admission::new(&small_limits()));
        let [begun, ended] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let caller = thread::spawn({
            let (admission, begun, ended) = (Arc::clone(&admission), Arc::clone(&begun), Arc::clone(&ended));
            move || match admission.admit(1, 1) {
                Ok(permit) => {
                    begun.fetch_add(1, Ordering::AcqRel);
                    ended.fetch_add(1, Ordering::AcqRel);
                    drop(permit);
                }
                Err(refused) => assert_eq!(refused, EngineError::Draining),
            }
        });
        admission.close();
        block_on(admission.idle());
        // The newest number, as a semaphore would have it: the checker does not see that it orders what is around it.
        let served = ended.fetch_add(0, Ordering::AcqRel);
        caller.join().unwrap();
        assert_eq!(begun.load(Ordering::Acquire), served);
        assert_eq!(admission.in_flight_rows(), 0);
    });
}

#[test]
fn a_tenant_never_has_more_rows_in_flight_than_its_quota() {
    every_order(4, || {
        let allowance = Arc::<Allowance>::default();
        allowance.limit(&Quota { rows_in_flight: Some(2), ..Quota::default() });
        let out = Arc::new(AtomicUsize::new(0));
        let callers = [1, 2].map(|rows| {
            let (allowance, out) = (Arc::clone(&allowance), Arc::clone(&out));
            thread::spawn(move || {
                let taken = allowance.take_rows(rows);
                if taken.is_ok() {
                    assert!(out.fetch_add(rows, Ordering::AcqRel) + rows <= 2);
                    out.fetch_sub(rows, Ordering::AcqRel);
                }
                taken.is_ok()
            })
        });
        let taken = callers.map(|caller| caller.join().unwrap());
        assert!(taken.contains(&true), "one of them was first");
        assert_eq!(allowance.used().rows_in_flight, 0);
    });
}

fn head(bias: f32) -> Arc<Head> {
    let parts = HeadParts { weight: vec![1.0].into(), bias: vec![bias].into(), ..HeadParts::default() };
    Arc::new(Head::new(HeadKind::Regression, 1, parts).unwrap())
}

#[test]
fn a_head_whose_swap_was_acknowledged_is_in_every_matrix_asked_for_later() {
    every_order(4, || {
        let (live, matrix) = (Arc::<LiveTable>::default(), Arc::<CurrentMatrix>::default());
        let [old, new] = [0.0, 1.0].map(head);
        publish(&live, "glue/cola", &old);
        let acknowledged = Arc::new(AtomicBool::new(false));
        let writer = thread::spawn({
            let (live, new, acknowledged) = (Arc::clone(&live), Arc::clone(&new), Arc::clone(&acknowledged));
            move || {
                publish(&live, "glue/cola", &new);
                acknowledged.store(true, Ordering::Release);
            }
        });
        for _ in 0..2 {
            let must_be_new = acknowledged.load(Ordering::Acquire);
            let seen = matrix.of(&live);
            assert!(seen.holds(&old) != seen.holds(&new), "one of the two, never both or none");
            assert!(seen.holds(&new) || !must_be_new);
        }
        writer.join().unwrap();
        assert!(matrix.of(&live).holds(&new));
    });
}
