//! One line of a labelled file as the row it stands for: the data sets' own fields, with the right answer in `label` or
//! `labels`, by name or by position.

use api::v1::labelled_row::Answer;
use api::v1::{Input, LabelIndices, LabelNames, LabelledRow, TaskKind};
use serde::Deserialize;
use serde_json::{Number, Value};

use crate::answer::Failure;
use crate::row::{TextRow, parse};

/// How the answers of a file are to be read.
#[derive(Debug, Clone)]
pub(crate) struct Labelling {
    /// What the task answers with.
    pub(crate) kind: TaskKind,
    /// What positions in the file count in, where that is not the head's own list of labels.
    pub(crate) names: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct LabelledText {
    #[serde(flatten)]
    text: TextRow,
    #[serde(default)]
    label: Value,
    #[serde(default)]
    labels: Value,
}

/// A name or a position.
enum Label {
    Name(String),
    Index(u32),
}

impl Labelling {
    /// Reads line number `line`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn row(&self, line: u64, bytes: &[u8]) -> Result<LabelledRow, Failure> {
        let LabelledText { text, label, labels } = parse(bytes)?;
        let answer = match self.kind {
            TaskKind::Classification => match self.label("label", label)? {
                Label::Name(name) => Answer::Label(name),
                Label::Index(index) => Answer::Index(index),
            },
            TaskKind::MultipleChoice | TaskKind::Reward => match one("label", label)? {
                Label::Index(index) => Answer::Index(index),
                Label::Name(_) => return Err(Failure::invalid("label: the position of the right choice is needed")),
            },
            TaskKind::Regression => match label.as_f64() {
                Some(value) => Answer::Value(value),
                None => return Err(Failure::invalid("label: a number is needed")),
            },
            TaskKind::MultiLabel | TaskKind::TokenClassification => self.list(labels)?,
            TaskKind::Unspecified => {
                return Err(Failure::invalid("the task is of a kind that this headwater does not know"));
            }
        };
        Ok(LabelledRow { input: Some(Input::from(text)), answer: Some(answer), line, ..LabelledRow::default() })
    }

    fn list(&self, labels: Value) -> Result<Answer, Failure> {
        let Value::Array(labels) = labels else {
            return Err(Failure::invalid("labels: a list of names or positions is needed"));
        };
        let labels = labels.into_iter().map(|label| self.label("labels", label)).collect::<Result<Vec<_>, _>>()?;
        let mut names = Vec::new();
        let mut indices = Vec::new();
        for label in labels {
            match label {
                Label::Name(name) => names.push(name),
                Label::Index(index) => indices.push(index),
            }
        }
        match (names.is_empty(), indices.is_empty()) {
            (false, false) => Err(Failure::invalid("labels: names and positions exclude each other")),
            (false, true) => Ok(Answer::Labels(LabelNames { names })),
            (true, _) => Ok(Answer::Indices(LabelIndices { indices })),
        }
    }

    /// A label, its position turned into its name where the file counts in names of its own.
    fn label(&self, field: &str, value: Value) -> Result<Label, Failure> {
        match (one(field, value)?, &self.names) {
            (Label::Index(index), Some(names)) => match names.get(index as usize) {
                Some(name) => Ok(Label::Name(name.clone())),
                None => Err(Failure::invalid(&format!("{field}: {index}, and there are only {} labels", names.len()))),
            },
            (label, _) => Ok(label),
        }
    }
}

fn one(field: &str, value: Value) -> Result<Label, Failure> {
    let index = |number: &Number| number.as_u64().and_then(|number| u32::try_from(number).ok());
    match value {
        Value::String(name) => Ok(Label::Name(name)),
        Value::Number(number) => match index(&number) {
            Some(index) => Ok(Label::Index(index)),
            None => Err(Failure::invalid(&format!("{field}: {number} is no position"))),
        },
        Value::Null => Err(Failure::invalid(&format!("{field}: the right answer is missing"))),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(Failure::invalid(&format!("{field}: a name or a position is needed")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: TaskKind, names: &[&str], line: &str) -> Result<Answer, String> {
        let names = (!names.is_empty()).then(|| names.iter().map(|name| (*name).to_owned()).collect());
        let row = Labelling { kind, names }.row(7, line.as_bytes()).map_err(|failure| failure.message)?;
        assert_eq!(row.line, 7);
        Ok(row.answer.unwrap())
    }

    #[test]
    fn the_fields_of_the_data_sets_are_read_by_kind() {
        let indices = |indices: &[u32]| Answer::Indices(LabelIndices { indices: indices.to_vec() });
        let names =
            |names: &[&str]| Answer::Labels(LabelNames { names: names.iter().map(|n| (*n).to_owned()).collect() });
        let line = r#"{"text": "a", "text_pair": "b", "label": 2, "idx": 9}"#;
        assert_eq!(answer(TaskKind::Classification, &[], line), Ok(Answer::Index(2)));
        assert_eq!(answer(TaskKind::Classification, &["x", "y", "z"], line), Ok(Answer::Label("z".into())));
        assert_eq!(answer(TaskKind::MultipleChoice, &[], line), Ok(Answer::Index(2)));
        assert_eq!(answer(TaskKind::Regression, &[], line), Ok(Answer::Value(2.0)));
        let named = r#"{"text": "a", "label": "joy"}"#;
        assert_eq!(answer(TaskKind::Classification, &["x"], named), Ok(Answer::Label("joy".into())));
        assert_eq!(answer(TaskKind::MultiLabel, &[], r#"{"text": "a", "labels": [0, 3]}"#), Ok(indices(&[0, 3])));
        assert_eq!(answer(TaskKind::MultiLabel, &[], r#"{"text": "a", "labels": []}"#), Ok(indices(&[])));
        let tags = r#"{"tokens": ["a", "b"], "labels": ["O", "B-X"]}"#;
        assert_eq!(answer(TaskKind::TokenClassification, &[], tags), Ok(names(&["O", "B-X"])));
    }

    #[test]
    fn a_row_without_a_usable_answer_says_which_field_is_at_fault() {
        for (kind, line, reason) in [
            (TaskKind::Classification, r#"{"text": "a"}"#, "label: the right answer is missing"),
            (TaskKind::Classification, r#"{"text": "a", "label": -1}"#, "label: -1 is no position"),
            (TaskKind::Classification, r#"{"text": "a", "label": 5}"#, "label: 5, and there are only 1 labels"),
            (TaskKind::MultipleChoice, r#"{"text": "a", "label": "b"}"#, "label: the position"),
            (TaskKind::Regression, r#"{"text": "a", "label": "b"}"#, "label: a number"),
            (TaskKind::MultiLabel, r#"{"text": "a", "label": 1}"#, "labels: a list"),
            (TaskKind::MultiLabel, r#"{"text": "a", "labels": ["x", 0.5]}"#, "labels: 0.5 is no position"),
            (TaskKind::Classification, "[]", "not a JSON object"),
        ] {
            let refused = answer(kind, &["x"], line).unwrap_err();
            assert!(refused.contains(reason), "{line}: {refused}");
        }
    }
}
