//! The heads of a multi-task checkpoint: `Z`, one row for each task, and `classifiers.{i}`, one linear layer each.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::encoder_config::EncoderConfig;
use crate::error::CheckpointError;
use crate::raw_head::{RawHead, read_linear, transpose};
use crate::task_list::TaskList;
use crate::weights::Weights;

const CLASSIFIERS: &str = "classifiers.";
const TASK_EMBEDDINGS: [&str; 2] = ["Z", "Z.weight"];

/// Whether `name` belongs to the heads of a multi-task checkpoint.
pub(crate) fn is_ours(name: &str) -> bool {
    TASK_EMBEDDINGS.contains(&name) || classifier_index(name).is_some()
}

/// The number in `classifiers.{i}.weight` or `classifiers.{i}.bias`.
fn classifier_index(name: &str) -> Option<usize> {
    let (index, part) = name.strip_prefix(CLASSIFIERS)?.split_once('.')?;
    ["weight", "bias"].contains(&part).then(|| index.parse().ok()).flatten()
}

/// Reads one head for each listed task, in list order.
///
/// # Errors
/// If names and tensors do not go together, or a tensor has a shape that no reading explains.
pub(crate) fn read(
    weights: &Weights,
    list: &TaskList,
    config: &EncoderConfig,
) -> Result<Vec<RawHead>, CheckpointError> {
    let indices: BTreeSet<usize> = weights.names().filter_map(classifier_index).collect();
    let n_tasks = list.tasks.len();
    if n_tasks == 0 {
        return Err(CheckpointError::BadTaskList("config.json lists no tasks".to_owned()));
    }
    if !indices.iter().copied().eq(0..n_tasks) {
        let found = indices.len();
        let last = indices.last().copied().unwrap_or(0);
        let reason = format!("{n_tasks} names, but {found} classifiers, the last numbered {last}");
        return Err(CheckpointError::BadTaskList(reason));
    }
    let embeddings = task_embeddings(weights, n_tasks, config.embedding)?;
    let mut heads = Vec::with_capacity(n_tasks);
    for (index, task) in list.tasks.iter().enumerate() {
        let mut head = read_linear(weights, &format!("{CLASSIFIERS}{index}"), config.hidden)?;
        head.name.clone_from(task);
        head.notes.extend(list.remark(index, head.bias.len(), config.hidden));
        head.labels = list.labels.get(index).cloned().unwrap_or_default();
        head.task_embedding = embeddings.as_ref().and_then(|rows| rows.get(index)).cloned();
        heads.push(head);
    }
    Ok(heads)
}

/// The rows of `Z`, one for each task: `None` where there is no `Z`. It may be stored as `[tasks, embedding]` or
/// transposed; where both sides are equal, rows are tasks.
fn task_embeddings(
    weights: &Weights,
    n_tasks: usize,
    embedding: usize,
) -> Result<Option<Vec<Arc<[f32]>>>, CheckpointError> {
    let mut there = TASK_EMBEDDINGS.into_iter().filter(|name| weights.entry(name).is_ok());
    let Some(name) = there.next() else { return Ok(None) };
    if let Some(twin) = there.next() {
        let hint = Some("it is there under both names, Z and Z.weight");
        return Err(CheckpointError::UnexpectedTensor { name: twin.to_owned(), hint });
    }
    let shape = weights.entry(name)?.shape.clone();
    let mut numbers = weights.numbers(name)?;
    if shape == [embedding, n_tasks] && embedding != n_tasks {
        numbers = transpose(&numbers, embedding, n_tasks);
    } else if shape != [n_tasks, embedding] {
        let expected = format!("[{n_tasks}, {embedding}]: a row for each task, as wide as the word embeddings");
        return Err(CheckpointError::BadShape { name: name.to_owned(), found: shape, expected });
    }
    Ok(Some(numbers.chunks_exact(embedding).map(Arc::from).collect()))
}
