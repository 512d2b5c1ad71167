//! Linear heads fitted on labelled vectors: convex losses, one solver, strengths of regularisation chosen on rows held
//! out. Knows no text, no encoder and no wire; what was answered to rows held out is for others to judge.
//!
//! [`fit`] is all of it. The modules stand in the order in which a fit meets them: labelled vectors, what is asked of
//! the fit, how vectors are scaled, the losses over blocks of rows, the solvers, and the search.

mod examples;
mod settings;
mod watch;
mod chance;
mod folds;
mod scaling;
mod product;
mod blocks;
mod loss;
mod objective;
mod line_search;
mod lbfgs;
mod least_squares;
mod split;
mod unseen;
mod temperature;
mod fit;
mod pull;
mod memory;
mod error;

pub use error::FitError;
pub use examples::{Answers, Examples, Question};
pub use fit::{Fitted, fit};
pub use memory::memory_bytes;
pub use pull::pull;
pub use settings::{DEFAULT_STRENGTHS, Settings};
pub use unseen::Unseen;
pub use watch::{Step, Unwatched, Watch};
