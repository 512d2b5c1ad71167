//! Options of a question, shared by the verbs that ask one.

use api::v1::{Aggregation, ClassifyOptions, Mode, SpanGrouping, Truncation};
use clap::{Args, ValueEnum};

/// How a task is asked.
#[derive(Debug, Args)]
pub(crate) struct OptionArguments {
    /// Version number or alias [default: live].
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// Show raw logits: of every label unless --top-k says otherwise, and of every token of a token classification.
    #[arg(long)]
    pub(crate) logits: bool,
    /// Return only the best of the labels or choices.
    #[arg(long, value_name = "N")]
    pub(crate) top_k: Option<u32>,
    /// Whether the task's embedding goes through the encoder [default: as the head says].
    #[arg(long, value_enum, value_name = "STATE")]
    task_embedding: Option<Switch>,
    /// What to do with input that is too long [default: cut].
    #[arg(long, value_enum, value_name = "WAY")]
    truncation: Option<Overlong>,
    /// How windows over a long text are combined [default: mean].
    #[arg(long, value_enum, value_name = "WAY")]
    aggregation: Option<Combination>,
    /// Longest row in tokens, special tokens included [default: the encoder's limit].
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// What a span of a token classification is [default: entities].
    #[arg(long, value_enum, value_name = "UNIT")]
    spans: Option<SpanUnit>,
    /// Key by which a canary rule assigns the call.
    #[arg(long, value_name = "KEY")]
    traffic_key: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What to do with input that is too long.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Overlong {
    /// Cut the longer side at its end; the answer says so.
    Cut,
    /// Refuse the input.
    Refuse,
    /// Read it in overlapping windows.
    Windows,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Combination {
    Mean,
    Max,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SpanUnit {
    /// Neighbouring words of one entity together.
    Entities,
    /// Every word.
    Words,
}

impl OptionArguments {
    /// The options as the contract has them.
    pub(crate) fn message(&self) -> ClassifyOptions {
        let mode = self.task_embedding.map(|switch| match switch {
            Switch::On => Mode::Exact,
            Switch::Off => Mode::Shared,
        });
        let aggregation = self.aggregation.map(|combination| match combination {
            Combination::Mean => Aggregation::Mean,
            Combination::Max => Aggregation::Max,
        });
        let spans = self.spans.map(|unit| match unit {
            SpanUnit::Entities => SpanGrouping::Entities,
            SpanUnit::Words => SpanGrouping::Words,
        });
        ClassifyOptions {
            logits: self.logits,
            top_k: self.top_k,
            mode: mode.unwrap_or_default().into(),
            truncation: self.truncation.map(Truncation::from).unwrap_or_default().into(),
            max_tokens: self.max_tokens,
            aggregation: aggregation.unwrap_or_default().into(),
            spans: spans.unwrap_or_default().into(),
            traffic_key: self.traffic_key.clone().unwrap_or_default(),
        }
    }

    pub(crate) fn version(&self) -> String {
        self.version.clone().unwrap_or_default()
    }
}

impl From<Overlong> for Truncation {
    fn from(overlong: Overlong) -> Self {
        match overlong {
            Overlong::Cut => Self::Cut,
            Overlong::Refuse => Self::Refuse,
            Overlong::Windows => Self::Windows,
        }
    }
}
