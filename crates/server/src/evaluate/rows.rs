//! Labelled rows as they come over the wire, and the truth in each, held against what the head can answer.

use std::collections::VecDeque;

use api::v1;
use api::v1::evaluate_head_request::Part;
use api::v1::labelled_row::Answer;
use engine::{Head, HeadKind, Input};
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::{Status, Streaming};

use crate::from_proto;
use crate::status::{correct_transport, invalid_field};

/// A row that can be asked.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) input: Input,
    pub(super) truth: Truth,
}

/// The right answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Truth {
    /// A label, or a choice.
    One(usize),
    /// The labels that hold, rising, each once.
    Many(Vec<usize>),
    /// A label for each word.
    Words(Vec<usize>),
    /// A number.
    Number(f64),
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BadRow {
    pub(super) line: u64,
    pub(super) field: String,
    pub(super) reason: String,
}

/// The caller's messages: the plan, then rows.
pub(super) struct Incoming {
    requests: Streaming<v1::EvaluateHeadRequest>,
    waiting: VecDeque<v1::LabelledRow>,
    most_a_message: usize,
    received: u64,
    digest: Sha256,
}

impl Incoming {
    pub(super) fn new(requests: Streaming<v1::EvaluateHeadRequest>, most_a_message: usize) -> Self {
        Self { requests, waiting: VecDeque::new(), most_a_message, received: 0, digest: Sha256::new() }
    }

    /// The plan, which must come first.
    pub(super) async fn plan(&mut self) -> Result<v1::EvaluationPlan, Status> {
        match self.part().await? {
            Some(Part::Plan(plan)) => Ok(plan),
            Some(Part::Rows(_)) | None => Err(invalid_field("plan", "the first message must be the plan")),
        }
    }

    /// The next row and its line; `None` at the end. May be dropped while it waits: no row is lost.
    pub(super) async fn next(&mut self) -> Result<Option<(u64, v1::LabelledRow)>, Status> {
        while self.waiting.is_empty() {
            match self.part().await? {
                Some(Part::Rows(rows)) if rows.rows.len() > self.most_a_message => {
                    let reason = format!("{} in one message, the limit is {}", rows.rows.len(), self.most_a_message);
                    return Err(invalid_field("rows", &reason));
                }
                Some(Part::Rows(rows)) => self.waiting.extend(rows.rows),
                Some(Part::Plan(_)) => return Err(invalid_field("plan", "a second plan")),
                None => return Ok(None),
            }
        }
        Ok(self.waiting.pop_front().map(|mut row| {
            self.received += 1;
            let line = std::mem::take(&mut row.line);
            self.digest.update(row.encode_length_delimited_to_vec());
            (if line == 0 { self.received } else { line }, row)
        }))
    }

    /// Rows taken so far.
    pub(super) fn received(&self) -> usize {
        self.received as usize
    }

    /// Digest of the rows taken, in order and whatever their lines.
    pub(super) fn digest(&self) -> String {
        let digest = self.digest.clone().finalize();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    async fn part(&mut self) -> Result<Option<Part>, Status> {
        match self.requests.message().await.map_err(correct_transport)? {
            Some(v1::EvaluateHeadRequest { part: None }) => Err(invalid_field("part", "neither plan nor rows")),
            Some(message) => Ok(message.part),
            None => Ok(None),
        }
    }
}

/// The row as `head` can be asked about it.
pub(super) fn parse(line: u64, row: v1::LabelledRow, head: &Head) -> Result<Row, BadRow> {
    let bad = |(field, reason): (&str, String)| BadRow { line, field: field.to_owned(), reason };
    match v1::RowUse::try_from(row.r#use) {
        Ok(v1::RowUse::Unspecified | v1::RowUse::Validation) => {}
        Ok(v1::RowUse::Train) => return Err(bad(("use", "a row to fit on is not judged by".to_owned()))),
        Err(_) => return Err(bad(("use", format!("{} is not a value of this enum", row.r#use)))),
    }
    let input = row.input.ok_or_else(|| bad(("input", "is missing".to_owned())))?;
    let answer = row.answer.ok_or_else(|| bad(("answer", "the right answer is missing".to_owned())))?;
    let input = from_proto::input(input);
    let truth = truth(answer, &input, head).map_err(bad)?;
    Ok(Row { line, input, truth })
}

type Refusal = (&'static str, String);

fn truth(answer: Answer, input: &Input, head: &Head) -> Result<Truth, Refusal> {
    let kind = head.kind();
    let unwanted = |field: &'static str, wanted: &str| Err((field, format!("a {kind} task needs {wanted}")));
    match (kind, answer) {
        (HeadKind::Classification, Answer::Label(label)) => Ok(Truth::One(named("label", &label, head)?)),
        (HeadKind::Classification, Answer::Index(index)) => Ok(Truth::One(placed("index", index, head.outputs())?)),
        (HeadKind::Classification, other) => unwanted(field(&other), "label or index"),
        (HeadKind::MultiLabel, Answer::Labels(labels)) => {
            let places = labels.names.iter().map(|name| named("labels", name, head));
            Ok(Truth::Many(set(places.collect::<Result<_, _>>()?)))
        }
        (HeadKind::MultiLabel, Answer::Indices(indices)) => {
            let places = indices.indices.iter().map(|index| placed("indices", *index, head.outputs()));
            Ok(Truth::Many(set(places.collect::<Result<_, _>>()?)))
        }
        (HeadKind::MultiLabel, other) => unwanted(field(&other), "labels or indices"),
        (HeadKind::TokenClassification, Answer::Labels(labels)) => {
            let places = labels.names.iter().map(|name| named("labels", name, head));
            words("labels", places.collect::<Result<_, _>>()?, input)
        }
        (HeadKind::TokenClassification, Answer::Indices(indices)) => {
            let places = indices.indices.iter().map(|index| placed("indices", *index, head.outputs()));
            words("indices", places.collect::<Result<_, _>>()?, input)
        }
        (HeadKind::TokenClassification, other) => unwanted(field(&other), "labels or indices"),
        (HeadKind::Regression, Answer::Value(value)) if value.is_finite() => Ok(Truth::Number(value)),
        (HeadKind::Regression, Answer::Value(value)) => Err(("value", format!("{value} is not a finite number"))),
        (HeadKind::Regression, other) => unwanted(field(&other), "value"),
        (HeadKind::MultipleChoice | HeadKind::Reward, Answer::Index(index)) => {
            Ok(Truth::One(placed("index", index, input.choices.len())?))
        }
        (HeadKind::MultipleChoice | HeadKind::Reward, other) => unwanted(field(&other), "index"),
    }
}

fn field(answer: &Answer) -> &'static str {
    match answer {
        Answer::Label(_) => "label",
        Answer::Index(_) => "index",
        Answer::Labels(_) => "labels",
        Answer::Indices(_) => "indices",
        Answer::Value(_) => "value",
    }
}

fn named(field: &'static str, name: &str, head: &Head) -> Result<usize, Refusal> {
    let shown: String = name.chars().take(64).collect();
    let place = head.parts().labels.iter().position(|label| label == name);
    place.ok_or_else(|| (field, format!("{shown:?} is not a label of this task")))
}

fn placed(field: &'static str, index: u32, count: usize) -> Result<usize, Refusal> {
    let place = index as usize;
    if place < count { Ok(place) } else { Err((field, format!("{index}, and there are only {count}"))) }
}

fn set(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places.dedup();
    places
}

fn words(field: &'static str, places: Vec<usize>, input: &Input) -> Result<Truth, Refusal> {
    let (labels, words) = (places.len(), input.tokens.len());
    if words == 0 {
        return Err(("input.tokens", "labels are of words: the words are needed".to_owned()));
    }
    if labels == words { Ok(Truth::Words(places)) } else { Err((field, format!("{labels} labels for {words} words"))) }
}
