//! Counting: how far logits moved, and which of the answers they decide are other answers now.

use std::cmp::Ordering;

use engine::{Head, HeadKind};

/// How the logits of one answer decide it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rule {
    /// The largest wins: a label, or a choice.
    Best,
    /// Every label whose probability reaches its threshold.
    Passing {
        /// One a label.
        thresholds: Vec<f32>,
        /// Divides the logits.
        temperature: f32,
    },
    /// The largest of every `labels` logits labels a token.
    BestOfEach {
        /// Labels of the head.
        labels: usize,
    },
    /// The logit is the answer; nothing is decided.
    Number,
}

/// What changed between two models over some answers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Rows that the encoder read, in each mode.
    pub rows: usize,
    /// Answers that name labels or a choice.
    pub answers: usize,
    /// Those of them that name others now.
    pub flips: usize,
    /// Tokens labelled.
    pub tokens: usize,
    /// Those of them that have another label now.
    pub token_flips: usize,
    /// Logits compared.
    pub logits: usize,
    /// Largest absolute difference of a logit.
    pub largest: f64,
    /// Sum of the absolute differences.
    pub sum: f64,
}

impl Rule {
    pub(super) fn of(head: &Head) -> Self {
        match head.kind() {
            HeadKind::Classification | HeadKind::MultipleChoice => Self::Best,
            HeadKind::MultiLabel => Self::Passing {
                thresholds: (0..head.outputs()).map(|label| head.threshold(label)).collect(),
                temperature: head.parts().temperature.unwrap_or(1.0),
            },
            HeadKind::TokenClassification => Self::BestOfEach { labels: head.outputs() },
            HeadKind::Regression | HeadKind::Reward => Self::Number,
        }
    }
}

impl Tally {
    /// Counts one answer: its logits in both models.
    pub(super) fn add(&mut self, rule: &Rule, exact: &[f32], reduced: &[f32]) {
        for (exact, reduced) in exact.iter().zip(reduced) {
            let difference = f64::from((exact - reduced).abs());
            self.largest = self.largest.max(difference);
            self.sum += difference;
            self.logits += 1;
        }
        match rule {
            Rule::Best => {
                self.answers += 1;
                self.flips += usize::from(best(exact) != best(reduced));
            }
            Rule::Passing { thresholds, temperature } => {
                let passing = |logits: &[f32]| -> Vec<bool> {
                    let probability = |logit: &f32| 1.0 / (1.0 + (-logit / temperature).exp());
                    logits.iter().map(probability).zip(thresholds).map(|(p, threshold)| p >= *threshold).collect()
                };
                self.answers += 1;
                self.flips += usize::from(passing(exact) != passing(reduced));
            }
            Rule::BestOfEach { labels } => {
                let pairs = exact.chunks_exact(*labels).zip(reduced.chunks_exact(*labels));
                for (exact, reduced) in pairs {
                    self.tokens += 1;
                    self.token_flips += usize::from(best(exact) != best(reduced));
                }
            }
            Rule::Number => {}
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            answers: self.answers + other.answers,
            flips: self.flips + other.flips,
            tokens: self.tokens + other.tokens,
            token_flips: self.token_flips + other.token_flips,
            logits: self.logits + other.logits,
            largest: self.largest.max(other.largest),
            sum: self.sum + other.sum,
        }
    }

    /// Mean absolute difference of the logits.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.logits == 0 { 0.0 } else { self.sum / self.logits as f64 }
    }

    /// Flips among answers and tokens, 0 to 1; `None` where nothing was decided.
    #[must_use]
    pub fn flip_rate(&self) -> Option<f64> {
        let decided = self.answers + self.tokens;
        (decided > 0).then(|| (self.flips + self.token_flips) as f64 / decided as f64)
    }
}

/// The place of the largest; of equal ones the first, as answers are ranked.
fn best(logits: &[f32]) -> Option<usize> {
    let larger = |a: &(usize, &f32), b: &(usize, &f32)| a.1.partial_cmp(b.1).unwrap_or(Ordering::Equal);
    // `max_by` gives the last of equal ones.
    logits.iter().enumerate().rev().max_by(larger).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rule: &Rule, pairs: &[(&[f32], &[f32])]) -> Tally {
        let mut tally = Tally::default();
        for (exact, reduced) in pairs {
            tally.add(rule, exact, reduced);
        }
        tally
    }

    #[test]
    fn a_label_flips_when_another_is_largest_and_equal_ones_keep_their_order() {
        let pairs: [(&[f32], &[f32]); 4] = [
            (&[1.0, 2.0, 0.0], &[1.5, 1.75, 0.0]),
            (&[1.0, 2.0, 0.0], &[2.0, 1.0, 0.0]),
            (&[2.0, 2.0, 0.0], &[2.0, 1.0, 0.0]),
            (&[2.0, 2.0, 0.0], &[1.0, 2.0, 0.0]),
        ];
        let tally = counted(&Rule::Best, &pairs);
        assert_eq!((tally.answers, tally.flips, tally.tokens), (4, 2, 0));
        assert_eq!((tally.logits, tally.largest), (12, 1.0));
        assert_eq!(tally.sum, 0.5 + 0.25 + 2.0 + 1.0 + 1.0);
        assert_eq!(tally.flip_rate(), Some(0.5));
    }

    #[test]
    fn several_labels_that_cross_their_thresholds_are_one_flip_of_the_row() {
        let rule = Rule::Passing { thresholds: vec![0.5, 0.9, 0.5], temperature: 2.0 };
        // With a temperature of 2, 0.9 is passed from a logit of 4.394 on.
        let pairs: [(&[f32], &[f32]); 4] = [
            (&[0.1, 4.3, -1.0], &[0.3, 4.35, -3.0]),
            (&[0.1, 4.3, -1.0], &[0.1, 4.45, -1.0]),
            (&[0.1, 4.3, -1.0], &[-0.1, 4.45, 1.0]),
            (&[0.0, 9.0, 9.0], &[0.0, 5.0, 0.0]),
        ];
        let tally = counted(&rule, &pairs);
        assert_eq!((tally.answers, tally.flips), (4, 2));
    }

    #[test]
    fn every_token_counts_by_itself() {
        let rule = Rule::BestOfEach { labels: 2 };
        let exact = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let reduced = [0.0, 1.0, 0.75, 0.0, 1.0, 0.0];
        let tally = counted(&rule, &[(&exact, &reduced)]);
        assert_eq!((tally.answers, tally.flips, tally.tokens, tally.token_flips), (0, 0, 3, 2));
    }

    #[test]
    fn a_number_has_a_difference_and_never_flips() {
        let tally = counted(&Rule::Number, &[(&[3.0], &[-2.0])]);
        assert_eq!((tally.answers, tally.tokens, tally.largest), (0, 0, 5.0));
        assert_eq!((tally.mean(), tally.flip_rate()), (5.0, None));
    }

    #[test]
    fn tallies_add_up() {
        let one = counted(&Rule::Best, &[(&[1.0, 2.0], &[1.0, 2.5])]);
        let other = counted(&Rule::Number, &[(&[3.0], &[0.0])]);
        let both = Tally { rows: 1, ..one }.plus(&Tally { rows: 2, ..other });
        assert_eq!((both.rows, both.answers, both.logits, both.largest), (3, 1, 3, 3.0));
        assert!((both.mean() - 3.5 / 3.0).abs() < 1e-12);
    }
}
