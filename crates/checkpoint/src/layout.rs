//! Which of the four layouts a checkpoint has, told from its tensors.

use std::fmt;

use crate::error::CheckpointError;
use crate::fine_tuned;
use crate::multi_task;

/// How a checkpoint keeps its heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Encoder, task embeddings and every task's classifier in one file.
    OneFile,
    /// A model, and its tasks' classifiers in a second folder or repository.
    Adapters,
    /// One model with one classifier.
    FineTuned,
    /// An encoder alone.
    Bare,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneFile => "one file with every task",
            Self::Adapters => "model and adapters",
            Self::FineTuned => "fine-tuned model",
            Self::Bare => "bare encoder",
        })
    }
}

impl Layout {
    /// The layout of a model whose tensors beyond the encoder are `others`.
    ///
    /// # Errors
    /// If a tensor belongs to no layout, or classifiers are there twice.
    pub(crate) fn detect(others: &[String], has_adapters: bool) -> Result<Self, CheckpointError> {
        let strange = |name: &&String| !fine_tuned::is_ours(name) && !multi_task::is_ours(name);
        if let Some(name) = others.iter().find(strange) {
            let hint =
                name.starts_with("qa_outputs.").then_some("heads that answer questions with spans are not served");
            return Err(CheckpointError::UnexpectedTensor { name: name.clone(), hint });
        }
        let has_tasks = others.iter().any(|name| multi_task::is_ours(name));
        match (has_tasks, has_adapters) {
            (true, true) => Err(CheckpointError::UnknownLayout(
                "the model has classifiers of its own beside the adapters".to_owned(),
            )),
            (false, true) => Ok(Self::Adapters),
            (true, false) => Ok(Self::OneFile),
            (false, false) if others.is_empty() => Ok(Self::Bare),
            (false, false) => Ok(Self::FineTuned),
        }
    }
}
