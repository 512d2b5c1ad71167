//! What holds on a GPU alone. Without one each test says that it was skipped.

use std::io::Write;

use super::*;

/// Whether `test` can run; a line past the test harness says so where it cannot.
fn has_gpu(test: &str) -> bool {
    let found = tch::Cuda::is_available();
    if !found {
        writeln!(std::io::stderr(), "{test}: skipped: no GPU").unwrap();
    }
    found
}

fn mixed_rows() -> Vec<Row> {
    (1..=32).map(|length| row(length, length)).collect()
}

fn largest(one: &[RowOutput], other: &[RowOutput]) -> f32 {
    one.iter().zip(other).map(|(one, other)| largest_difference(one, other)).fold(0.0, f32::max)
}

#[test]
fn a_gpu_answers_as_the_processor() {
    if !has_gpu("a_gpu_answers_as_the_processor") {
        return;
    }
    let (mut gpu, mut cpu) =
        (load_tensors(Device::Cuda(0), Precision::Fp32), load_tensors(Device::Cpu, Precision::Fp32));
    let (rows, more): (Vec<Row>, Vec<Row>) = (mixed_rows(), (0..200).map(|seed| row(1 + seed % 32, seed)).collect());
    for batch in [&rows[..1], &rows[..5], &rows, &more] {
        let difference = largest(&gpu.forward(batch).unwrap(), &cpu.forward(batch).unwrap());
        assert!(difference < 1e-4, "{} rows: {difference}", batch.len());
    }
}

#[test]
fn a_replay_answers_as_the_run_that_was_recorded() {
    if !has_gpu("a_replay_answers_as_the_run_that_was_recorded") {
        return;
    }
    let mut model = load_tensors(Device::Cuda(0), Precision::Fp32);
    for length in [3, 20] {
        let (first, second) = (model.forward(&[row(length, 0)]).unwrap(), model.forward(&[row(length, 1)]).unwrap());
        let again = [model.forward(&[row(length, 0)]).unwrap(), model.forward(&[row(length, 1)]).unwrap()];
        assert!(largest(&first, &again[0]) < 1e-5 && largest(&second, &again[1]) < 1e-5);
        assert!(largest(&first, &second) > 1e-3, "another input has another answer");
    }
}

#[test]
fn half_precision_stays_near_fp32() {
    if !has_gpu("half_precision_stays_near_fp32") {
        return;
    }
    let rows = mixed_rows();
    let exact = load_tensors(Device::Cpu, Precision::Fp32).forward(&rows).unwrap();
    for precision in [Precision::Fp16, Precision::Bf16] {
        let rough = load_tensors(Device::Cuda(0), precision).forward(&rows).unwrap();
        let difference = largest(&exact, &rough);
        assert!(difference > 1e-6 && difference < 0.2, "{precision}: {difference}");
    }
}
