//! What the files leave unsaid: which kind of answer a task gives. Decided from a table of the user's, from what the
//! model says, from the catalogue of published tasks, or from the number of outputs; in this order.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use engine::HeadKind;
use registry::{KnownTask, KnownTasksError};

use crate::error::CheckpointError;
use crate::raw_head::RawHead;

/// The largest table a user may give.
const MAX_TABLE_BYTES: u64 = 4 << 20;

/// Where a kind came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The table the user gave.
    User,
    /// The model's own files, and which part of them.
    Model(&'static str),
    /// The catalogue of published tasks.
    Catalogue,
    /// The catalogue, corrected by the number of outputs.
    CatalogueAndOutputs,
    /// The number of outputs and whether they have labels.
    Outputs,
}

/// What was decided about one head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) kind: HeadKind,
    pub(crate) by: DecidedBy,
    pub(crate) prompt: Option<String>,
}

/// The tables that decide.
#[derive(Debug)]
pub(crate) struct Kinds {
    user: HashMap<String, KnownTask>,
    catalogue: HashMap<String, KnownTask>,
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("your table"),
            Self::Model(part) => write!(f, "the model: {part}"),
            Self::Catalogue => f.write_str("catalogue"),
            Self::CatalogueAndOutputs => f.write_str("catalogue, outputs"),
            Self::Outputs => f.write_str("outputs"),
        }
    }
}

impl Kinds {
    /// The catalogue, and above it the table in `user_file`: lines of task, tab, kind, and where there is one tab,
    /// prompt. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`CheckpointError::BadKindsFile`], with the line.
    pub(crate) fn open(user_file: Option<&Path>) -> Result<Self, CheckpointError> {
        let user = match user_file {
            None => HashMap::new(),
            Some(path) => {
                let bytes = std::fs::metadata(path).map_err(CheckpointError::io(path))?.len();
                if bytes > MAX_TABLE_BYTES {
                    return Err(CheckpointError::TooLarge { path: path.to_owned(), bytes, limit: MAX_TABLE_BYTES });
                }
                let text = std::fs::read_to_string(path).map_err(CheckpointError::io(path))?;
                parse(&path.display().to_string(), &text)?
            }
        };
        Ok(Self { user, catalogue: by_name("kinds.tsv", registry::published_tasks())? })
    }

    /// The kind of `head`.
    ///
    /// # Errors
    /// [`CheckpointError::KindMismatch`] where the user or the model asks for a kind that the outputs cannot be.
    pub(crate) fn decide(&self, head: &RawHead) -> Result<Decision, CheckpointError> {
        let outputs = head.bias.len();
        let fits = |kind: HeadKind| outputs == 1 || !has_one_output(kind);
        let mismatch = |kind: HeadKind| CheckpointError::KindMismatch {
            task: head.name.clone(),
            asked: kind.to_string(),
            outputs,
        };
        if let Some(row) = self.user.get(&head.name) {
            let decision = Decision { kind: row.kind, by: DecidedBy::User, prompt: row.prompt.clone() };
            return if fits(row.kind) { Ok(decision) } else { Err(mismatch(row.kind)) };
        }
        if let Some((kind, part)) = head.said {
            let decision = Decision { kind, by: DecidedBy::Model(part), prompt: None };
            return if fits(kind) { Ok(decision) } else { Err(mismatch(kind)) };
        }
        let by_outputs = match (outputs, head.labels.is_empty()) {
            (1, true) => HeadKind::Regression,
            (1, false) => HeadKind::MultipleChoice,
            _ => HeadKind::Classification,
        };
        let Some(row) = self.catalogue.get(&head.name) else {
            return Ok(Decision { kind: by_outputs, by: DecidedBy::Outputs, prompt: None });
        };
        // The catalogue calls a task with a number for an answer a classification.
        let is_a_number = row.kind == HeadKind::Classification && outputs == 1;
        if is_a_number {
            return Ok(Decision { kind: HeadKind::Regression, by: DecidedBy::CatalogueAndOutputs, prompt: None });
        }
        if !fits(row.kind) {
            return Ok(Decision { kind: by_outputs, by: DecidedBy::CatalogueAndOutputs, prompt: None });
        }
        Ok(Decision { kind: row.kind, by: DecidedBy::Catalogue, prompt: row.prompt.clone() })
    }
}

/// Whether heads of `kind` give one number for a row.
pub(crate) fn has_one_output(kind: HeadKind) -> bool {
    match kind {
        HeadKind::Regression | HeadKind::MultipleChoice | HeadKind::Reward => true,
        HeadKind::Classification | HeadKind::MultiLabel | HeadKind::TokenClassification => false,
    }
}

fn parse(file: &str, text: &str) -> Result<HashMap<String, KnownTask>, CheckpointError> {
    by_name(file, registry::parse_known_tasks(text))
}

fn by_name(
    file: &str,
    tasks: Result<Vec<KnownTask>, KnownTasksError>,
) -> Result<HashMap<String, KnownTask>, CheckpointError> {
    let bad = |KnownTasksError { line, reason }| CheckpointError::BadKindsFile { file: file.to_owned(), line, reason };
    Ok(tasks.map_err(bad)?.into_iter().map(|task| (task.name.clone(), task)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str, outputs: usize, labels: &[&str]) -> RawHead {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        RawHead { name: name.to_owned(), bias: vec![0.0; outputs].into(), labels, ..RawHead::default() }
    }

    fn decided(name: &str, outputs: usize, labels: &[&str]) -> (HeadKind, DecidedBy) {
        let decision = Kinds::open(None).unwrap().decide(&head(name, outputs, labels)).unwrap();
        (decision.kind, decision.by)
    }

    #[test]
    fn published_tasks_are_known() {
        assert_eq!(decided("glue/mnli", 3, &[]), (HeadKind::Classification, DecidedBy::Catalogue));
        assert_eq!(decided("glue/stsb", 1, &[]), (HeadKind::Regression, DecidedBy::CatalogueAndOutputs));
        assert_eq!(decided("swag/regular", 1, &[]), (HeadKind::MultipleChoice, DecidedBy::Catalogue));
        assert_eq!(decided("conll2003/ner_tags", 9, &[]), (HeadKind::TokenClassification, DecidedBy::Catalogue));
        assert_eq!(decided("swag/regular", 4, &[]), (HeadKind::Classification, DecidedBy::CatalogueAndOutputs));
    }

    #[test]
    fn rewards_bring_their_prompt() {
        let decision = Kinds::open(None).unwrap().decide(&head("hh-rlhf", 1, &[])).unwrap();
        assert_eq!(decision.kind, HeadKind::Reward);
        assert_eq!(decision.prompt.as_deref(), Some("Most helpful assistant answer:"));
    }

    #[test]
    fn unknown_tasks_are_told_by_their_outputs() {
        assert_eq!(decided("own/x", 1, &[]), (HeadKind::Regression, DecidedBy::Outputs));
        assert_eq!(decided("own/x", 1, &["a", "b"]), (HeadKind::MultipleChoice, DecidedBy::Outputs));
        assert_eq!(decided("own/x", 2, &[]), (HeadKind::Classification, DecidedBy::Outputs));
    }

    #[test]
    fn a_users_table_overrides_the_catalogue_but_not_the_tensors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kinds.tsv");
        std::fs::write(&path, "# mine\nglue/mnli\tmulti_label\nown/x\treward\tBest answer:\n").unwrap();
        let kinds = Kinds::open(Some(&path)).unwrap();
        assert_eq!(kinds.decide(&head("glue/mnli", 3, &[])).unwrap().kind, HeadKind::MultiLabel);
        assert_eq!(kinds.decide(&head("own/x", 1, &[])).unwrap().prompt.as_deref(), Some("Best answer:"));
        let refused = kinds.decide(&head("own/x", 2, &[])).unwrap_err();
        assert!(matches!(refused, CheckpointError::KindMismatch { outputs: 2, .. }), "{refused}");
    }

    #[test]
    fn a_malformed_table_is_refused_by_file_and_line() {
        let refused = parse("mine.tsv", "a\treward\nb\tsorting\n").unwrap_err().to_string();
        assert!(refused.contains("mine.tsv") && refused.contains("line 2") && refused.contains("sorting"), "{refused}");
    }
}
