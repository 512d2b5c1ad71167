//! What the answers to every kind of task have in common.

use std::fmt::Debug;

use crate::calibration::Bin;

/// A figure by name, and what may be said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// As it stands in reports, such as `macro_f1`.
    pub name: &'static str,
    /// Whether resampling tells how far to trust it. It does not for a calibration error, which every resample makes
    /// larger than it is.
    pub has_interval: bool,
}

/// Figures of one label or entity type.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelFigures {
    /// The label.
    pub label: String,
    /// Rows, or spans, that have it.
    pub support: u64,
    /// Right answers among those given, 0 to 1; 0 where none was given.
    pub precision: f64,
    /// Right answers among those due, 0 to 1; 0 where none was due.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
}

/// The answers of one version beside the right ones.
pub trait Sheet: Debug + Send + Sync {
    /// Rows judged.
    fn rows(&self) -> usize;

    /// The figures there are; the first is the one that two versions are compared by.
    fn names(&self) -> &[Figure];

    /// The figures in the order of [`Sheet::names`], with row `i` counted `weights[i]` times; `None` where one is not
    /// defined, such as the correlation with a constant.
    fn figures(&self, weights: &[u32]) -> Vec<Option<f64>>;

    /// Whether each row was answered right, where that is what the first figure counts.
    fn right(&self) -> Option<Vec<bool>>;

    /// One entry a label in label order, or an entity type in order of name; empty where answers have no labels.
    fn labels(&self) -> Vec<LabelFigures> {
        Vec::new()
    }

    /// Rows by right label and by answer; empty where answers are not one of several labels.
    fn confusion(&self) -> Vec<Vec<u64>> {
        Vec::new()
    }

    /// Probabilities against truth; empty where answers have no probability.
    fn calibration(&self) -> Vec<Bin> {
        Vec::new()
    }

    /// The figures with every row counted once.
    fn plain(&self) -> Vec<Option<f64>> {
        self.figures(&vec![1; self.rows()])
    }
}

/// A figure with an interval.
pub(crate) const fn figure(name: &'static str) -> Figure {
    Figure { name, has_interval: true }
}

/// A figure without one.
pub(crate) const fn without_interval(name: &'static str) -> Figure {
    Figure { name, has_interval: false }
}

/// The mean of `values`, value `i` counted `weights[i]` times.
pub(crate) fn weighted_mean(values: &[f64], weights: &[u32]) -> Option<f64> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let sum: f64 = values.iter().zip(weights).map(|(value, weight)| value * f64::from(*weight)).sum();
    (total > 0).then(|| sum / total as f64)
}
