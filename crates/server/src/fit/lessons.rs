//! A task embedding, learned step by step through the frozen encoder while the head stands still (Adam, Kingma and Ba
//! 2015).

use std::sync::Arc;

use api::v1;
use engine::{Lessons, Reading, Tokens};
use fitting::{Answers, Fitted};
use tonic::Status;

use crate::fit::events::Teller;
use crate::fit::examples::answers;
use crate::fit::label_book::Labels;
use crate::fit::labelled_rows::Answer;
use crate::serving::Serving;
use crate::status;

/// Rows of one step.
const ROWS_OF_A_STEP: usize = 16;
/// Steps between two fits of the head, at least and at most.
const FEWEST_STEPS: usize = 20;
const MOST_STEPS: usize = 120;
/// The first step's length in each number; it shrinks to nothing.
const FIRST_RATE: f32 = 0.02;
const MEAN_KEPT: f32 = 0.9;
const SQUARE_KEPT: f32 = 0.999;
const FLOOR: f32 = 1e-8;

/// A row to learn from.
#[derive(Debug, Clone)]
pub(crate) struct Lesson {
    pub(crate) sequences: Vec<Arc<Tokens>>,
    pub(crate) answer: Answer,
}

/// Takes `embedding` some steps downhill, row after row in the order of `rows`. Returns it with the number of steps.
///
/// # Errors
/// FAILED_PRECONDITION where the model does not differentiate; whatever ends the engine's work.
pub(crate) async fn descend(
    (serving, by, labels): (&Serving, (&Lessons, Reading), &Labels),
    rows: &[Lesson],
    fitted: &Arc<Fitted>,
    mut embedding: Vec<f32>,
    teller: &mut Teller,
) -> Result<(Vec<f32>, usize), Status> {
    let steps = rows.len().div_ceil(ROWS_OF_A_STEP).clamp(FEWEST_STEPS, MOST_STEPS);
    let mut in_turn = rows.iter().cycle();
    let mut adam = Adam::new(embedding.len());
    for step in 0..steps {
        teller.progress(v1::Stage::TaskEmbedding, step, steps);
        let batch: Vec<Lesson> = in_turn.by_ref().take(ROWS_OF_A_STEP.min(rows.len())).cloned().collect();
        let sequences = batch.iter().flat_map(|lesson| lesson.sequences.iter().cloned()).collect();
        let answers = answers(batch.iter().map(|lesson| (&lesson.answer, lesson.sequences.len() as u32)), labels);
        let layer = Arc::clone(fitted);
        let upstream = move |vectors: &[Arc<[f32]>]| pulls(&layer, answers.as_ref(), vectors);
        let own = embedding.as_slice().into();
        let gradient = serving.engine().embedding_gradient(by, sequences, own, upstream).await;
        let rate = FIRST_RATE * (1.0 - step as f32 / steps as f32);
        adam.step(&mut embedding, &gradient.map_err(status::of_engine)?, rate);
    }
    Ok((embedding, steps))
}

/// Running means of slopes and of their squares.
#[derive(Debug)]
struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Adam {
    fn new(numbers: usize) -> Self {
        Self { mean: vec![0.0; numbers], square: vec![0.0; numbers], steps: 0 }
    }

    fn step(&mut self, numbers: &mut [f32], slopes: &[f32], rate: f32) {
        self.steps += 1;
        let (of_mean, of_square) = (1.0 - MEAN_KEPT.powi(self.steps), 1.0 - SQUARE_KEPT.powi(self.steps));
        let state = self.mean.iter_mut().zip(&mut self.square);
        for ((number, slope), (mean, square)) in numbers.iter_mut().zip(slopes).zip(state) {
            *mean = MEAN_KEPT * *mean + (1.0 - MEAN_KEPT) * slope;
            *square = SQUARE_KEPT * *square + (1.0 - SQUARE_KEPT) * slope * slope;
            *number -= rate * (*mean / of_mean) / ((*square / of_square).sqrt() + FLOOR);
        }
    }
}

/// The derivative of the layer's loss by each vector of a batch; nothing where they do not belong together.
fn pulls(layer: &Fitted, answers: Option<&Answers>, vectors: &[Arc<[f32]>]) -> Vec<Vec<f32>> {
    let width = vectors.first().map_or(1, |vector| vector.len().max(1));
    let flat = vectors.iter().flat_map(|vector| vector.iter().copied()).collect();
    let pulled = answers.and_then(|answers| fitting::pull(layer, flat, answers.clone()).ok());
    pulled.map(|(_, pulls)| pulls.chunks_exact(width).map(<[f32]>::to_vec).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lead_downhill_whatever_the_size_of_the_slopes() {
        for size in [1e-3_f32, 1.0, 1e3] {
            let mut numbers = vec![1.0_f32, -2.0];
            let mut adam = Adam::new(2);
            for step in 0..400 {
                let slopes: Vec<f32> = numbers.iter().map(|number| size * number).collect();
                adam.step(&mut numbers, &slopes, 0.05 * (1.0 - step as f32 / 400.0));
            }
            assert!(numbers.iter().all(|number| number.abs() < 0.05), "{size}: {numbers:?}");
        }
    }
}
