//! Multi-label: any number of labels, each by itself.

use crate::calibration::{Bin, Calibration};
use crate::counts::{Count, macro_f1, micro_f1, share, weighted_f1};
use crate::sheet::{Figure, LabelFigures, Sheet, figure, weighted_mean, without_interval};
use crate::softmax::{sigmoid, sigmoid_loss};

const FIGURES: [Figure; 7] = [
    figure("micro_f1"),
    figure("macro_f1"),
    figure("weighted_f1"),
    figure("samples_f1"),
    figure("subset_accuracy"),
    figure("log_loss"),
    without_interval("expected_calibration_error"),
];

/// How logits decide which labels hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Deciding {
    /// Divides the logits.
    pub temperature: f32,
    /// The probability from which a label holds, one a label.
    pub thresholds: Vec<f32>,
}

/// Answers of a multi-label task.
#[derive(Debug, Clone)]
pub struct LabelSheet {
    labels: Vec<String>,
    deciding: Deciding,
    due: Vec<Vec<usize>>,
    answered: Vec<Vec<usize>>,
    /// F1 of each row by itself, and 1 where its answer is right in every label.
    f1_of_rows: Vec<f64>,
    equal: Vec<f64>,
    losses: Vec<f64>,
    calibration: Calibration,
}

impl Deciding {
    /// The labels that hold, in label order.
    #[must_use]
    pub fn decide(&self, logits: &[f32]) -> Vec<usize> {
        let holds = |(logit, threshold): (&f32, &f32)| sigmoid(*logit, self.temperature) >= *threshold;
        let decided = logits.iter().zip(&self.thresholds).map(holds).enumerate();
        decided.filter(|(_, holds)| *holds).map(|(label, _)| label).collect()
    }
}

impl LabelSheet {
    /// An empty sheet for these labels.
    #[must_use]
    pub fn new(labels: &[String], deciding: Deciding) -> Self {
        Self {
            labels: labels.to_vec(),
            deciding,
            due: Vec::new(),
            answered: Vec::new(),
            f1_of_rows: Vec::new(),
            equal: Vec::new(),
            losses: Vec::new(),
            calibration: Calibration::default(),
        }
    }

    /// Adds a row: the labels that hold, in label order and each once, and a logit for each label.
    pub fn push(&mut self, due: &[usize], logits: &[f32]) {
        let row = self.due.len();
        let inverse = 1.0 / f64::from(self.deciding.temperature);
        let mut loss = 0.0;
        for (label, logit) in logits.iter().enumerate() {
            let holds = due.binary_search(&label).is_ok();
            let z = f64::from(*logit) * inverse;
            loss += sigmoid_loss(z, holds);
            self.calibration.add(row, 1.0 / (1.0 + (-z).exp()), holds);
        }
        self.losses.push(loss / logits.len().max(1) as f64);
        let answered = self.deciding.decide(logits);
        let right = answered.iter().filter(|label| due.binary_search(label).is_ok()).count();
        self.f1_of_rows.push(share(2 * right as u64, (due.len() + answered.len()) as u64));
        self.equal.push(f64::from(u8::from(due == answered)));
        self.answered.push(answered);
        self.due.push(due.to_vec());
    }

    fn counts(&self, weights: &[u32]) -> Vec<Count> {
        let mut counts = vec![Count::default(); self.labels.len()];
        for ((due, answered), weight) in self.due.iter().zip(&self.answered).zip(weights) {
            let weight = u64::from(*weight);
            for label in due {
                counts[*label].due += weight;
            }
            for label in answered {
                counts[*label].answered += weight;
                counts[*label].right += if due.binary_search(label).is_ok() { weight } else { 0 };
            }
        }
        counts
    }
}

impl Sheet for LabelSheet {
    fn rows(&self) -> usize {
        self.due.len()
    }

    fn names(&self) -> &[Figure] {
        &FIGURES
    }

    /// The macro average is over all labels; one that neither occurs nor is answered counts 0, as in scikit-learn.
    fn figures(&self, weights: &[u32]) -> Vec<Option<f64>> {
        if weights.iter().all(|weight| *weight == 0) {
            return vec![None; FIGURES.len()];
        }
        let counts = self.counts(weights);
        vec![
            Some(micro_f1(&counts)),
            Some(macro_f1(counts.iter().copied())),
            Some(weighted_f1(&counts)),
            weighted_mean(&self.f1_of_rows, weights),
            weighted_mean(&self.equal, weights),
            weighted_mean(&self.losses, weights),
            self.calibration.error(weights),
        ]
    }

    fn right(&self) -> Option<Vec<bool>> {
        None
    }

    fn labels(&self) -> Vec<LabelFigures> {
        let counts = self.counts(&vec![1; self.rows()]);
        counts.iter().zip(&self.labels).map(|(count, label)| count.figures(label)).collect()
    }

    fn calibration(&self) -> Vec<Bin> {
        self.calibration.bins()
    }
}
