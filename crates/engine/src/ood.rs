//! How far a row's pooled vector lies from those of a head's training text, from a few kilobytes of statistics.
//!
//! The distance is Mahalanobis' with a diagonal covariance, between vectors that are divided by their length first:
//! Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks" (2018),
//! and Mueller and Hein, "Mahalanobis++" (2025), who show what the division by the length is worth. The length of a
//! pooled vector tells how sure the encoder is and hides its direction.
//!
//! Statistics belong to rows that carry the head's task embedding, where it has one.

use crate::ask::Mode;
use crate::head::Head;
use crate::model::RowOutput;

/// What a score means.
pub const OOD_UNIT: &str = "distance from the head's training text; 1 is what 95 % of that text stays within";

/// The fewest vectors that statistics are made of.
pub const MIN_OOD_VECTORS: usize = 20;

/// One vector in so many is held out of the first fit, to find the unit of the score.
const HELD_OUT: usize = 5;
/// The share of held-out vectors that lie within a distance of 1.
const WITHIN: f64 = 0.95;
/// A dimension's variance is drawn towards the mean over all dimensions as if this many vectors had shown that one.
const PRIOR_VECTORS: f64 = 10.0;
/// Keeps a deviation above zero where all vectors are equal.
const SMALLEST_DEVIATION: f32 = 1e-6;

/// Where the training text of a head lies among pooled vectors of length 1. Every number is a bfloat16, so that they
/// are written short and read back equal.
#[derive(Debug, Clone, PartialEq)]
pub struct OodStatistics {
    vectors: u64,
    scale: f32,
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

/// Why vectors or numbers make no statistics.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OodError {
    /// Too few vectors to tell where text ends.
    #[error("{found} vectors, at least {MIN_OOD_VECTORS} are needed")]
    TooFew {
        /// Vectors given.
        found: usize,
    },
    /// Vectors, means or deviations of different widths, or of none.
    #[error("vector {index} is {found} wide, expected {expected}")]
    Width {
        /// The first that differs.
        index: usize,
        /// Its width.
        found: usize,
        /// The width of the encoder's vectors.
        expected: usize,
    },
    /// A number is NaN or infinite, or a deviation or the scale is not above 0.
    #[error("{what} holds a number that is not finite, or not above 0 where it has to be")]
    Number {
        /// Which numbers.
        what: &'static str,
    },
}

impl OodStatistics {
    /// The statistics of `vectors`: pooled vectors of a head's training text, as the encoder gives them. The same
    /// vectors in the same order give the same statistics.
    ///
    /// # Errors
    /// [`OodError`] where there are too few, they differ in width, or one holds a number that is not finite.
    pub fn fit(vectors: &[&[f32]]) -> Result<Self, OodError> {
        if vectors.len() < MIN_OOD_VECTORS {
            return Err(OodError::TooFew { found: vectors.len() });
        }
        let width = vectors.first().map_or(0, |first| first.len());
        let odd = |vector: &&[f32]| vector.len() != width || width == 0;
        if let Some(index) = vectors.iter().position(odd) {
            let found = vectors.get(index).map_or(0, |vector| vector.len());
            return Err(OodError::Width { index, found, expected: width });
        }
        if vectors.iter().flat_map(|vector| vector.iter()).any(|number| !number.is_finite()) {
            return Err(OodError::Number { what: "a vector" });
        }
        let part = |held_out: bool| {
            let numbered = vectors.iter().enumerate();
            numbered.filter(move |(index, _)| (index % HELD_OUT == 0) == held_out).map(|(_, vector)| *vector)
        };
        let trial = Self::of_moments(vectors.len(), 1.0, moments(part(false), width))?;
        let mut distances: Vec<f32> = part(true).map(|vector| trial.distance(vector)).collect();
        distances.sort_by(f32::total_cmp);
        let place = ((distances.len() as f64 * WITHIN).ceil() as usize).saturating_sub(1);
        let scale = distances.get(place).copied().unwrap_or(1.0).max(f32::MIN_POSITIVE);
        Self::of_moments(vectors.len(), scale, moments(vectors.iter().copied(), width))
    }

    /// Statistics as they were written: of so many `vectors`, with the distance that counts as 1, and for each
    /// dimension of a vector of length 1 its mean and standard deviation. Numbers are rounded to bfloat16.
    ///
    /// # Errors
    /// [`OodError::Width`] or [`OodError::Number`].
    pub fn new(vectors: u64, scale: f32, mean: Vec<f32>, deviation: Vec<f32>) -> Result<Self, OodError> {
        if mean.is_empty() || mean.len() != deviation.len() {
            return Err(OodError::Width { index: 0, found: deviation.len(), expected: mean.len() });
        }
        let rounded = |numbers: Vec<f32>| numbers.into_iter().map(to_bfloat16).collect::<Vec<_>>();
        let (scale, mean, deviation) = (to_bfloat16(scale), rounded(mean), rounded(deviation));
        let is_positive = |number: &f32| number.is_finite() && *number > 0.0;
        if !is_positive(&scale) {
            return Err(OodError::Number { what: "the scale" });
        }
        if !mean.iter().all(|number| number.is_finite()) {
            return Err(OodError::Number { what: "the mean" });
        }
        if !deviation.iter().all(is_positive) {
            return Err(OodError::Number { what: "the deviation" });
        }
        Ok(Self { vectors, scale, mean, deviation })
    }

    /// How far `vector` lies from the training text, in [`OOD_UNIT`]; larger is farther. `None` where its width is
    /// another one.
    #[must_use]
    pub fn score(&self, vector: &[f32]) -> Option<f32> {
        (vector.len() == self.mean.len()).then(|| self.distance(vector) / self.scale)
    }

    /// How many vectors they were made of.
    #[must_use]
    pub fn vectors(&self) -> u64 {
        self.vectors
    }

    /// The distance that counts as 1.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The mean of each dimension of a vector of length 1, `[hidden]`.
    #[must_use]
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The standard deviation of each dimension of a vector of length 1, `[hidden]`.
    #[must_use]
    pub fn deviation(&self) -> &[f32] {
        &self.deviation
    }

    fn of_moments(vectors: usize, scale: f32, moments: Vec<(f64, f64)>) -> Result<Self, OodError> {
        let (mean, deviation): (Vec<f32>, Vec<f32>) = moments
            .into_iter()
            .map(|(mean, variance)| (mean as f32, (variance.sqrt() as f32).max(SMALLEST_DEVIATION)))
            .unzip();
        Self::new(vectors as u64, scale, mean, deviation)
    }

    /// The root of the mean square of the dimensions' distances from their means, each in its own deviations.
    fn distance(&self, vector: &[f32]) -> f32 {
        let shrink = 1.0 / length(vector);
        let dimensions = vector.iter().zip(&self.mean).zip(&self.deviation);
        let square = |((value, mean), deviation): ((&f32, &f32), &f32)| {
            let distance = (value * shrink - mean) / deviation;
            distance * distance
        };
        let squares: f32 = dimensions.map(square).sum();
        (squares / vector.len() as f32).sqrt()
    }
}

/// The score of a head's rows: the mean over them. `None` where the head has no statistics, where its task embedding
/// was left out of rows that should have it, or where a row lacks its pooled vector.
pub(crate) fn score_of_rows<'a>(
    head: &Head,
    mode: Mode,
    outputs: impl ExactSizeIterator<Item = &'a RowOutput>,
) -> Option<f32> {
    let statistics = head.parts().trust.ood.as_ref()?;
    if mode == Mode::Shared && head.parts().task_embedding.is_some() {
        return None;
    }
    let n_rows = outputs.len();
    let scores = outputs.map(|output| statistics.score(output.pooled.as_deref()?));
    let sum: f32 = scores.sum::<Option<f32>>()?;
    (n_rows > 0).then(|| sum / n_rows as f32).filter(|score| score.is_finite())
}

/// Mean and variance of each dimension of the vectors divided by their lengths, the variances drawn together a little.
fn moments<'a>(vectors: impl Iterator<Item = &'a [f32]>, width: usize) -> Vec<(f64, f64)> {
    let mut n_vectors = 0.0;
    let mut sums = vec![(0.0_f64, 0.0_f64); width];
    for vector in vectors {
        let shrink = 1.0 / f64::from(length(vector));
        n_vectors += 1.0;
        for ((sum, squares), value) in sums.iter_mut().zip(vector) {
            let value = f64::from(*value) * shrink;
            *sum += value;
            *squares += value * value;
        }
    }
    let n_vectors = f64::max(n_vectors, 1.0);
    let plain = sums.into_iter().map(|(sum, squares)| {
        let mean = sum / n_vectors;
        (mean, (squares / n_vectors - mean * mean).max(0.0))
    });
    let plain: Vec<_> = plain.collect();
    let typical = plain.iter().map(|(_, variance)| variance).sum::<f64>() / width.max(1) as f64;
    let together = |variance: f64| (variance * n_vectors + typical * PRIOR_VECTORS) / (n_vectors + PRIOR_VECTORS);
    plain.into_iter().map(|(mean, variance)| (mean, together(variance))).collect()
}

/// Euclidean; never 0, so that a vector of zeros stays one.
fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE)
}

/// The nearest number whose lower 16 bits are zero.
fn to_bfloat16(number: f32) -> f32 {
    let bits = number.to_bits();
    let half = 0x7fff + ((bits >> 16) & 1);
    if number.is_finite() { f32::from_bits(bits.wrapping_add(half) & 0xffff_0000) } else { number }
}

#[cfg(test)]
mod tests;
