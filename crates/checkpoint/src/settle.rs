//! From a raw head to a head: its name, its kind and its labels are settled, and what was decided is noted.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::{About, Head, HeadKind, HeadParts, TaskName};
use registry::Digest;

use crate::error::CheckpointError;
use crate::kinds::{Kinds, has_one_output};
use crate::names;
use crate::raw_head::RawHead;
use crate::report::HeadRow;

/// What all heads of a checkpoint have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelFacts<'a> {
    /// Width of the encoder's output.
    pub(crate) hidden: usize,
    /// Whether sequence heads can be served.
    pub(crate) has_pooler: bool,
    /// Names, revisions and files.
    pub(crate) origin: &'a str,
    /// As the model card names it; may be empty.
    pub(crate) licence: &'a str,
}

/// Decides everything about one head, and makes it.
///
/// # Errors
/// If its name or numbers cannot be a head's, or it reads a pooler that the encoder does not have.
pub(crate) fn settle(raw: RawHead, kinds: &Kinds, model: &ModelFacts<'_>) -> Result<(HeadRow, Head), CheckpointError> {
    let decision = kinds.decide(&raw)?;
    let (task, renamed) = names::task_name(&raw.name)?;
    let outputs = raw.bias.len();
    let mut notes = raw.notes;
    if renamed {
        notes.push(format!("listed as {:?}", raw.name));
    }
    if !decision.kind.reads_tokens() && !model.has_pooler {
        return Err(CheckpointError::MissingTensor { name: format!("pooler.dense.weight, which {task} reads") });
    }
    let labels = usable_labels(raw.labels, decision.kind, outputs, &mut notes);
    let weight = Digest::of(&raw.weight.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    let row = |labels: &[String]| HeadRow {
        task: task.clone(),
        kind: decision.kind,
        decided_by: decision.by,
        outputs,
        labels: labels.to_vec(),
        has_task_embedding: raw.task_embedding.is_some(),
        weight,
        notes: notes.clone(),
    };
    let mut parts = HeadParts {
        labels,
        weight: Arc::clone(&raw.weight),
        bias: Arc::clone(&raw.bias),
        task_embedding: raw.task_embedding.clone(),
        adapter: raw.adapter.clone(),
        task_embedding_by_default: raw.task_embedding.is_some(),
        prompt: raw.answering.prompt.clone().or(decision.prompt.clone()),
        temperature: raw.answering.temperature,
        about: About { source: model.origin.to_owned(), licence: model.licence.to_owned(), ..About::default() },
        ..HeadParts::default()
    };
    if decision.kind == HeadKind::MultiLabel {
        parts.thresholds = raw.answering.thresholds;
    }
    let head = Head::new(decision.kind, model.hidden, parts)
        .map_err(|source| CheckpointError::BadHead { task: task.to_string(), source })?;
    Ok((row(&head.parts().labels), head))
}

/// The labels if they name the outputs one by one; otherwise none, with a note that says why.
fn usable_labels(labels: Vec<String>, kind: HeadKind, outputs: usize, notes: &mut Vec<String>) -> Vec<String> {
    if has_one_output(kind) || labels.is_empty() {
        return Vec::new();
    }
    let distinct = labels.iter().collect::<BTreeSet<_>>().len() == labels.len();
    let proper = |label: &String| {
        !label.is_empty() && label.len() <= engine::MAX_LABEL_BYTES && !label.chars().any(char::is_control)
    };
    if labels.len() != outputs {
        notes.push(format!("{} label names for {outputs} outputs, not used", labels.len()));
        Vec::new()
    } else if !distinct || !labels.iter().all(proper) {
        notes.push("label names are empty, too long or repeated, not used".to_owned());
        Vec::new()
    } else {
        labels
    }
}

/// Two names must not end up as one folder, also where the file system does not tell cases apart.
pub(crate) fn check_names<'a>(tasks: impl Iterator<Item = &'a TaskName>) -> Result<(), CheckpointError> {
    let mut seen = BTreeSet::new();
    for task in tasks {
        if !seen.insert(task.as_str().to_lowercase()) {
            let reason = format!("two tasks would both be called {task}, or differ only in case");
            return Err(CheckpointError::BadTaskList(reason));
        }
    }
    Ok(())
}
