//! Scores to answers, by kind. Probabilities are computed in fp32, from logits divided by the head's temperature.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::ask::Input;
use crate::head::{Head, HeadKind};
use crate::model::Scores;
use crate::spans::{TokenPrediction, label_words};
use crate::tokens::Tokens;

/// One output, or one choice, with its raw logit and its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Position among the head's labels, or among the caller's choices.
    pub index: usize,
    /// The linear layer's output, untouched.
    pub logit: f32,
    /// What the kind makes of it.
    pub probability: f32,
}

/// The answer to one input.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// Classification: every label, likeliest first; softmax.
    Labels(Vec<Scored>),
    /// Multi-label: every label, likeliest first; a sigmoid each.
    MultiLabel(Vec<Scored>),
    /// Regression: the number as it is.
    Number(f32),
    /// Multiple choice: every choice, likeliest first; softmax over the choices.
    Choices(Vec<Scored>),
    /// Reward: every answer, best first; the logit is the reward, the probability the softmax over the answers.
    Rewards(Vec<Scored>),
    /// Token classification.
    Tokens(TokenPrediction),
}

/// How sure a head is of an answer that is one of several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    /// The best probability.
    pub best: f32,
    /// Difference between the two best probabilities, 0 to 1.
    pub margin: f32,
    /// Entropy of the probabilities, in nats.
    pub entropy: f32,
}

impl Confidence {
    /// That of `probabilities` which sum to 1, in any order.
    #[must_use]
    pub fn of(probabilities: &[f32]) -> Self {
        let (mut best, mut second) = (0.0_f32, 0.0_f32);
        for &probability in probabilities {
            second = second.max(best.min(probability));
            best = best.max(probability);
        }
        let surprise = |p: &f32| if *p > 0.0 { -p * p.ln() } else { 0.0 };
        Self { best, margin: best - second, entropy: probabilities.iter().map(surprise).sum() }
    }
}

impl Prediction {
    /// The confidence in an answer that is one of several: a label of a classification, a choice, or the best of two
    /// answers or more; `None` for the rest.
    #[must_use]
    pub fn confidence(&self) -> Option<Confidence> {
        let ranked = match self {
            Self::Labels(ranked) | Self::Choices(ranked) => ranked,
            Self::Rewards(ranked) if ranked.len() > 1 => ranked,
            Self::Rewards(_) | Self::MultiLabel(_) | Self::Number(_) | Self::Tokens(_) => return None,
        };
        let probabilities: Vec<f32> = ranked.iter().map(|scored| scored.probability).collect();
        Some(Confidence::of(&probabilities))
    }
}

/// The answer of `head` to `input`, from the scores of its rows in order.
pub(crate) fn predict(head: &Head, input: &Input, rows: &[(Arc<Tokens>, Scores)]) -> Prediction {
    let first_scores = || rows.first().map(|(_, scores)| scores);
    let logits = || first_scores().map_or(&[][..], |scores| scores.logits.as_slice());
    let temperature = head.parts().temperature.unwrap_or(1.0);
    match head.kind() {
        HeadKind::Classification => Prediction::Labels(ranked(logits(), softmax(logits(), temperature))),
        HeadKind::MultiLabel => {
            let sigmoid = |logit: &f32| 1.0 / (1.0 + (-logit / temperature).exp());
            Prediction::MultiLabel(ranked(logits(), logits().iter().map(sigmoid).collect()))
        }
        HeadKind::Regression => Prediction::Number(logits().first().copied().unwrap_or_default()),
        HeadKind::MultipleChoice => {
            let logits = one_logit_a_row(rows);
            Prediction::Choices(ranked(&logits, softmax(&logits, temperature)))
        }
        HeadKind::Reward => {
            let logits = one_logit_a_row(rows);
            Prediction::Rewards(ranked(&logits, softmax(&logits, temperature)))
        }
        HeadKind::TokenClassification => {
            let empty = Scores { positions: 0, logits: Vec::new() };
            let scores = first_scores().unwrap_or(&empty);
            let tokens = rows.first().map(|(tokens, _)| Arc::clone(tokens)).unwrap_or_default();
            Prediction::Tokens(label_words(head, input, tokens, scores))
        }
    }
}

/// Softmax of `logits / temperature`; the largest is taken off first, so that nothing overflows.
#[must_use]
pub fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| ((logit - largest) / temperature).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn one_logit_a_row(rows: &[(Arc<Tokens>, Scores)]) -> Vec<f32> {
    rows.iter().filter_map(|(_, scores)| scores.logits.first().copied()).collect()
}

/// Best first; equal logits keep the order of their labels.
fn ranked(logits: &[f32], probabilities: Vec<f32>) -> Vec<Scored> {
    let mut scored: Vec<_> = logits
        .iter()
        .zip(probabilities)
        .enumerate()
        .map(|(index, (&logit, probability))| Scored { index, logit, probability })
        .collect();
    scored.sort_by(|a, b| b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal));
    scored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_survives_huge_logits_and_sums_to_one() {
        let probabilities = softmax(&[1e30, 0.0, -1e30], 1.0);
        assert_eq!(probabilities, [1.0, 0.0, 0.0]);
        let sum: f32 = softmax(&[0.3, -1.2, 2.0, 0.0], 0.5).iter().sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_temperature_above_one_flattens() {
        let sharp = softmax(&[2.0, 0.0], 1.0);
        let flat = softmax(&[2.0, 0.0], 4.0);
        assert!(flat[0] < sharp[0] && flat[0] > 0.5);
    }

    #[test]
    fn confidence_compares_the_two_best_in_whatever_order_they_stand() {
        let found = Confidence::of(&[0.25, 0.625, 0.125]);
        assert_eq!((found.best, found.margin), (0.625, 0.375));
        assert_eq!(Confidence::of(&[0.5, 0.5]).margin, 0.0);
        assert_eq!(Confidence::of(&[1.0]), Confidence { best: 1.0, margin: 1.0, entropy: 0.0 });
    }

    #[test]
    fn ranking_is_best_first_and_stable() {
        let order: Vec<_> =
            ranked(&[0.1, 0.7, 0.7], vec![0.2, 0.4, 0.4]).into_iter().map(|scored| scored.index).collect();
        assert_eq!(order, [1, 2, 0]);
    }
}
