//! The matrix gives what each head alone gives, holds equal weights once, and follows the live table.

use super::*;
use crate::head::{HeadKind, HeadParts};
use crate::task::{TaskKey, TenantName};
use crate::testing::publish;

const HIDDEN: usize = 37;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| (((seed * 1_009 + index) as f64 * 12.9898).sin() * 4.0) as f32).collect()
}

fn head(kind: HeadKind, outputs: usize, seed: usize, bias: f32) -> Arc<Head> {
    let weight = numbers(outputs * HIDDEN, seed).into();
    let parts = HeadParts { weight, bias: vec![bias; outputs].into(), ..HeadParts::default() };
    Arc::new(Head::new(kind, HIDDEN, parts).unwrap())
}

fn output() -> RowOutput {
    RowOutput {
        pooled: Some(numbers(HIDDEN, 77).into()),
        tokens: Some(numbers(3 * HIDDEN, 78).into()),
        ..RowOutput::default()
    }
}

#[test]
fn every_head_gets_bit_for_bit_what_it_gets_alone() {
    let known = [
        head(HeadKind::Classification, 3, 1, 0.5),
        head(HeadKind::MultiLabel, 3, 1, -0.5),
        head(HeadKind::Regression, 1, 2, 0.0),
        head(HeadKind::TokenClassification, 4, 3, 0.0),
        head(HeadKind::Classification, 20, 4, 1.0),
    ];
    let matrix = HeadMatrix::new(1, known.to_vec());
    assert_eq!(matrix.heads.len(), 4, "token heads have no row");
    let trial = head(HeadKind::Classification, 2, 9, 0.25);
    let asked = [&known[4], &trial, &known[3], &known[0], &known[1], &known[0], &known[2]];
    let scores = matrix.score_all(&asked, &output());
    let alone: Vec<_> = asked.iter().map(|head| score(head, &output())).collect();
    assert_eq!(scores, alone);
    assert!(alone.iter().all(Result::is_ok));
}

#[test]
fn equal_weights_are_stored_once_and_keep_their_own_biases() {
    let heads = [(1, 0.0), (2, 0.0), (1, 8.0)].map(|(seed, bias)| head(HeadKind::Classification, 3, seed, bias));
    let matrix = HeadMatrix::new(1, heads.to_vec());
    assert_eq!((matrix.weights.len(), matrix.biases.len()), (6 * HIDDEN, 9));
    let scores = matrix.score_all(&heads.each_ref(), &output());
    assert_ne!(scores[0], scores[2]);
}

#[test]
fn a_head_that_overflows_and_a_missing_vector_are_errors_of_their_own() {
    let mut parts = HeadParts { bias: vec![0.0].into(), ..HeadParts::default() };
    parts.weight = output().pooled.unwrap().iter().map(|x| f32::MAX.copysign(*x)).collect();
    let huge = Arc::new(Head::new(HeadKind::Regression, HIDDEN, parts).unwrap());
    let heads = [huge, head(HeadKind::Regression, 1, 2, 0.0)];
    let matrix = HeadMatrix::new(1, heads.to_vec());
    let scores = matrix.score_all(&heads.each_ref(), &output());
    assert_eq!(scores[0], Err(EngineError::NotFinite));
    assert!(scores[1].is_ok());
    let missing = matrix.score_all(&heads.each_ref(), &RowOutput::default());
    assert!(missing.iter().all(|scores| matches!(scores, Err(EngineError::Internal(_)))));
}

#[test]
fn the_matrix_follows_the_live_table_and_forgets_what_is_gone() {
    let (live, current) = (LiveTable::default(), CurrentMatrix::default());
    assert!(current.of(&live).heads.is_empty());
    let (one, other) = (head(HeadKind::Classification, 3, 1, 0.0), head(HeadKind::Classification, 2, 2, 0.0));
    publish(&live, "one", &one);
    publish(&live, "other", &other);
    let both = current.of(&live);
    assert_eq!(both.weights.len(), 5 * HIDDEN);
    assert!(Arc::ptr_eq(&both, &current.of(&live)), "without a change nothing is built");
    live.withdraw(&TaskKey { tenant: TenantName::default_tenant(), task: "one".parse().unwrap() });
    let rest = current.of(&live);
    assert_eq!(rest.weights.len(), 2 * HIDDEN);
    assert!(rest.place_of(&one).is_none() && rest.place_of(&other).is_some());
}
