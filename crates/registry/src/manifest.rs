//! `head.toml`, the manifest of a head folder, and its only parser and writer.
//!
//! A head folder teaches the server one task: this manifest says what the numbers mean, `weights.safetensors`
//! beside it holds the numbers. A complete manifest, with every key there is:
//!
//! ```toml
//! # Required. The layout of this file; 1 is the only one.
//! format = 1
//! # Required. Parts of letters, digits and . _ + & - joined by `/`, at most 128 bytes.
//! task = "reviews/aspects"
//! # Required. classification, multi_label, regression, multiple_choice, token_classification or reward.
//! kind = "multi_label"
//! # The names of the outputs, in the order of the weight's rows: non-empty, different, at most 256 bytes each and
//! # 10,000 in all. May be left out: outputs are then called LABEL_0, LABEL_1, …; kinds with one output (regression,
//! # multiple_choice, reward) need none.
//! labels = ["food", "service"]
//! # Required. The digest of the encoder this head was trained on (see `bundle`).
//! encoder = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
//! # "on" or "off": whether a call that does not say uses the task embedding. Left out: "on" exactly when the
//! # weights hold one.
//! task_embedding = "on"
//! # Required. SHA-256 of the bytes of weights.safetensors, 64 lower-case hexadecimal digits.
//! weights_sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
//! # Optional, at most 4,096 bytes: put before the text where the caller gives none (reward, multiple_choice). Of a
//! # reward head it is a template, in which {} stands for the prompt of Score and Compare.
//! prompt = "What is this review about?"
//! # Optional, multi_label only: one number from 0 to 1 for each label, from which on it counts as present.
//! # Left out: 0.5 for all.
//! thresholds = [0.5, 0.35]
//! # Optional: divides the logits before softmax or sigmoid; a positive number.
//! temperature = 1.0
//! # Optional, classification and multiple_choice only: the best probability, 0 to 1, below which answers say `abstain`.
//! abstain_below = 0.4
//! # Optional, regression only: the smallest and the largest value that mean something, for display.
//! value_minimum = 1.0
//! value_maximum = 5.0
//!
//! # Optional, all of it: what people should know. Nothing here changes an answer.
//! [about]
//! # At most 4,096 bytes each.
//! description = "Which aspects does a restaurant review mention?"
//! caution = "Trained on short reviews; weak on irony."
//! # At most 64 words of at most 64 bytes.
//! tags = ["reviews", "english"]
//! # At most 1,024 bytes each.
//! licence = "Apache-2.0"
//! # The data set it was trained on, as its publishers call it.
//! dataset = "reviews"
//! source = "example/reviews, revision 8d51e7e, train"
//!
//! # At most 64 finite numbers; names of at most 64 bytes.
//! [about.metrics]
//! f1 = 0.91
//!
//! # At most 16: inputs that show what the head is asked, with the fields that its kind takes of text, text_pair,
//! # choices and tokens, at most 4,096 bytes each. `SuggestTasks` compares texts with them.
//! [[about.samples]]
//! text = "The soup was cold, but the waiter could not have been kinder."
//!
//! # Optional: how a server fitted the head. Nothing here changes an answer.
//! [fit]
//! # The labelled rows in their order.
//! data_digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
//! # Seconds since 1970, and how long it took.
//! unix_seconds = 1764000000
//! elapsed_millis = 41250
//! train_rows = 9003
//! validation_rows = 1000
//! skipped_rows = 2
//! # lbfgs or normal_equations.
//! solver = "lbfgs"
//! # L2 on the mean loss over standardised vectors.
//! l2_strength = 0.003
//! # 0 where nothing was chosen by cross-validation.
//! folds = 5
//! # none or balanced.
//! class_weights = "none"
//! # Any whole number from 0, in quotes because TOML's end sooner.
//! seed = "7"
//! max_iterations = 500
//! iterations = 107
//! converged = true
//! # Steps by which a task embedding was learned; 0 where none was.
//! embedding_steps = 0
//!
//! # Optional, as `[about.metrics]`: what it was worth on validation rows, or on rows that folds held out.
//! [fit.figures]
//! micro_f1 = 0.88
//! micro_f1_fitted = 0.91
//!
//! # Optional: where the training text lies among the encoder's pooled vectors, each divided by its length; see
//! # `OodStatistics` of the engine, which makes it.
//! [ood]
//! # How many vectors it was made of.
//! vectors = 3200
//! # The distance that counts as 1: 95 % of the training text stays within.
//! scale = 1.125
//! # Mean and standard deviation of each dimension: four hexadecimal digits a number, its bfloat16.
//! mean = "3d00bd8000003c40"
//! deviation = "3d803d803dc03d00"
//!
//! # Optional, at most 16: inputs, as in `[[about.samples]]`, with the logits that the head must give for them. A server
//! # on which it gives others refuses the head.
//! [[golden]]
//! text = "The soup was cold."
//! # One number for each output, for each choice, or, row by row, for each token and label.
//! logits = [2.5, -1.25]
//! # How far each may be off in fp32; other modes may be off by 0.5 at least. Left out: 0.01.
//! tolerance = 0.01
//! ```
//!
//! Unknown keys are refused, so that a misspelt one cannot pass silently.
//! The tensors of `weights.safetensors` are `weight [outputs, hidden]`, `bias [outputs]`, optionally
//! `task_embedding [embedding]`, and those of an adapter where the head changes the encoder (`adapter_tensors`), in F32, F16
//! or BF16; see [`crate::weights`].

use std::str::FromStr;

use engine::{About, Head, HeadKind, HeadParts, TaskName, Trust};
use serde::{Deserialize, Serialize};

use crate::about::RawAbout;
use crate::digest::Digest;
use crate::fit_table::RawFit;
use crate::golden_table::{self, RawGolden};
use crate::ood::RawOod;
use crate::weights::Tensors;

/// The longest `head.toml`, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

const FORMAT: u32 = 1;
pub(crate) const MAX_PROSE_BYTES: usize = 4096;
pub(crate) const MAX_LINE_BYTES: usize = 1024;
pub(crate) const MAX_WORD_BYTES: usize = 64;
pub(crate) const MAX_WORDS: usize = 64;

/// Why a `head.toml` was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// The file is larger than any manifest needs to be.
    #[error("head.toml has {bytes} bytes, the limit is {MAX_MANIFEST_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not UTF-8, not TOML, a required key is missing, or a key is unknown or of another type.
    #[error("head.toml cannot be read: {0}")]
    Syntax(String),
    /// Written for another layout of the manifest.
    #[error("head.toml has format {found}, this program reads format {FORMAT}")]
    Format {
        /// The format it names.
        found: u32,
    },
    /// A value breaks the rule for its key.
    #[error("head.toml, key {key}: {rule}")]
    Value {
        /// The key.
        key: &'static str,
        /// What holds for its value.
        rule: String,
    },
}

/// A parsed `head.toml`. Labels, thresholds and temperature are checked against the weights by [`Head::new`].
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The task the head answers.
    pub task: TaskName,
    /// What it answers with.
    pub kind: HeadKind,
    /// Names of the outputs in order; may be empty.
    pub labels: Vec<String>,
    /// The encoder the head was trained on.
    pub encoder: Digest,
    /// Whether calls use the task embedding by default; `None` means exactly when there is one.
    pub task_embedding_by_default: Option<bool>,
    /// Digest of the bytes of `weights.safetensors`.
    pub weights: Digest,
    /// Put before the text where the caller gives none.
    pub prompt: Option<String>,
    /// Per-label thresholds; empty means 0.5 for all.
    pub thresholds: Vec<f32>,
    /// Divides the logits before softmax or sigmoid.
    pub temperature: Option<f32>,
    /// How far the head's answers are to be trusted.
    pub trust: Trust,
    /// What people should know.
    pub about: About,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    format: u32,
    task: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    encoder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_embedding: Option<Switch>,
    weights_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    thresholds: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abstain_below: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_minimum: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_maximum: Option<f32>,
    #[serde(default, skip_serializing_if = "RawAbout::is_empty")]
    about: RawAbout,
    #[serde(skip_serializing_if = "Option::is_none")]
    fit: Option<RawFit>,
    ood: Option<RawOod>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    golden: Vec<RawGolden>,
}

#[derive(Deserialize, Serialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    Off,
}

impl Manifest {
    /// Parses the bytes of a `head.toml`.
    ///
    /// # Errors
    /// The first thing that is wrong, naming the key.
    pub fn parse(head_toml: &[u8]) -> Result<Self, ManifestError> {
        if head_toml.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { bytes: head_toml.len() });
        }
        let text = std::str::from_utf8(head_toml).map_err(|error| ManifestError::Syntax(error.to_string()))?;
        let raw: RawManifest = toml::from_str(text).map_err(|error| ManifestError::Syntax(one_line(&error)))?;
        raw.check()
    }

    /// The manifest that describes `head`, whose written weights have the digest `weights`.
    #[must_use]
    pub fn describing(task: &TaskName, head: &Head, encoder: Digest, weights: Digest) -> Self {
        let parts = head.parts();
        Self {
            task: task.clone(),
            kind: head.kind(),
            labels: parts.labels.clone(),
            encoder,
            task_embedding_by_default: Some(parts.task_embedding_by_default),
            weights,
            prompt: parts.prompt.clone(),
            thresholds: parts.thresholds.clone(),
            temperature: parts.temperature,
            trust: parts.trust.clone(),
            about: parts.about.clone(),
        }
    }

    /// The text of `head.toml`: equal manifests give equal bytes.
    ///
    /// # Errors
    /// [`ManifestError::Syntax`] if a value has no TOML form.
    pub fn to_toml(&self) -> Result<String, ManifestError> {
        let raw = RawManifest {
            format: FORMAT,
            task: self.task.to_string(),
            kind: self.kind.to_string(),
            labels: self.labels.clone(),
            encoder: self.encoder.to_string(),
            task_embedding: self.task_embedding_by_default.map(|on| if on { Switch::On } else { Switch::Off }),
            weights_sha256: self.weights.hex(),
            prompt: self.prompt.clone(),
            thresholds: self.thresholds.clone(),
            temperature: self.temperature,
            abstain_below: self.trust.abstain_below,
            value_minimum: self.trust.value_minimum,
            value_maximum: self.trust.value_maximum,
            about: RawAbout::of(&self.about),
            fit: self.about.fit.as_ref().map(RawFit::of),
            ood: self.trust.ood.as_deref().map(RawOod::of),
            golden: self.about.goldens.iter().map(RawGolden::of).collect(),
        };
        toml::to_string(&raw).map_err(|error| ManifestError::Syntax(error.to_string()))
    }

    /// Everything a head needs, with the numbers of `tensors`.
    #[must_use]
    pub fn head_parts(&self, tensors: Tensors) -> HeadParts {
        let by_default = self.task_embedding_by_default.unwrap_or(tensors.task_embedding.is_some());
        HeadParts {
            labels: self.labels.clone(),
            weight: tensors.weight,
            bias: tensors.bias,
            task_embedding: tensors.task_embedding,
            adapter: tensors.adapter,
            thresholds: self.thresholds.clone(),
            temperature: self.temperature,
            prompt: self.prompt.clone(),
            task_embedding_by_default: by_default,
            trust: self.trust.clone(),
            about: self.about.clone(),
        }
    }
}

impl RawManifest {
    fn check(self) -> Result<Manifest, ManifestError> {
        if self.format != FORMAT {
            return Err(ManifestError::Format { found: self.format });
        }
        self.about.check()?;
        let prompt = self.prompt.as_deref().unwrap_or_default();
        check_prose("prompt", prompt, MAX_PROSE_BYTES)?;
        Ok(Manifest {
            task: parse_value("task", &self.task)?,
            kind: parse_value("kind", &self.kind)?,
            labels: self.labels,
            encoder: parse_value("encoder", &self.encoder)?,
            task_embedding_by_default: self.task_embedding.map(|switch| switch == Switch::On),
            weights: Digest::from_hex(&self.weights_sha256).map_err(|_| ManifestError::Value {
                key: "weights_sha256",
                rule: "must be 64 lower-case hexadecimal digits".to_owned(),
            })?,
            prompt: self.prompt,
            thresholds: self.thresholds,
            temperature: self.temperature,
            trust: Trust {
                abstain_below: self.abstain_below,
                value_minimum: self.value_minimum,
                value_maximum: self.value_maximum,
                ood: self.ood.map(RawOod::check).transpose()?,
            },
            about: About {
                fit: self.fit.map(RawFit::into_record).transpose()?,
                goldens: golden_table::parse(self.golden)?,
                ..self.about.into_about()
            },
        })
    }
}

fn parse_value<T: FromStr<Err: std::fmt::Display>>(key: &'static str, value: &str) -> Result<T, ManifestError> {
    value.parse().map_err(|error: T::Err| ManifestError::Value { key, rule: error.to_string() })
}

pub(crate) fn check_prose(key: &'static str, text: &str, limit: usize) -> Result<(), ManifestError> {
    let refuse = |rule: String| Err(ManifestError::Value { key, rule });
    if text.len() > limit {
        return refuse(format!("{} bytes, the limit is {limit}", text.len()));
    }
    if text.chars().any(|character| character.is_control() && character != '\n' && character != '\t') {
        return refuse("holds a control character".to_owned());
    }
    Ok(())
}

/// The message without the excerpt of the file, which may be long and is the caller's own text.
fn one_line(error: &toml::de::Error) -> String {
    error.message().chars().take(256).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests;
