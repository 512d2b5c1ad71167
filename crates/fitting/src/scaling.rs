//! Features to mean 0 and deviation 1 and back: the strength of regularisation then means the same for all of them.

use crate::examples::Examples;

/// A feature that varies by less than this share of the liveliest one carries nothing but rounding.
const LEAST_SHARE: f64 = 1e-6;

/// How features are moved and stretched before a fit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scaling {
    mean: Vec<f64>,
    /// One over the deviation; 0 for features that do not vary.
    factor: Vec<f64>,
}

impl Scaling {
    /// Leaves features as they are.
    pub(crate) fn none(width: usize) -> Self {
        Self { mean: vec![0.0; width], factor: vec![1.0; width] }
    }

    /// Brings the features of all vectors of `examples` to mean 0 and deviation 1.
    pub(crate) fn standard(examples: &Examples) -> Self {
        let width = examples.width();
        let rows = examples.rows_of(examples.len().saturating_sub(1)).end;
        let mut mean = vec![0.0; width];
        for row in 0..rows {
            for (sum, number) in mean.iter_mut().zip(examples.vector(row)) {
                *sum += f64::from(*number) / rows as f64;
            }
        }
        let mut variance = vec![0.0; width];
        for row in 0..rows {
            for ((sum, number), mean) in variance.iter_mut().zip(examples.vector(row)).zip(&mean) {
                *sum += (f64::from(*number) - mean).powi(2) / rows as f64;
            }
        }
        let deviations: Vec<f64> = variance.iter().map(|variance| variance.sqrt()).collect();
        let liveliest = deviations.iter().copied().fold(0.0, f64::max);
        let lively = |deviation: f64| deviation > LEAST_SHARE * liveliest;
        let factor = deviations.iter().map(|deviation| if lively(*deviation) { 1.0 / deviation } else { 0.0 });
        Self { mean, factor: factor.collect() }
    }

    /// Writes `vector`, scaled, into `into`.
    pub(crate) fn apply(&self, vector: &[f32], into: &mut [f64]) {
        for (((scaled, number), mean), factor) in into.iter_mut().zip(vector).zip(&self.mean).zip(&self.factor) {
            *scaled = (f64::from(*number) - mean) * factor;
        }
    }

    /// The weight and bias of one output over vectors as they are, from those over scaled ones.
    pub(crate) fn undo(&self, weight: &[f64], bias: f64) -> (Vec<f64>, f64) {
        let unscaled: Vec<f64> = weight.iter().zip(&self.factor).map(|(weight, factor)| weight * factor).collect();
        let moved: f64 = unscaled.iter().zip(&self.mean).map(|(weight, mean)| weight * mean).sum();
        (unscaled, bias - moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::Answers;

    #[test]
    fn scaled_features_have_mean_0_and_deviation_1_and_constant_ones_vanish() {
        let vectors = vec![1.0, 100.0, 7.0, 3.0, 300.0, 7.0];
        let examples = Examples::new(3, 1, vectors, Answers::Values(vec![0.0; 2])).unwrap();
        let scaling = Scaling::standard(&examples);
        let mut scaled = [0.0; 3];
        scaling.apply(examples.vector(1), &mut scaled);
        assert_eq!(scaled, [1.0, 1.0, 0.0]);
    }

    #[test]
    fn weights_over_scaled_vectors_become_weights_over_vectors_as_they_are() {
        let vectors = vec![1.0, 10.0, 5.0, -20.0, 2.0, 7.0];
        let examples = Examples::new(2, 1, vectors, Answers::Values(vec![0.0; 3])).unwrap();
        let scaling = Scaling::standard(&examples);
        let (weight, bias) = scaling.undo(&[0.5, -2.0], 0.25);
        for row in 0..3 {
            let mut scaled = [0.0; 2];
            scaling.apply(examples.vector(row), &mut scaled);
            let vector = examples.vector(row);
            let expected = 0.5 * scaled[0] - 2.0 * scaled[1] + 0.25;
            let found = weight[0] * f64::from(vector[0]) + weight[1] * f64::from(vector[1]) + bias;
            assert!((expected - found).abs() < 1e-12, "{expected} {found}");
        }
    }
}
