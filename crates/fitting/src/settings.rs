//! What is asked of a fit.

use crate::error::FitError;

/// Strengths that suit standardised vectors, from a few dozen rows to a hundred thousand.
pub const DEFAULT_STRENGTHS: [f64; 11] = [1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5];

/// What is asked of a fit. The same settings on the same examples give the same numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Strengths of L2 on the mean loss to choose from; biases are never held back.
    pub strengths: Vec<f64>,
    /// Folds of the cross-validation, where no validation examples are given and there is something to choose.
    pub folds: usize,
    /// Every class counts the same, instead of every row.
    pub balanced: bool,
    /// Of the folds.
    pub seed: u64,
    /// Most iterations of one solution.
    pub max_iterations: usize,
    /// A solution is reached where no number of the gradient is larger.
    pub tolerance: f64,
    /// Features are brought to mean 0 and deviation 1 for the fit, so that one strength suits all of them. The result
    /// reads vectors as they are.
    pub standardise: bool,
    /// Also fit a temperature on rows held out.
    pub temperature: bool,
    /// Hold folds out also where there is nothing to choose, so that every row is answered unseen.
    pub hold_out: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strengths: DEFAULT_STRENGTHS.to_vec(),
            folds: 5,
            balanced: false,
            seed: 0,
            max_iterations: 500,
            tolerance: 1e-5,
            standardise: true,
            temperature: false,
            hold_out: false,
        }
    }
}

impl Settings {
    /// The strengths from strong to weak, each once: every solution is then a good start for the next.
    pub(crate) fn path(&self) -> Result<Vec<f64>, FitError> {
        let refuse = |setting, reason: &str| Err(FitError::Setting { setting, reason: reason.to_owned() });
        if self.strengths.is_empty() || self.strengths.iter().any(|strength| !(strength.is_finite() && *strength > 0.0))
        {
            return refuse("strengths", "at least one is needed, and each must be a number above 0");
        }
        if self.folds < 2 {
            return refuse("folds", "must be at least 2");
        }
        if self.max_iterations == 0 {
            return refuse("max_iterations", "must be at least 1");
        }
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            return refuse("tolerance", "must be a number above 0");
        }
        let mut path = self.strengths.clone();
        path.sort_by(|one, other| other.total_cmp(one));
        path.dedup();
        Ok(path)
    }
}
