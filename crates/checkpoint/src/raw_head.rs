//! A head as the files give it: numbers and labels, before anything was decided about its kind.

use std::sync::Arc;

use engine::{Adapter, HeadKind};

use serde::Deserialize;

use crate::error::CheckpointError;
use crate::weights::Weights;

/// One linear layer of a checkpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawHead {
    /// Its task, as the checkpoint or the user spells it.
    pub(crate) name: String,
    /// Row-major `[outputs, hidden]`.
    pub(crate) weight: Arc<[f32]>,
    /// `[outputs]`.
    pub(crate) bias: Arc<[f32]>,
    /// `[embedding]`.
    pub(crate) task_embedding: Option<Arc<[f32]>>,
    /// What its training changed of the encoder.
    pub(crate) adapter: Option<Arc<Adapter>>,
    /// What an export of ours says of the way from scores to an answer.
    pub(crate) answering: Answering,
    /// Names of the outputs where the files have them; their number is not checked.
    pub(crate) labels: Vec<String>,
    /// What the files themselves say about the kind, and which part of them says it.
    pub(crate) said: Option<(HeadKind, &'static str)>,
    /// What the reader of the files wants a person to know.
    pub(crate) notes: Vec<String>,
}

/// How scores become an answer, where that is not the kind's own way.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Answering {
    pub(crate) kind: Option<String>,
    pub(crate) prompt: Option<String>,
    pub(crate) temperature: Option<f32>,
    #[serde(default)]
    pub(crate) thresholds: Vec<f32>,
}

/// The linear layer `module` of `weights`, its weight turned to `[outputs, hidden]`.
///
/// The side that is not `hidden` counts the outputs; where both are, rows do. A missing bias is zero, with a note.
///
/// # Errors
/// If the weight is missing or neither side is `hidden`, or the bias does not have one number for each output.
pub(crate) fn read_linear(weights: &Weights, module: &str, hidden: usize) -> Result<RawHead, CheckpointError> {
    let name = format!("{module}.weight");
    let shape = &weights.entry(&name)?.shape;
    let mut numbers = weights.numbers(&name)?;
    let mut notes = Vec::new();
    let outputs = match shape.as_slice() {
        [rows, columns] if *columns == hidden => *rows,
        [rows, columns] if *rows == hidden => {
            notes.push("weight was stored transposed".to_owned());
            numbers = transpose(&numbers, *rows, *columns);
            *columns
        }
        _ => {
            let expected = format!("[outputs, {hidden}]");
            return Err(CheckpointError::BadShape { name, found: shape.clone(), expected });
        }
    };
    let name = format!("{module}.bias");
    let bias = match weights.entry(&name) {
        Ok(entry) if entry.shape == [outputs] => weights.numbers(&name)?,
        Ok(entry) => {
            let expected = format!("[{outputs}], as the weight has");
            return Err(CheckpointError::BadShape { name, found: entry.shape.clone(), expected });
        }
        Err(_) => {
            notes.push("no bias, taken as zero".to_owned());
            vec![0.0; outputs]
        }
    };
    Ok(RawHead { weight: numbers.into(), bias: bias.into(), notes, ..RawHead::default() })
}

/// The matrix `[rows, columns]` as `[columns, rows]`.
pub(crate) fn transpose(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let column = |column: usize| numbers.iter().skip(column).step_by(columns.max(1)).take(rows);
    (0..columns).flat_map(column).copied().collect()
}
