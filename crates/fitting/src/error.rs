//! Why there is no fit.

/// Why there is no fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Whoever watches the fit has ended it.
    #[error("the fit was cancelled")]
    Cancelled,
    /// Vectors and answers do not belong together.
    #[error("{0}")]
    Shape(String),
    /// A vector holds NaN or infinity, or an answer does.
    #[error("row {row} holds a number that is not finite")]
    NotFinite {
        /// Its position, from 0.
        row: usize,
    },
    /// An answer names an output beyond the last one, or a choice that the question lacks.
    #[error("the answer of row {row} is {found}, there are {outputs}")]
    NoSuchAnswer {
        /// The position of its row or question, from 0.
        row: usize,
        /// What it names.
        found: u32,
        /// How many there are.
        outputs: usize,
    },
    /// Nothing can be learnt from so little.
    #[error("{0}")]
    TooFew(String),
    /// A setting is out of its range.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What holds for it.
        reason: String,
    },
    /// The solution holds numbers that a head cannot: the vectors are too large, or the strength far too small.
    #[error("the fit has no finite solution")]
    Diverged,
}
