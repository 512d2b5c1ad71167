//! A row's answer is the same however the batch is padded: what a GPU's layouts compute, held to the processor's.

use engine::RowOutput;

use super::*;
use crate::batch::{Batch, HostBatch, Surroundings};
use crate::graphs::Bucket;
use crate::packing::{Granularity, Packing};
use crate::tensors::on_host;

const TOLERANCE: f32 = 1e-5;

fn rows(lengths: &[usize]) -> Vec<Row> {
    lengths.iter().enumerate().map(|(seed, length)| row(*length, seed)).collect()
}

fn plain(model: &mut Deberta) -> &mut Tensors {
    let Backbone::Tensors(tensors) = &mut model.backbone else { panic!("libtorch was asked for") };
    tensors
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
    let mut model = load_tensors(Device::Cpu, Precision::Fp32);
    let rows = rows(&[5, 1, 32, 16, 17, 31, 2, 30]);
    let expected = model.forward(&rows).unwrap();
    plain(&mut model).encoder.granularity = Granularity::Tiles;
    assert_alike(&model.forward(&rows).unwrap(), &expected);
}

#[test]
fn every_token_of_a_padded_row_is_its_own() {
    let mut model = load_tensors(Device::Cpu, Precision::Fp32);
    let mut rows = rows(&[5, 20, 32]);
    for row in &mut rows {
        row.reads.tokens = true;
    }
    let expected = model.forward(&rows).unwrap();
    plain(&mut model).encoder.granularity = Granularity::Tiles;
    let found = model.forward(&rows).unwrap();
    assert_eq!(found[1].tokens.as_ref().map(|tokens| tokens.len()), Some(20 * HIDDEN));
    assert_alike(&found, &expected);
}

#[test]
fn a_batch_that_became_another_answers_as_the_other() {
    let mut model = load_tensors(Device::Cpu, Precision::Fp32);
    let tensors = plain(&mut model);
    let (placement, reach) = (tensors.embeddings.placement(), tensors.encoder.reach(32).unwrap());
    let mut embedded = rows(&[5, 28]);
    embedded[1].task_embedding = Some(noise(HIDDEN, 99).into());
    let host = |rows: &[Row]| {
        let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
        let packing = Packing::filled_up(&lengths, (4, 32));
        (HostBatch::new(rows, &packing, tensors.embeddings.inputs()), packing)
    };
    let surroundings = || Surroundings { placement, reach, adapters: Vec::new(), fused: None };
    let first = |batch: &Batch| {
        let input = tensors.embeddings.forward(batch).unwrap();
        on_host(&tensors.encoder.forward(&input, &batch.layout, false).unwrap().first).unwrap()
    };
    let ((one, packing), (other, _)) = (host(&rows(&[9, 3, 28])), host(&embedded));
    let mut batch = one.place(&packing, surroundings()).unwrap();
    let (before, expected) = (first(&batch), first(&other.place(&packing, surroundings()).unwrap()));
    batch.become_like(&other).unwrap();
    assert_eq!(first(&batch), expected);
    batch.become_like(&one).unwrap();
    assert_eq!(first(&batch), before, "and it can become what it was");
    assert_ne!(before, expected);
}

#[test]
fn a_batch_filled_up_to_a_bucket_answers_as_its_rows_alone() {
    let mut model = load_tensors(Device::Cpu, Precision::Fp32);
    let rows = rows(&[9, 3, 28]);
    let expected = model.forward(&rows).unwrap();
    let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
    let shape = Bucket::padded(&lengths).unwrap();
    assert_eq!(shape, (4, 32));
    let packing = Packing::filled_up(&lengths, shape);
    let tensors = plain(&mut model);
    let (placement, reach) = (tensors.embeddings.placement(), tensors.encoder.reach(packing.longest).unwrap());
    let surroundings = Surroundings { placement, reach, adapters: Vec::new(), fused: None };
    let batch = HostBatch::new(&rows, &packing, tensors.embeddings.inputs()).place(&packing, surroundings).unwrap();
    let input = tensors.embeddings.forward(&batch).unwrap();
    let first = on_host(&tensors.encoder.forward(&input, &batch.layout, false).unwrap().first).unwrap();
    for (place, index) in packing.order.iter().enumerate() {
        let found = &first[place * HIDDEN..(place + 1) * HIDDEN];
        let expected = expected[*index].cls.as_ref().unwrap();
        let largest = found.iter().zip(expected.iter()).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(largest <= TOLERANCE, "row {index}: {largest}");
    }
    assert!(first.iter().all(|number| number.is_finite()), "the spare row holds numbers too");
}
