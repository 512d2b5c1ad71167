//! A head: one immutable version of the answer to a task. Shapes and finite numbers are checked here, once.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::adapter::{Adapter, AdapterError};
use crate::ask::Input;
use crate::fit_record::FitRecord;
use crate::golden::Golden;
use crate::trust::{Trust, TrustError};

/// The most labels one head may have.
pub const MAX_LABELS: usize = 10_000;
/// The longest label, in bytes.
pub const MAX_LABEL_BYTES: usize = 256;

/// What a head answers with, and so which rows it reads and what becomes of its logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeadKind {
    /// One label of several: softmax over the labels.
    Classification,
    /// Any number of labels: a sigmoid each.
    MultiLabel,
    /// A number, as it is.
    Regression,
    /// One of several choices: one logit a choice, softmax over the choices.
    MultipleChoice,
    /// A label for every word: reads every token, not the pooled vector.
    TokenClassification,
    /// How good an answer is: one raw logit an answer.
    Reward,
}

/// The numbers of a head and all that is said about it, unchecked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeadParts {
    /// Names of the outputs in order; empty where a single output needs no name.
    pub labels: Vec<String>,
    /// Row-major `[outputs, hidden]`.
    pub weight: Arc<[f32]>,
    /// `[outputs]`.
    pub bias: Arc<[f32]>,
    /// `[embedding]`: added to the word-embedding output of position 0.
    pub task_embedding: Option<Arc<[f32]>>,
    /// What its training changed of the encoder; its rows are computed with it in every mode.
    pub adapter: Option<Arc<Adapter>>,
    /// Per-label thresholds of a multi-label head, `[outputs]`; empty means 0.5 for all.
    pub thresholds: Vec<f32>,
    /// Divides the logits before softmax or sigmoid; absent means 1.
    pub temperature: Option<f32>,
    /// Put before the text where the caller gives none (reward and multiple choice).
    pub prompt: Option<String>,
    /// Whether a call that does not say uses the task embedding.
    pub task_embedding_by_default: bool,
    /// How far its answers are to be trusted.
    pub trust: Trust,
    /// What people should know.
    pub about: About,
}

/// What people should know about a head; nothing here changes an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// One or two sentences.
    pub description: String,
    /// What it is not good for, measured where possible.
    pub caution: String,
    /// Words to filter by.
    pub tags: Vec<String>,
    /// Licence of the head or of the data behind it.
    pub licence: String,
    /// The data set it was trained on, as its publishers call it.
    pub dataset: String,
    /// Where it came from: repository, revision, file.
    pub source: String,
    /// Measured figures by name, such as `accuracy`.
    pub metrics: BTreeMap<String, f64>,
    /// Inputs that show what the head is asked.
    pub samples: Vec<Input>,
    /// How it was fitted, where a server did that.
    pub fit: Option<FitRecord>,
    /// What it must answer; whoever installs it checks that it does.
    pub goldens: Vec<Golden>,
}

/// One linear layer over the encoder's output, with its labels. Cheap to share, never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    kind: HeadKind,
    hidden: usize,
    parts: HeadParts,
}

/// Why numbers and names do not make a head.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HeadError {
    /// The kind's name is not one of ours.
    #[error(
        "kind {0:?} is unknown: expected classification, multi_label, regression, multiple_choice, token_classification or reward"
    )]
    UnknownKind(String),
    /// The hidden size is zero or the bias is empty.
    #[error("a head needs at least one output and one hidden dimension")]
    Empty,
    /// More outputs than a head may have.
    #[error("{outputs} outputs, the limit is {MAX_LABELS}")]
    TooManyOutputs {
        /// Outputs of the refused head.
        outputs: usize,
    },
    /// The weight is not `[outputs, hidden]`.
    #[error("weight holds {found} numbers, [{outputs}, {hidden}] needs {}", outputs * hidden)]
    WeightShape {
        /// Numbers in the weight.
        found: usize,
        /// Outputs, from the bias.
        outputs: usize,
        /// Hidden size of the encoder.
        hidden: usize,
    },
    /// Kinds with a single logit a row cannot have several outputs.
    #[error("a {kind} head has one output, this one has {outputs}")]
    NotOneOutput {
        /// The head's kind.
        kind: HeadKind,
        /// Outputs found.
        outputs: usize,
    },
    /// Labels do not name the outputs one by one.
    #[error("{labels} labels for {outputs} outputs")]
    LabelCount {
        /// Labels given.
        labels: usize,
        /// Outputs found.
        outputs: usize,
    },
    /// A label is empty, too long, repeated, or holds control characters.
    #[error("label {index} is empty, repeated, longer than {MAX_LABEL_BYTES} bytes or holds a control character")]
    BadLabel {
        /// Its position, from 0.
        index: usize,
    },
    /// A number is NaN or infinite.
    #[error("{tensor} holds a number that is not finite, at {index}")]
    NotFinite {
        /// Which tensor.
        tensor: &'static str,
        /// Position of the first such number.
        index: usize,
    },
    /// Thresholds are not one probability a label.
    #[error("thresholds must be one number from 0 to 1 for each of {outputs} outputs of a multi_label head")]
    Thresholds {
        /// Outputs found.
        outputs: usize,
    },
    /// The temperature is not a positive number.
    #[error("the temperature must be a positive number")]
    Temperature,
    /// The adapter is none, or none for this encoder.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A sample input is none that the head could be asked.
    #[error("sample {index}: {reason}")]
    Sample {
        /// Its position, from 0.
        index: usize,
        /// The field and what is wrong with it.
        reason: String,
    },
    /// A golden is none that the head could meet.
    #[error("golden {index}: {reason}")]
    Golden {
        /// Its position, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// What the head says of its own answers does not suit it.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl HeadKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Classification,
        Self::MultiLabel,
        Self::Regression,
        Self::MultipleChoice,
        Self::TokenClassification,
        Self::Reward,
    ];

    /// The kind's name in manifests, on the command line and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::MultiLabel => "multi_label",
            Self::Regression => "regression",
            Self::MultipleChoice => "multiple_choice",
            Self::TokenClassification => "token_classification",
            Self::Reward => "reward",
        }
    }

    /// Whether the head reads every token instead of the pooled vector.
    #[must_use]
    pub fn reads_tokens(self) -> bool {
        self == Self::TokenClassification
    }

    fn has_one_output(self) -> bool {
        matches!(self, Self::Regression | Self::MultipleChoice | Self::Reward)
    }
}

impl FromStr for HeadKind {
    type Err = HeadError;

    fn from_str(name: &str) -> Result<Self, HeadError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| HeadError::UnknownKind(name.chars().take(64).collect()))
    }
}

impl fmt::Display for HeadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Head {
    /// Checks `parts` against `hidden`, the encoder's hidden size. Labels missing altogether become
    /// `LABEL_0`, `LABEL_1`, … where the kind has named outputs.
    ///
    /// # Errors
    /// The first thing that is wrong, naming the tensor or the label.
    pub fn new(kind: HeadKind, hidden: usize, mut parts: HeadParts) -> Result<Self, HeadError> {
        let outputs = parts.bias.len();
        if outputs == 0 || hidden == 0 {
            return Err(HeadError::Empty);
        }
        if outputs > MAX_LABELS {
            return Err(HeadError::TooManyOutputs { outputs });
        }
        if kind.has_one_output() && outputs != 1 {
            return Err(HeadError::NotOneOutput { kind, outputs });
        }
        if outputs.checked_mul(hidden) != Some(parts.weight.len()) {
            return Err(HeadError::WeightShape { found: parts.weight.len(), outputs, hidden });
        }
        check_finite("weight", &parts.weight)?;
        check_finite("bias", &parts.bias)?;
        check_finite("task_embedding", parts.task_embedding.as_deref().unwrap_or_default())?;
        if let Some(adapter) = parts.adapter.as_ref().filter(|adapter| adapter.hidden() != hidden) {
            return Err(AdapterError::Hidden { found: adapter.hidden(), expected: hidden }.into());
        }
        if parts.labels.is_empty() && !kind.has_one_output() {
            parts.labels = (0..outputs).map(|index| format!("LABEL_{index}")).collect();
        }
        check_labels(&parts.labels, outputs)?;
        let proper = |threshold: &f32| (0.0..=1.0).contains(threshold);
        if !parts.thresholds.is_empty()
            && (kind != HeadKind::MultiLabel
                || parts.thresholds.len() != outputs
                || !parts.thresholds.iter().all(proper))
        {
            return Err(HeadError::Thresholds { outputs });
        }
        if parts.temperature.is_some_and(|temperature| !(temperature.is_finite() && temperature > 0.0)) {
            return Err(HeadError::Temperature);
        }
        parts.trust.check(kind, hidden)?;
        let head = Self { kind, hidden, parts };
        crate::rows::check_samples(&head)?;
        crate::golden::check_goldens(&head)?;
        Ok(head)
    }

    /// What the head answers with.
    #[must_use]
    pub fn kind(&self) -> HeadKind {
        self.kind
    }

    /// Number of logits a row or a token gets.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.parts.bias.len()
    }

    /// Hidden size of the encoder it reads.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Everything else, as checked.
    #[must_use]
    pub fn parts(&self) -> &HeadParts {
        &self.parts
    }

    /// The label of output `index`; empty where outputs have no names.
    #[must_use]
    pub fn label(&self, index: usize) -> &str {
        self.parts.labels.get(index).map_or("", String::as_str)
    }

    /// The probability from which label `index` of a multi-label head counts as present.
    #[must_use]
    pub fn threshold(&self, index: usize) -> f32 {
        self.parts.thresholds.get(index).copied().unwrap_or(0.5)
    }
}

fn check_finite(tensor: &'static str, numbers: &[f32]) -> Result<(), HeadError> {
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(index) => Err(HeadError::NotFinite { tensor, index }),
        None => Ok(()),
    }
}

fn check_labels(labels: &[String], outputs: usize) -> Result<(), HeadError> {
    if !labels.is_empty() && labels.len() != outputs {
        return Err(HeadError::LabelCount { labels: labels.len(), outputs });
    }
    let mut seen = HashSet::new();
    let bad = |label: &String| {
        label.is_empty()
            || label.len() > MAX_LABEL_BYTES
            || label.chars().any(char::is_control)
            || !seen.insert(label.clone())
    };
    match labels.iter().position(bad) {
        Some(index) => Err(HeadError::BadLabel { index }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
