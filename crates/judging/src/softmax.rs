//! Logits to probabilities and their losses, in double precision.

/// Log of the sum of `exp(logit · inverse)`; the largest is taken off first, so that nothing overflows.
pub(crate) fn log_sum_exp(logits: &[f32], inverse: f64) -> f64 {
    let largest = logits.iter().map(|logit| f64::from(*logit) * inverse).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) * inverse - largest).exp()).sum();
    largest + sum.ln()
}

/// Place of the largest logit, of equal ones the first, as answers are ranked.
#[must_use]
pub fn best(logits: &[f32]) -> usize {
    let better = |best: (usize, f32), candidate: (usize, f32)| if candidate.1 > best.1 { candidate } else { best };
    logits.iter().copied().enumerate().fold((0, f32::NEG_INFINITY), better).0
}

/// What a softmax says of one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SoftmaxAnswer {
    /// The likeliest.
    pub(crate) best: usize,
    /// Its probability.
    pub(crate) score: f64,
    /// Minus the log of the probability of the right one.
    pub(crate) loss: f64,
}

/// The answer of these logits, divided by `temperature`, where `due` is the right one.
pub(crate) fn softmax_answer(logits: &[f32], temperature: f32, due: usize) -> SoftmaxAnswer {
    let inverse = 1.0 / f64::from(temperature);
    let normaliser = log_sum_exp(logits, inverse);
    let log_probability =
        |place: usize| logits.get(place).map_or(f64::NEG_INFINITY, |z| f64::from(*z) * inverse) - normaliser;
    let best = best(logits);
    SoftmaxAnswer { best, score: log_probability(best).exp(), loss: -log_probability(due) }
}

/// The probability of a label by itself, in single precision as it is served.
#[must_use]
pub fn sigmoid(logit: f32, temperature: f32) -> f32 {
    1.0 / (1.0 + (-logit / temperature).exp())
}

/// Minus the log of what a sigmoid gives to the truth: `ln(1 + exp(∓z))` without overflow.
pub(crate) fn sigmoid_loss(z: f64, holds: bool) -> f64 {
    let against = if holds { -z } else { z };
    against.max(0.0) + (-against.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_logits_have_finite_losses() {
        let answer = softmax_answer(&[1e30, 0.0], 1.0, 0);
        assert_eq!((answer.best, answer.score, answer.loss), (0, 1.0, 0.0));
        assert_eq!(sigmoid_loss(1e4, true), 0.0);
        assert_eq!(sigmoid_loss(1e4, false), 1e4);
    }

    #[test]
    fn of_equal_logits_the_first_is_the_answer() {
        assert_eq!(best(&[0.5, 2.0, 2.0]), 1);
    }
}
