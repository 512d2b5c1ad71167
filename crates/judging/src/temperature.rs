//! The temperature that makes probabilities most likely (Platt 1999; Guo et al. 2017).

use crate::softmax::{log_sum_exp, sigmoid_loss};

const LOWEST: f64 = 0.01;
const HIGHEST: f64 = 100.0;
/// Halvings of the range of inverse temperatures: finer than single precision tells apart.
const HALVINGS: usize = 48;

/// One answer whose probability is to be fitted.
#[derive(Debug, Clone, Copy)]
pub enum Trial<'a> {
    /// One of several is right: softmax over the logits.
    OneOf {
        /// A logit for each.
        logits: &'a [f32],
        /// The right one.
        due: usize,
    },
    /// Each holds or does not: a sigmoid for each logit.
    Each {
        /// A logit for each.
        logits: &'a [f32],
        /// Those that hold, in rising order.
        due: &'a [usize],
    },
}

/// What was fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FittedTemperature {
    /// Divides the logits.
    pub temperature: f32,
    /// Whether the likelihood still rises at this end of the range from 0.01 to 100, as it does where every answer is
    /// right.
    pub at_bound: bool,
}

/// The temperature under which the truth is most likely; `None` without trials. The loss is convex in the inverse of the
/// temperature, so there is one, and its slope is followed to where it is level.
#[must_use]
pub fn fit_temperature(trials: &[Trial<'_>]) -> Option<FittedTemperature> {
    if trials.is_empty() {
        return None;
    }
    let slope = |inverse: f64| -> f64 { trials.iter().map(|trial| trial.slope(inverse)).sum() };
    let (mut low, mut high) = (1.0 / HIGHEST, 1.0 / LOWEST);
    if slope(low) >= 0.0 {
        return Some(FittedTemperature { temperature: HIGHEST as f32, at_bound: true });
    }
    if slope(high) <= 0.0 {
        return Some(FittedTemperature { temperature: LOWEST as f32, at_bound: true });
    }
    for _ in 0..HALVINGS {
        let middle = (low * high).sqrt();
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    Some(FittedTemperature { temperature: (1.0 / (low * high).sqrt()) as f32, at_bound: false })
}

impl Trial<'_> {
    /// Derivative of the loss by the inverse temperature.
    fn slope(&self, inverse: f64) -> f64 {
        match self {
            Self::OneOf { logits, due } => {
                let normaliser = log_sum_exp(logits, inverse);
                let expected = |logit: &f32| f64::from(*logit) * (f64::from(*logit) * inverse - normaliser).exp();
                let expected: f64 = logits.iter().map(expected).sum();
                expected - logits.get(*due).map_or(0.0, |logit| f64::from(*logit))
            }
            Self::Each { logits, due } => {
                let slope = |(label, logit): (usize, &f32)| {
                    let logit = f64::from(*logit);
                    // d/dβ of ln(1 + exp(∓βz)) is ∓z times the probability of the untruth.
                    let holds = due.binary_search(&label).is_ok();
                    let untruth = (-sigmoid_loss(logit * inverse, !holds)).exp();
                    if holds { -logit * untruth } else { logit * untruth }
                };
                logits.iter().enumerate().map(slope).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_always_right_reach_the_bound() {
        let trials = [Trial::OneOf { logits: &[2.0, 0.0], due: 0 }, Trial::OneOf { logits: &[0.0, 2.0], due: 1 }];
        assert_eq!(fit_temperature(&trials), Some(FittedTemperature { temperature: 0.01, at_bound: true }));
        let wrong = [Trial::OneOf { logits: &[2.0, 0.0], due: 1 }];
        assert_eq!(fit_temperature(&wrong), Some(FittedTemperature { temperature: 100.0, at_bound: true }));
        assert_eq!(fit_temperature(&[]), None);
    }

    #[test]
    fn two_right_of_three_get_two_thirds() {
        // softmax([z, 0] / t) = 2/3 where z / t = ln 2.
        let logits: &[f32] = &[3.0, 0.0];
        let trials = [0, 0, 1].map(|due| Trial::OneOf { logits, due });
        let fitted = fit_temperature(&trials).unwrap();
        assert!((f64::from(fitted.temperature) - 3.0 / 2.0_f64.ln()).abs() < 1e-5, "{fitted:?}");
        let each = [0, 0, 1].map(|miss| Trial::Each { logits: &logits[..1], due: if miss == 1 { &[] } else { &[0] } });
        assert!((fit_temperature(&each).unwrap().temperature - fitted.temperature).abs() < 1e-5);
    }
}
