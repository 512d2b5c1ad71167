//! How a head was fitted: enough to do it again on the same rows, and what it was then found to be worth.

use std::collections::BTreeMap;

/// How a head was fitted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FitRecord {
    /// Digest of the labelled rows in their order, `sha256:` and hex digits.
    pub data_digest: String,
    /// When it was fitted, in seconds since 1970.
    pub unix_seconds: u64,
    /// How long it took, in milliseconds.
    pub elapsed_millis: u64,
    /// Rows fitted on.
    pub train_rows: u64,
    /// Rows judged by.
    pub validation_rows: u64,
    /// Rows that could not be used.
    pub skipped_rows: u64,
    /// The solver, such as `lbfgs`.
    pub solver: String,
    /// Strength of regularisation: L2 on the mean loss over standardised vectors.
    pub l2_strength: f64,
    /// Folds of the cross-validation; 0 where there was none.
    pub folds: u32,
    /// How classes weighed: `none` or `balanced`.
    pub class_weights: String,
    /// Seed of folds and shuffles.
    pub seed: u64,
    /// Most iterations of the solver.
    pub max_iterations: u32,
    /// Its iterations.
    pub iterations: u32,
    /// Whether it reached its tolerance within them.
    pub converged: bool,
    /// Steps by which a task embedding was learned through the encoder; 0 where none was.
    pub embedding_steps: u32,
    /// Figures on validation rows, or on rows that folds held out, by the names of an evaluation; empty where nothing was
    /// held out. Those that end in `_fitted` are with the temperature and thresholds fitted on the same rows.
    pub figures: BTreeMap<String, f64>,
}
