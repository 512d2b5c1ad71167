//! A row's answer is the same however the batch is padded: what a GPU's layouts compute, held to the processor's.

use engine::{RowOutput, VectorKind};

use super::*;
use crate::graphs::Bucket;
use crate::packing::{Granularity, Packing};

const TOLERANCE: f32 = 1e-5;

fn rows(lengths: &[usize]) -> Vec<Row> {
    lengths.iter().enumerate().map(|(seed, length)| row(*length, seed)).collect()
}

fn assert_alike(found: &[RowOutput], expected: &[RowOutput]) {
    assert_eq!(found.len(), expected.len());
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = largest_difference(found, expected);
        assert!(difference <= TOLERANCE, "row {place}: {difference}");
    }
}

#[test]
fn rows_padded_to_whole_tiles_answer_as_rows_alone() {
    let mut model = load_random(Precision::Fp32, true);
    let rows = rows(&[5, 1, 32, 16, 17, 31, 2, 30]);
    let expected = model.forward(&rows).unwrap();
    model.encoder.granularity = Granularity::Tiles;
    assert_alike(&model.forward(&rows).unwrap(), &expected);
}

#[test]
fn every_token_of_a_padded_row_is_its_own() {
    let mut model = load_random(Precision::Fp32, true);
    let mut rows = rows(&[5, 20, 32]);
    for row in &mut rows {
        row.heads.push(head(HeadKind::TokenClassification, 3, 1.0));
    }
    let expected = model.forward(&rows).unwrap();
    model.encoder.granularity = Granularity::Tiles;
    let found = model.forward(&rows).unwrap();
    assert_eq!(found[1].scores[1].positions, 20);
    assert_alike(&found, &expected);
}

#[test]
fn a_batch_filled_up_to_a_bucket_answers_as_its_rows_alone() {
    let mut model = load_random(Precision::Fp32, true);
    let rows = rows(&[9, 3, 28]);
    let expected = model.forward(&rows).unwrap();
    let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
    let bucket = Bucket::holding(&lengths).unwrap();
    assert_eq!(bucket, Bucket { rows: 4, length: 32 });
    let packing = Packing::in_bucket(&lengths, bucket);
    let input = model.embeddings.forward(&rows, &packing).unwrap();
    let first = on_host(&model.encoder.forward(&input, &packing, false).unwrap().first).unwrap();
    for (place, index) in packing.order.iter().enumerate() {
        let found = &first[place * HIDDEN..(place + 1) * HIDDEN];
        assert_eq!(rows[*index].vector, Some(VectorKind::Cls));
        let expected = expected[*index].vector.as_ref().unwrap();
        let largest = found.iter().zip(expected.iter()).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(largest <= TOLERANCE, "row {index}: {largest}");
    }
    assert!(first.iter().all(|number| number.is_finite()), "the spare row holds numbers too");
}
