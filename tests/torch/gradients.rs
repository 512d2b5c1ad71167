//! The derivative by a task embedding is that of the vectors that are served: held to differences of forwards.

use std::path::Path;
use std::sync::Arc;

use deberta::Kernels;
use engine::{Lesson, Lessons, Model, Reads, Row, Tokens};

use crate::encoder_on;

const WIDTH: usize = 384;
/// Half the distance over which vectors are compared.
const STEP: f32 = 3e-2;

/// Rows of several lengths, the longest beyond one block of position terms.
fn rows() -> Vec<Row> {
    let row = |length: u32| Row {
        tokens: Arc::new(Tokens {
            ids: (0..length).map(|at| 1_000 + at * 37 % 5_000).collect(),
            type_ids: vec![0; length as usize],
            ..Tokens::default()
        }),
        task_embedding: None,
        adapter: None,
        reads: Reads { pooled: true, ..Reads::default() },
    };
    [5, 300, 17, 5].map(row).to_vec()
}

/// A number between -1 and 1 for a row and a dimension.
fn weight(row: usize, dimension: usize) -> f32 {
    ((row * 131 + dimension * 37) % 101) as f32 / 50.0 - 1.0
}

/// The weighted sum of all pooled vectors where every row carries `embedding`.
fn value(model: &mut dyn Model, embedding: &[f32]) -> f64 {
    let own: Arc<[f32]> = embedding.into();
    let rows: Vec<Row> = rows().into_iter().map(|row| Row { task_embedding: Some(Arc::clone(&own)), ..row }).collect();
    let outputs = model.forward(&rows).unwrap();
    let pooled = outputs.iter().map(|output| output.pooled.as_ref().unwrap());
    let products = pooled.enumerate().flat_map(|(row, vector)| {
        vector.iter().enumerate().map(move |(at, number)| f64::from(weight(row, at)) * f64::from(*number))
    });
    products.sum()
}

fn assert_gradient(kernels: Kernels) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry/starter/encoder");
    let mut model = encoder_on(&folder, kernels);
    let embedding: Vec<f32> = (0..WIDTH).map(|at| weight(7, at) / 10.0).collect();
    let rows = rows();
    let lessons = Lessons::default();
    let lesson = Lesson { rows: &rows, embedding: &embedding, lessons: &lessons };
    let mut shown = Vec::new();
    let gradient = model
        .embedding_gradient(lesson, &mut |vectors| {
            shown = vectors.to_vec();
            (0..vectors.len()).map(|row| (0..WIDTH).map(|at| weight(row, at)).collect()).collect()
        })
        .unwrap();
    assert_eq!(gradient.len(), WIDTH);
    let seen: f64 = shown
        .iter()
        .enumerate()
        .flat_map(|(row, vector)| vector.iter().enumerate().map(move |(at, x)| f64::from(weight(row, at) * x)))
        .sum();
    assert!((seen - value(&mut model, &embedding)).abs() < 1e-2, "the vectors shown are those served");
    let directions = [
        (0..WIDTH).map(|at| weight(3, at)).collect::<Vec<f32>>(),
        (0..WIDTH).map(|at| f32::from(u8::from(at == 11))).collect(),
        gradient.clone(),
    ];
    for direction in directions {
        let length = direction.iter().map(|number| number * number).sum::<f32>().sqrt();
        let direction: Vec<f32> = direction.iter().map(|number| number / length).collect();
        let mut moved = |by: f32| {
            let moved: Vec<f32> = embedding.iter().zip(&direction).map(|(z, d)| z + by * d).collect();
            value(&mut model, &moved)
        };
        let difference = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
        let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        assert!((difference - expected).abs() < 0.02 * expected.abs() + 0.01, "{difference} {expected}");
    }
    drop(lessons);
    model.forward(&rows).unwrap();
}

#[test]
fn a_gradient_is_that_of_the_forward_on_libtorch() {
    assert_gradient(Kernels::Libtorch);
}

#[test]
fn a_gradient_is_that_of_the_forward_on_our_own_kernels() {
    assert_gradient(Kernels::Auto);
}
