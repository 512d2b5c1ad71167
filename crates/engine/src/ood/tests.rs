//! Behaviour: near text scores low, far text high, and the same vectors always give the same statistics.

use std::sync::Arc;

use super::*;
use crate::head::{HeadKind, HeadParts};
use crate::trust::Trust;

const WIDTH: usize = 24;

/// Vectors around one direction, whose lengths differ widely.
fn vectors(count: usize, direction: usize, seed: u32) -> Vec<Vec<f32>> {
    let mut state = seed;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let mut vector = |number: usize| {
        let length = 1.0 + (number % 7) as f32;
        (0..WIDTH).map(|at| length * (noise() + if at % 3 == direction { 2.0 } else { 0.0 })).collect()
    };
    (0..count).map(&mut vector).collect()
}

fn borrowed(vectors: &[Vec<f32>]) -> Vec<&[f32]> {
    vectors.iter().map(Vec::as_slice).collect()
}

fn fitted() -> OodStatistics {
    OodStatistics::fit(&borrowed(&vectors(400, 0, 1))).unwrap()
}

#[test]
fn most_text_of_the_same_kind_stays_within_one_and_other_text_does_not() {
    let statistics = fitted();
    let within =
        |vectors: Vec<Vec<f32>>| vectors.iter().filter(|vector| statistics.score(vector).unwrap() <= 1.0).count();
    assert!((185..200).contains(&within(vectors(200, 0, 2))), "{}", within(vectors(200, 0, 2)));
    assert_eq!(within(vectors(200, 1, 3)), 0);
}

#[test]
fn the_length_of_a_vector_does_not_matter() {
    let statistics = fitted();
    let vector = &vectors(1, 1, 4)[0];
    let longer: Vec<f32> = vector.iter().map(|value| value * 64.0).collect();
    assert_eq!(statistics.score(vector), statistics.score(&longer));
    assert!(statistics.score(&[0.0; WIDTH]).unwrap().is_finite());
}

#[test]
fn the_same_vectors_give_the_same_statistics_and_what_is_written_reads_back() {
    let statistics = fitted();
    assert_eq!(statistics, fitted());
    let OodStatistics { vectors, scale, mean, deviation } = statistics.clone();
    assert!(mean.iter().chain(&deviation).all(|number| number.to_bits() & 0xffff == 0));
    assert_eq!(OodStatistics::new(vectors, scale, mean, deviation), Ok(statistics));
}

#[test]
fn equal_vectors_have_statistics_too() {
    let equal = vec![vec![1.0; WIDTH]; MIN_OOD_VECTORS];
    let statistics = OodStatistics::fit(&borrowed(&equal)).unwrap();
    assert!(statistics.score(&equal[0]).unwrap().is_finite());
    assert!(statistics.score(&vectors(1, 1, 5)[0]).unwrap() > 10.0);
}

#[test]
fn what_makes_no_statistics_is_refused() {
    let few = vectors(MIN_OOD_VECTORS - 1, 0, 1);
    assert_eq!(OodStatistics::fit(&borrowed(&few)), Err(OodError::TooFew { found: MIN_OOD_VECTORS - 1 }));
    let mut odd = vectors(30, 0, 1);
    odd[7].pop();
    let refused = OodStatistics::fit(&borrowed(&odd));
    assert_eq!(refused, Err(OodError::Width { index: 7, found: WIDTH - 1, expected: WIDTH }));
    let mut nan = vectors(30, 0, 1);
    nan[7][3] = f32::NAN;
    assert!(matches!(OodStatistics::fit(&borrowed(&nan)), Err(OodError::Number { .. })));
    let made = |scale, mean, deviation| OodStatistics::new(9, scale, vec![mean], vec![deviation]);
    assert!(made(1.0, 0.0, 1.0).is_ok());
    for (scale, mean, deviation) in [(0.0, 0.0, 1.0), (f32::NAN, 0.0, 1.0), (1.0, f32::INFINITY, 1.0), (1.0, 0.0, 0.0)]
    {
        assert!(matches!(made(scale, mean, deviation), Err(OodError::Number { .. })), "{scale} {mean} {deviation}");
    }
    assert!(OodStatistics::new(9, 1.0, vec![0.0; 2], vec![1.0]).is_err());
}

#[test]
fn rows_without_the_embedding_they_were_fitted_with_have_no_score() {
    let head = |task_embedding: Option<Arc<[f32]>>| {
        let trust = Trust { ood: Some(Arc::new(fitted())), ..Trust::default() };
        let parts = HeadParts {
            weight: vec![0.0; WIDTH].into(),
            bias: vec![0.0].into(),
            task_embedding,
            trust,
            ..HeadParts::default()
        };
        Head::new(HeadKind::Reward, WIDTH, parts).unwrap()
    };
    let outputs =
        vectors(2, 0, 6).into_iter().map(|pooled| RowOutput { pooled: Some(pooled.into()), cls: None, tokens: None });
    let outputs: Vec<_> = outputs.collect();
    let (with, without) = (head(Some([0.0; 4].into())), head(None));
    let mean = outputs.iter().map(|output| fitted().score(output.pooled.as_ref().unwrap()).unwrap()).sum::<f32>() / 2.0;
    assert_eq!(score_of_rows(&with, Mode::Exact, outputs.iter()), Some(mean));
    assert_eq!(score_of_rows(&without, Mode::Shared, outputs.iter()), Some(mean));
    assert_eq!(score_of_rows(&with, Mode::Shared, outputs.iter()), None);
    assert_eq!(score_of_rows(&with, Mode::Exact, [].iter()), None);
    assert_eq!(score_of_rows(&with, Mode::Exact, [RowOutput::default()].iter()), None);
}
