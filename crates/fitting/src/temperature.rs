//! The temperature: what logits must be divided by so that held-out answers are as likely as they can be.

use crate::error::FitError;
use crate::examples::{Answers, Examples};
use crate::loss::sigmoid;
use crate::unseen::HeldOut;

/// A temperature is found between one over this and this.
const FARTHEST: f64 = 20.0;
const MOST_PASSES: usize = 60;
const CLOSE_ENOUGH: f64 = 1e-7;

/// The temperature with the least mean loss over everything held out: Newton's method on its inverse, in which the loss
/// is convex, kept within a bracket. `None` where answers have no probabilities.
///
/// # Errors
/// [`FitError::Cancelled`].
pub(crate) fn temperature(held_out: &[HeldOut<'_>]) -> Result<Option<f64>, FitError> {
    let has_probabilities = |held: &HeldOut<'_>| !matches!(held.view.examples.answers(), Answers::Values(_));
    if held_out.is_empty() || !held_out.iter().all(has_probabilities) {
        return Ok(None);
    }
    let (mut low, mut high) = (1.0 / FARTHEST, FARTHEST);
    let mut inverse = 1.0;
    for _ in 0..MOST_PASSES {
        let (mut slope, mut curvature) = (0.0, 0.0);
        for held in held_out {
            held.view.logits(held.units, held.layer, |units, logits, stride| {
                let (first, second) = derivatives(held.view.examples, units, (logits, stride), inverse);
                slope += first;
                curvature += second;
            })?;
        }
        if slope > 0.0 {
            high = inverse
        } else {
            low = inverse
        }
        let newton = inverse - slope / curvature;
        let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
        let moved = (next / inverse).ln().abs();
        inverse = next;
        if moved < CLOSE_ENOUGH {
            break;
        }
    }
    Ok(Some(1.0 / inverse))
}

/// First and second derivative of the summed loss by the inverse temperature.
fn derivatives(examples: &Examples, units: &[usize], (logits, stride): (&[f64], usize), inverse: f64) -> (f64, f64) {
    let mut rows = logits.chunks_exact(stride).map(|row| &row[..examples.outputs()]);
    let mut sums = (0.0, 0.0);
    let mut add = |(first, second): (f64, f64)| sums = (sums.0 + first, sums.1 + second);
    for unit in units {
        match examples.answers() {
            Answers::Classes(classes) => {
                add(of_softmax(rows.next().unwrap_or_default(), classes[*unit] as usize, inverse));
            }
            Answers::Labels(labels) => {
                for (label, logit) in rows.next().unwrap_or_default().iter().enumerate() {
                    let probability = sigmoid(logit * inverse);
                    let target = f64::from(u8::from(labels[*unit].contains(&(label as u32))));
                    add(((probability - target) * logit, probability * (1.0 - probability) * logit * logit));
                }
            }
            Answers::Choices(questions) => {
                let choices = rows.by_ref().take(questions[*unit].choices as usize);
                let scores: Vec<f64> = choices.map(|row| row[0]).collect();
                add(of_softmax(&scores, questions[*unit].right as usize, inverse));
            }
            Answers::Values(_) => {}
        }
    }
    sums
}

fn of_softmax(logits: &[f64], right: usize, inverse: f64) -> (f64, f64) {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for logit in logits {
        let part = ((logit - most) * inverse).exp();
        sum += part;
        mean += part * logit;
        squares += part * logit * logit;
    }
    let mean = mean / sum;
    (mean - logits[right], squares / sum - mean * mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::Scaling;
    use crate::split::View;
    use crate::watch::Unwatched;

    /// Four answers of two classes with these logits for the second class, of which one in four is wrong.
    fn found(logit: f32) -> f64 {
        let vectors = vec![logit, logit, logit, logit];
        let examples = Examples::new(1, 2, vectors, Answers::Classes(vec![1, 1, 1, 0])).unwrap();
        let scaling = Scaling::none(1);
        let view = View { examples: &examples, scaling: &scaling, watch: &Unwatched, balanced: false };
        let layer = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let held = HeldOut { view, units: &[0, 1, 2, 3], layer: &layer };
        temperature(&[held]).unwrap().unwrap()
    }

    #[test]
    fn probabilities_become_the_shares_that_are_right() {
        for logit in [0.5_f32, 3.0, 10.0] {
            let temperature = found(logit);
            let probability = sigmoid(f64::from(logit) / temperature);
            assert!((probability - 0.75).abs() < 1e-5, "{logit}: {temperature} {probability}");
        }
    }

    #[test]
    fn a_temperature_stays_within_bounds() {
        let examples = Examples::new(1, 2, vec![1.0], Answers::Classes(vec![1])).unwrap();
        let scaling = Scaling::none(1);
        let view = View { examples: &examples, scaling: &scaling, watch: &Unwatched, balanced: false };
        let layer = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let found = temperature(&[HeldOut { view, units: &[0], layer: &layer }]).unwrap().unwrap();
        assert!((found * FARTHEST - 1.0).abs() < 1e-3, "{found}");
    }
}
