//! Multiple choice, and rewards of several answers: one of several rows, whose number may differ.

use crate::calibration::{Bin, Calibration};
use crate::sheet::{Figure, Sheet, figure, weighted_mean, without_interval};
use crate::softmax::softmax_answer;

const FIGURES: [Figure; 3] = [figure("accuracy"), figure("log_loss"), without_interval("expected_calibration_error")];

/// Answers of a multiple choice.
#[derive(Debug, Clone)]
pub struct ChoiceSheet {
    temperature: f32,
    /// 1 where the answer is right.
    right: Vec<f64>,
    losses: Vec<f64>,
    calibration: Calibration,
}

impl ChoiceSheet {
    /// An empty sheet, whose logits are divided by `temperature`.
    #[must_use]
    pub fn new(temperature: f32) -> Self {
        Self { temperature, right: Vec::new(), losses: Vec::new(), calibration: Calibration::default() }
    }

    /// Adds a row: its right choice, and a logit for each choice.
    pub fn push(&mut self, due: usize, logits: &[f32]) {
        let answer = softmax_answer(logits, self.temperature, due);
        self.calibration.add(self.right.len(), answer.score, answer.best == due);
        self.right.push(f64::from(u8::from(answer.best == due)));
        self.losses.push(answer.loss);
    }
}

impl Sheet for ChoiceSheet {
    fn rows(&self) -> usize {
        self.right.len()
    }

    fn names(&self) -> &[Figure] {
        &FIGURES
    }

    fn figures(&self, weights: &[u32]) -> Vec<Option<f64>> {
        vec![weighted_mean(&self.right, weights), weighted_mean(&self.losses, weights), self.calibration.error(weights)]
    }

    fn right(&self) -> Option<Vec<bool>> {
        Some(self.right.iter().map(|right| *right == 1.0).collect())
    }

    fn calibration(&self) -> Vec<Bin> {
        self.calibration.bins()
    }
}
