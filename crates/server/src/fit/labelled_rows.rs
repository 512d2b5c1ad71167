//! Labelled rows: a message to an input and its right answer, or to what is wrong with it; and the digest of all.

use api::v1;
use api::v1::labelled_row::Answer as Message;
use engine::{HeadKind, Input};
use prost::Message as _;
use registry::Digest;
use sha2::{Digest as _, Sha256};

use crate::fit::label_book::LabelBook;
use crate::from_proto;

/// The right answer of a row, by kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Classification: the label's position.
    Class(u32),
    /// Multi-label: the positions of the labels that hold, each once, in order.
    Labels(Vec<u32>),
    /// Regression: the number.
    Value(f64),
    /// Multiple choice: the right choice's position.
    Choice(u32),
}

/// A row that can be used, as far as can be told before the encoder has seen it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Labelled {
    pub(crate) input: Input,
    pub(crate) answer: Answer,
    /// Whether it is to judge by.
    pub(crate) is_validation: bool,
    pub(crate) line: u64,
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub(crate) line: u64,
    pub(crate) field: String,
    pub(crate) reason: String,
}

/// The SHA-256 of rows in their order, whatever lines they stood in.
#[derive(Debug, Default)]
pub(crate) struct RowsDigest(Sha256);

impl RowsDigest {
    pub(crate) fn add(&mut self, row: &v1::LabelledRow) {
        let row = v1::LabelledRow { line: 0, ..row.clone() };
        self.0.update(row.encode_length_delimited_to_vec());
    }

    /// `sha256:` and hex digits.
    pub(crate) fn finish(self) -> String {
        Digest::from_bytes(self.0.finalize().into()).to_string()
    }
}

/// The row at `position` of the stream, from 1, for a task of `kind`.
pub(crate) fn parse(
    row: v1::LabelledRow,
    position: u64,
    kind: HeadKind,
    labels: &mut LabelBook,
) -> Result<Labelled, BadRow> {
    let line = if row.line == 0 { position } else { row.line };
    let bad = |field: &str, reason: String| BadRow { line, field: field.to_owned(), reason };
    let is_validation = match v1::RowUse::try_from(row.r#use) {
        Ok(v1::RowUse::Unspecified | v1::RowUse::Train) => false,
        Ok(v1::RowUse::Validation) => true,
        Err(_) => return Err(bad("use", format!("{} is not a value of this enum", row.r#use))),
    };
    let input = row.input.ok_or_else(|| bad("input", "is missing".to_owned()))?;
    let answer = row.answer.ok_or_else(|| bad("answer", format!("is missing: {}", wanted(kind))))?;
    let answer = match (kind, answer) {
        (HeadKind::Classification, Message::Label(name)) => {
            labels.by_name(&name).map(Answer::Class).map_err(|reason| bad("label", reason))?
        }
        (HeadKind::Classification, Message::Index(position)) => {
            labels.by_position(position).map(Answer::Class).map_err(|reason| bad("index", reason))?
        }
        (HeadKind::MultiLabel, Message::Labels(names)) => {
            let positions = names.names.iter().map(|name| labels.by_name(name)).collect::<Result<Vec<_>, _>>();
            set(positions).map_err(|reason| bad("labels", reason))?
        }
        (HeadKind::MultiLabel, Message::Indices(positions)) => {
            let positions = positions.indices.iter().map(|position| labels.by_position(*position)).collect();
            set(positions).map_err(|reason| bad("indices", reason))?
        }
        (HeadKind::Regression, Message::Value(value)) if value.is_finite() => Answer::Value(value),
        (HeadKind::Regression, Message::Value(_)) => return Err(bad("value", "must be a finite number".to_owned())),
        (HeadKind::MultipleChoice, Message::Index(position)) if (position as usize) < input.choices.len() => {
            Answer::Choice(position)
        }
        (HeadKind::MultipleChoice, Message::Index(position)) => {
            return Err(bad("index", format!("{position} is beyond the last of {} choices", input.choices.len())));
        }
        (
            HeadKind::Classification
            | HeadKind::MultiLabel
            | HeadKind::Regression
            | HeadKind::MultipleChoice
            | HeadKind::TokenClassification
            | HeadKind::Reward,
            answer,
        ) => return Err(bad(field_of(&answer), format!("is no answer of a {kind} task: {}", wanted(kind)))),
    };
    Ok(Labelled { input: from_proto::input(input), answer, is_validation, line })
}

/// Each label once, in order.
fn set(positions: Result<Vec<u32>, String>) -> Result<Answer, String> {
    let mut positions = positions?;
    positions.sort_unstable();
    positions.dedup();
    Ok(Answer::Labels(positions))
}

fn field_of(answer: &Message) -> &'static str {
    match answer {
        Message::Label(_) => "label",
        Message::Index(_) => "index",
        Message::Labels(_) => "labels",
        Message::Indices(_) => "indices",
        Message::Value(_) => "value",
    }
}

fn wanted(kind: HeadKind) -> &'static str {
    match kind {
        HeadKind::Classification => "it needs label or index",
        HeadKind::MultiLabel => "it needs labels or indices",
        HeadKind::Regression => "it needs value",
        HeadKind::MultipleChoice => "it needs index",
        HeadKind::TokenClassification | HeadKind::Reward => "none fits here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(answer: Message) -> v1::LabelledRow {
        let choices = vec!["a".to_owned(), "b".to_owned()];
        let input = v1::Input { text: "t".to_owned(), choices, ..v1::Input::default() };
        v1::LabelledRow { input: Some(input), answer: Some(answer), ..v1::LabelledRow::default() }
    }

    fn parsed(kind: HeadKind, answer: Message) -> Result<Answer, (String, String)> {
        let mut labels = LabelBook::new(vec!["no".to_owned(), "yes".to_owned()]);
        let parsed = parse(row(answer), 7, kind, &mut labels);
        parsed.map(|row| row.answer).map_err(|bad| {
            assert_eq!(bad.line, 7);
            (bad.field, bad.reason)
        })
    }

    #[test]
    fn every_kind_takes_its_own_answers() {
        let indices = v1::LabelIndices { indices: vec![1, 0, 1] };
        assert_eq!(parsed(HeadKind::Classification, Message::Label("yes".into())), Ok(Answer::Class(1)));
        assert_eq!(parsed(HeadKind::Classification, Message::Index(0)), Ok(Answer::Class(0)));
        assert_eq!(parsed(HeadKind::MultiLabel, Message::Indices(indices)), Ok(Answer::Labels(vec![0, 1])));
        assert_eq!(parsed(HeadKind::Regression, Message::Value(0.5)), Ok(Answer::Value(0.5)));
        assert_eq!(parsed(HeadKind::MultipleChoice, Message::Index(1)), Ok(Answer::Choice(1)));
    }

    #[test]
    fn other_answers_name_their_field() {
        let field = |kind, answer| parsed(kind, answer).unwrap_err().0;
        assert_eq!(field(HeadKind::Regression, Message::Index(0)), "index");
        assert_eq!(field(HeadKind::Regression, Message::Value(f64::NAN)), "value");
        assert_eq!(field(HeadKind::Classification, Message::Value(0.0)), "value");
        assert_eq!(field(HeadKind::MultiLabel, Message::Labels(v1::LabelNames { names: vec!["x".into()] })), "labels");
        assert_eq!(field(HeadKind::MultipleChoice, Message::Index(2)), "index");
        let mut labels = LabelBook::new(Vec::new());
        let silent = v1::LabelledRow { answer: None, line: 3, ..row(Message::Index(0)) };
        let bad = parse(silent, 7, HeadKind::Classification, &mut labels).unwrap_err();
        assert_eq!((bad.line, bad.field.as_str()), (3, "answer"));
    }

    #[test]
    fn a_digest_follows_from_rows_and_their_order_and_not_from_lines() {
        let of = |rows: &[v1::LabelledRow]| {
            let mut digest = RowsDigest::default();
            rows.iter().for_each(|row| digest.add(row));
            digest.finish()
        };
        let (one, other) = (row(Message::Index(0)), row(Message::Index(1)));
        let moved = v1::LabelledRow { line: 9, ..one.clone() };
        assert_eq!(of(&[one.clone(), other.clone()]), of(&[moved, other.clone()]));
        assert_ne!(of(&[one.clone(), other.clone()]), of(&[other, one]));
    }
}
