//! How wrong logits are, and in which direction: one loss for each sort of answer.

use crate::examples::{Answers, Examples};
use crate::product::padded;

/// The loss of examples, with the weight of each class.
pub(crate) struct Loss<'a> {
    examples: &'a Examples,
    outputs: usize,
    weights: Weights,
}

/// What an answer counts.
enum Weights {
    Equal,
    /// By class.
    Classes(Vec<f64>),
    /// By label: where it does not hold, and where it does.
    Labels(Vec<[f64; 2]>),
}

impl<'a> Loss<'a> {
    /// Every answer counts the same.
    pub(crate) fn plain(examples: &'a Examples) -> Self {
        Self { examples, outputs: padded(examples.outputs()), weights: Weights::Equal }
    }

    /// Every class counts the same, as `units` have them: an answer weighs by the inverse of its class's share.
    pub(crate) fn balanced(examples: &'a Examples, units: &[usize]) -> Self {
        let total = units.len() as f64;
        let weights = match examples.answers() {
            Answers::Classes(classes) => {
                let mut counts = vec![0.0_f64; examples.outputs()];
                units.iter().for_each(|unit| counts[classes[*unit] as usize] += 1.0);
                let present = counts.iter().filter(|count| **count > 0.0).count() as f64;
                Weights::Classes(counts.iter().map(|count| total / (present * count.max(1.0))).collect())
            }
            Answers::Labels(labels) => {
                let mut counts = vec![0.0; examples.outputs()];
                units.iter().flat_map(|unit| &labels[*unit]).for_each(|label| counts[*label as usize] += 1.0);
                let pair = |held: &f64| match total - held {
                    absent if *held > 0.0 && absent > 0.0 => [total / (2.0 * absent), total / (2.0 * held)],
                    _ => [1.0, 1.0],
                };
                Weights::Labels(counts.iter().map(pair).collect())
            }
            // Numbers have no classes, and choices differ from question to question.
            Answers::Values(_) | Answers::Choices(_) => Weights::Equal,
        };
        Self { weights, ..Self::plain(examples) }
    }

    /// The summed loss of a block, whose logits become the derivatives of that sum.
    pub(crate) fn derive(&self, units: &[usize], logits: &mut [f64]) -> f64 {
        let rows = logits.chunks_exact_mut(self.outputs);
        match self.examples.answers() {
            Answers::Classes(classes) => rows
                .zip(units)
                .map(|(logits, unit)| {
                    let (logits, padding) = logits.split_at_mut(self.examples.outputs());
                    padding.fill(0.0);
                    let class = classes[*unit] as usize;
                    softmax(logits, class, self.class_weight(class))
                })
                .sum(),
            Answers::Labels(labels) => rows
                .zip(units)
                .map(|(logits, unit)| {
                    let (logits, padding) = logits.split_at_mut(self.examples.outputs());
                    padding.fill(0.0);
                    self.sigmoids(logits, &labels[*unit])
                })
                .sum(),
            Answers::Values(values) => rows
                .zip(units)
                .map(|(logits, unit)| {
                    let off = logits[0] - values[*unit];
                    logits.fill(0.0);
                    logits[0] = off;
                    off * off / 2.0
                })
                .sum(),
            Answers::Choices(questions) => {
                let mut rest = logits;
                let mut sum = 0.0;
                let mut scores = Vec::new();
                for unit in units {
                    let question = questions[*unit];
                    let own;
                    (own, rest) = rest.split_at_mut(question.choices as usize * self.outputs);
                    scores.clear();
                    scores.extend(own.chunks_exact(self.outputs).map(|row| row[0]));
                    sum += softmax(&mut scores, question.right as usize, 1.0);
                    own.fill(0.0);
                    own.chunks_exact_mut(self.outputs).zip(&scores).for_each(|(row, score)| row[0] = *score);
                }
                sum
            }
        }
    }

    fn class_weight(&self, class: usize) -> f64 {
        match &self.weights {
            Weights::Classes(weights) => weights[class],
            Weights::Equal | Weights::Labels(_) => 1.0,
        }
    }

    fn sigmoids(&self, logits: &mut [f64], holding: &[u32]) -> f64 {
        let weight = |label: usize, holds: bool| match &self.weights {
            Weights::Labels(weights) => weights[label][usize::from(holds)],
            Weights::Equal | Weights::Classes(_) => 1.0,
        };
        let mut sum = 0.0;
        for (label, logit) in logits.iter_mut().enumerate() {
            let holds = holding.contains(&(label as u32));
            let weight = weight(label, holds);
            let target = f64::from(u8::from(holds));
            sum += weight * (softplus(*logit) - target * *logit);
            *logit = weight * (sigmoid(*logit) - target);
        }
        sum
    }
}

/// Minus the logarithm of the right one's probability, times `weight`; the logits become its derivatives.
fn softmax(logits: &mut [f64], right: usize, weight: f64) -> f64 {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let of_right = logits[right];
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = (*logit - most).exp();
        sum += *logit;
    }
    logits.iter_mut().for_each(|part| *part *= weight / sum);
    logits[right] -= weight;
    weight * (sum.ln() + most - of_right)
}

/// The logarithm of 1 + e^x, for any x.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// 1 / (1 + e^-x), for any x.
pub(crate) fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::Question;

    /// Holds the derivatives of `loss` at `logits` against differences of its sum.
    fn assert_derivatives(loss: &Loss<'_>, units: &[usize], logits: &[f64]) {
        let sum = |logits: &[f64]| loss.derive(units, &mut logits.to_vec());
        let mut derivatives = logits.to_vec();
        loss.derive(units, &mut derivatives);
        for at in 0..logits.len() {
            let moved = |by: f64| {
                let mut logits = logits.to_vec();
                logits[at] += by;
                sum(&logits)
            };
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((derivatives[at] - expected).abs() < 1e-7, "{at}: {} {expected}", derivatives[at]);
        }
    }

    fn logits(n: usize) -> Vec<f64> {
        (0..n).map(|at| ((at * 29 + 3) % 17) as f64 / 4.0 - 2.0).collect()
    }

    fn examples(rows: usize, outputs: usize, answers: Answers) -> Examples {
        Examples::new(1, outputs, vec![0.0; rows], answers).unwrap()
    }

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let classes = examples(4, 3, Answers::Classes(vec![0, 2, 2, 1]));
        assert_derivatives(&Loss::plain(&classes), &[1, 3], &logits(8));
        assert_derivatives(&Loss::balanced(&classes, &[0, 1, 2]), &[1, 0], &logits(8));
        let labels = examples(3, 2, Answers::Labels(vec![vec![0], vec![], vec![0, 1]]));
        assert_derivatives(&Loss::plain(&labels), &[0, 1, 2], &logits(12));
        assert_derivatives(&Loss::balanced(&labels, &[0, 1, 2]), &[2, 0], &logits(8));
        let values = examples(2, 1, Answers::Values(vec![0.5, -1.0]));
        assert_derivatives(&Loss::plain(&values), &[1, 0], &logits(8));
        let questions = vec![Question { choices: 3, right: 1 }, Question { choices: 2, right: 0 }];
        let choices = examples(5, 1, Answers::Choices(questions));
        assert_derivatives(&Loss::plain(&choices), &[0, 1], &logits(20));
    }

    #[test]
    fn balanced_classes_weigh_the_same_together() {
        let classes = examples(4, 3, Answers::Classes(vec![0, 2, 2, 2]));
        let loss = Loss::balanced(&classes, &[0, 1, 2, 3]);
        assert_eq!((loss.class_weight(0), loss.class_weight(2)), (2.0, 4.0 / 6.0));
        let labels = examples(4, 2, Answers::Labels(vec![vec![0], vec![0], vec![0], vec![]]));
        let Weights::Labels(weights) = Loss::balanced(&labels, &[0, 1, 2, 3]).weights else { panic!("labels") };
        assert_eq!(weights, [[2.0, 4.0 / 6.0], [1.0, 1.0]], "a label that never holds stays as it is");
    }

    #[test]
    fn huge_logits_neither_overflow_nor_vanish() {
        assert_eq!((softplus(1e4), softplus(-1e4)), (1e4, 0.0));
        assert_eq!((sigmoid(1e4), sigmoid(-1e4)), (1.0, 0.0));
        let mut far = [1e4, -1e4];
        assert_eq!(softmax(&mut far, 1, 1.0), 2e4);
        assert_eq!(far, [1.0, -1.0]);
    }
}
