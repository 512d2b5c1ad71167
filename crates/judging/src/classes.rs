//! Classification: one label of several.

use crate::calibration::{Bin, Calibration};
use crate::counts::{Count, macro_f1, micro_f1, share, weighted_f1};
use crate::sheet::{Figure, LabelFigures, Sheet, figure, weighted_mean, without_interval};
use crate::softmax::softmax_answer;

const FIGURES: [Figure; 7] = [
    figure("accuracy"),
    figure("macro_f1"),
    figure("micro_f1"),
    figure("weighted_f1"),
    figure("matthews"),
    figure("log_loss"),
    without_interval("expected_calibration_error"),
];

/// Answers of a classification.
#[derive(Debug, Clone)]
pub struct ClassSheet {
    labels: Vec<String>,
    temperature: f32,
    due: Vec<usize>,
    answered: Vec<usize>,
    losses: Vec<f64>,
    calibration: Calibration,
}

impl ClassSheet {
    /// An empty sheet for these labels, whose logits are divided by `temperature`.
    #[must_use]
    pub fn new(labels: &[String], temperature: f32) -> Self {
        Self {
            labels: labels.to_vec(),
            temperature,
            due: Vec::new(),
            answered: Vec::new(),
            losses: Vec::new(),
            calibration: Calibration::default(),
        }
    }

    /// Adds a row: its right label, and a logit for each label.
    pub fn push(&mut self, due: usize, logits: &[f32]) {
        let answer = softmax_answer(logits, self.temperature, due);
        self.calibration.add(self.due.len(), answer.score, answer.best == due);
        self.due.push(due);
        self.answered.push(answer.best);
        self.losses.push(answer.loss);
    }

    fn counts(&self, weights: &[u32]) -> Vec<Count> {
        let mut counts = vec![Count::default(); self.labels.len()];
        for ((due, answered), weight) in self.due.iter().zip(&self.answered).zip(weights) {
            let weight = u64::from(*weight);
            if let Some(count) = counts.get_mut(*due) {
                count.due += weight;
                count.right += if due == answered { weight } else { 0 };
            }
            if let Some(count) = counts.get_mut(*answered) {
                count.answered += weight;
            }
        }
        counts
    }
}

impl Sheet for ClassSheet {
    fn rows(&self) -> usize {
        self.due.len()
    }

    fn names(&self) -> &[Figure] {
        &FIGURES
    }

    /// The macro average is over labels that occur as truth or as answer among the rows, as scikit-learn has it.
    fn figures(&self, weights: &[u32]) -> Vec<Option<f64>> {
        let counts = self.counts(weights);
        let right = counts.iter().map(|count| count.right).sum();
        let rows = counts.iter().map(|count| count.due).sum();
        if rows == 0 {
            return vec![None; FIGURES.len()];
        }
        vec![
            Some(share(right, rows)),
            Some(macro_f1(counts.iter().copied().filter(|count| count.occurs()))),
            Some(micro_f1(&counts)),
            Some(weighted_f1(&counts)),
            Some(matthews(&counts)),
            weighted_mean(&self.losses, weights),
            self.calibration.error(weights),
        ]
    }

    fn right(&self) -> Option<Vec<bool>> {
        Some(self.due.iter().zip(&self.answered).map(|(due, answered)| due == answered).collect())
    }

    fn labels(&self) -> Vec<LabelFigures> {
        let counts = self.counts(&vec![1; self.rows()]);
        counts.iter().zip(&self.labels).map(|(count, label)| count.figures(label)).collect()
    }

    fn confusion(&self) -> Vec<Vec<u64>> {
        let n_labels = self.labels.len();
        let mut confusion = vec![vec![0; n_labels]; n_labels];
        for (due, answered) in self.due.iter().zip(&self.answered) {
            if let Some(cell) = confusion.get_mut(*due).and_then(|row| row.get_mut(*answered)) {
                *cell += 1;
            }
        }
        confusion
    }

    fn calibration(&self) -> Vec<Bin> {
        self.calibration.bins()
    }
}

/// Matthews' correlation for any number of labels (Gorodkin 2004); 0 where truth or answers are constant.
fn matthews(counts: &[Count]) -> f64 {
    let sum = |part: fn(&Count) -> f64| counts.iter().map(part).sum::<f64>();
    let rows = sum(|count| count.due as f64);
    let right = sum(|count| count.right as f64);
    let together = right * rows - sum(|count| count.due as f64 * count.answered as f64);
    let of_answers = rows * rows - sum(|count| (count.answered as f64).powi(2));
    let of_truth = rows * rows - sum(|count| (count.due as f64).powi(2));
    let spread = of_answers * of_truth;
    if spread == 0.0 { 0.0 } else { together / spread.sqrt() }
}
