//! Answers held against the right ones: figures, intervals, paired tests, temperatures and thresholds. Pure arithmetic.
//!
//! A [`Sheet`] holds the answers of one version of one kind of task, row by row; every figure is defined over rows that
//! may count several times, so that the bootstrap draws weights instead of copying rows. Figures equal those of
//! scikit-learn, SciPy and seqeval on the same answers; `tests/goldens` holds what they say and the script that asked.

mod sheet;
mod softmax;
mod counts;
mod calibration;
mod classes;
mod label_sets;
mod numbers;
mod choices;
mod entities;
mod spans;
mod bootstrap;
mod paired;
mod temperature;
mod thresholds;

pub use bootstrap::{Interval, Resampled, Resampling, resample};
pub use calibration::{BINS, Bin};
pub use choices::ChoiceSheet;
pub use classes::ClassSheet;
pub use label_sets::{Deciding, LabelSheet};
pub use numbers::NumberSheet;
pub use paired::{mcnemar_exact, two_sided_p};
pub use sheet::{Figure, LabelFigures, Sheet};
pub use softmax::{best, sigmoid};
pub use spans::{SpanSheet, Words};
pub use temperature::{FittedTemperature, Trial, fit_temperature};
pub use thresholds::{FittedThreshold, fit_threshold, fit_thresholds, moved_threshold};
