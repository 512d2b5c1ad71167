//! What a caller wants: inputs, a task, and how they are to be read.

use tokio::time::Instant;

use crate::shares::Lane;
use crate::task::{Selector, TaskKey};

/// One input. Which fields may be set depends on the head's kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// Running text: the text itself, the premise of a pair, or the prompt before choices.
    pub text: Option<String>,
    /// The second text of a pair, or the hypothesis.
    pub text_pair: Option<String>,
    /// The choices of a multiple-choice question, or the answers to be rewarded.
    pub choices: Vec<String>,
    /// Text already split into words.
    pub tokens: Vec<String>,
}

/// Whether a row carries its task's embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The row is computed for this task alone, with its embedding where it has one.
    Exact,
    /// The task's embedding is left out, so that one row can serve many heads.
    Shared,
}

/// What happens to an input longer than the encoder's limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Truncation {
    /// It is cut, longest side first, at its right end, and the reply says so.
    #[default]
    Cut,
    /// It is refused.
    Refuse,
    /// It is read in overlapping windows, whose logits are combined.
    Windows(Aggregation),
}

/// How the logits of several windows become one row of logits. Token heads judge every token in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Aggregation {
    /// Their mean, weighted by the tokens of the text in each window.
    #[default]
    Mean,
    /// The largest, label by label.
    Max,
}

/// Who waits for the rows of an ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// A caller does: they go as soon as a worker is free.
    #[default]
    Caller,
    /// Nobody does, as in a fit: they go when callers hardly notice, and only a few are in flight.
    Background,
}

/// How inputs are to be read, whatever is asked of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// What happens to long input.
    pub truncation: Truncation,
    /// A lower limit than the encoder's own, special tokens included.
    pub max_tokens: Option<usize>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Who waits.
    pub priority: Priority,
    /// The tenant whose share of a busy encoder the rows take; see [`crate::Shares::lane`]. `None`: the one whose task is
    /// asked.
    pub lane: Option<Lane>,
}

/// A question: one task, one or more inputs.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The task.
    pub key: TaskKey,
    /// Which of its versions.
    pub selector: Selector,
    /// The inputs; the answers come in the same order.
    pub inputs: Vec<Input>,
    /// With or without the task embedding; `None` leaves it to the head.
    pub mode: Option<Mode>,
    /// How the inputs are to be read.
    pub reading: Reading,
}
