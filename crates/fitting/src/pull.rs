//! What a fitted layer asks of the vectors it reads: the derivative of its loss by each of their numbers.

use crate::error::FitError;
use crate::examples::{Answers, Examples};
use crate::fit::Fitted;
use crate::loss::Loss;
use crate::product::padded;

/// The summed loss of a few rows under `fitted`, and its derivative by every vector, row-major `[rows, width]`.
///
/// # Errors
/// [`FitError`] where vectors and answers do not belong together or to the layer.
pub fn pull(fitted: &Fitted, vectors: Vec<f32>, answers: Answers) -> Result<(f64, Vec<f32>), FitError> {
    let outputs = fitted.bias.len();
    let width = fitted.weight.len() / outputs.max(1);
    let examples = Examples::new(width, outputs, vectors, answers)?;
    let units: Vec<usize> = (0..examples.len()).collect();
    let rows = units.last().map_or(0, |last| examples.rows_of(*last).end);
    let stride = padded(outputs);
    let mut logits = vec![0.0; rows * stride];
    for (row, logits) in logits.chunks_exact_mut(stride).enumerate() {
        let outputs = fitted.weight.chunks_exact(width).zip(&fitted.bias);
        for (logit, (weight, bias)) in logits.iter_mut().zip(outputs) {
            let products = weight.iter().zip(examples.vector(row)).map(|(w, x)| f64::from(*w) * f64::from(*x));
            *logit = products.sum::<f64>() + f64::from(*bias);
        }
    }
    let loss = Loss::plain(&examples).derive(&units, &mut logits);
    let mut pulls = vec![0.0_f32; rows * width];
    for (logits, pull) in logits.chunks_exact(stride).zip(pulls.chunks_exact_mut(width)) {
        for (derivative, weight) in logits.iter().zip(fitted.weight.chunks_exact(width)) {
            pull.iter_mut().zip(weight).for_each(|(sum, weight)| *sum += (*derivative * f64::from(*weight)) as f32);
        }
    }
    Ok((loss, pulls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_the_derivative_of_the_loss() {
        let fitted = Fitted {
            weight: vec![0.5, -1.0, 2.0, 0.25, -0.75, 1.5],
            bias: vec![0.1, -0.2, 0.3],
            temperature: None,
            strength: 1.0,
            loss: 0.0,
            iterations: 1,
            converged: true,
            folds: 0,
            held_out_loss: None,
            unseen: Vec::new(),
        };
        let vectors = vec![0.5, -0.25, 1.0, 0.75];
        let answers = || Answers::Classes(vec![2, 0]);
        let (_, pulls) = pull(&fitted, vectors.clone(), answers()).unwrap();
        for at in 0..vectors.len() {
            let moved = |by: f32| {
                let mut vectors = vectors.clone();
                vectors[at] += by;
                pull(&fitted, vectors, answers()).unwrap().0
            };
            let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!((f64::from(pulls[at]) - expected).abs() < 1e-4, "{at}: {} {expected}", pulls[at]);
        }
    }
}
