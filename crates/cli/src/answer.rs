//! The answer to one input as a JSON object: the shape that programs rely on.

mod parts;

use api::rpc;
use api::v1::prediction::Result as Kind;
use api::v1::{Mode, Prediction, ServedBy};
use serde::Serialize;
use tonic::{Code, Status};

use crate::error::code_name;

pub(crate) use parts::{Choice, ConfidenceFields, Label, Span, TokenLogits, Usage};

/// One line of output. Numbers are float32 in their shortest exact form.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<Vec<Label>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) choices: Option<Vec<Choice>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spans: Option<Vec<Span>>,
    /// Every token of the row, special tokens included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_logits: Option<Vec<TokenLogits>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Failure>,
    pub(crate) task: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confidence: Option<ConfidenceFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
}

/// Why an input has no answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Answer {
    /// The answer of a head.
    pub(crate) fn of_prediction(prediction: Prediction, served_by: Option<ServedBy>) -> Self {
        let mut answer = Self::default();
        if let Some(served_by) = served_by {
            answer.version = Some(served_by.version);
            answer.mode = mode_name(served_by.mode());
            answer.task = served_by.task;
        }
        answer.confidence = prediction.confidence.map(ConfidenceFields::from);
        answer.usage = prediction.usage.map(Usage::from);
        match prediction.result {
            Some(Kind::Classification(result)) => {
                answer.labels = Some(result.labels.into_iter().map(Label::from).collect())
            }
            Some(Kind::MultiLabel(result)) => {
                answer.labels = Some(result.labels.into_iter().map(Label::from).collect())
            }
            Some(Kind::Value(result)) => answer.value = Some(result.value),
            Some(Kind::Choices(result)) => {
                answer.choices = Some(result.choices.into_iter().map(Choice::from).collect())
            }
            Some(Kind::Spans(result)) => {
                answer.spans = Some(result.spans.into_iter().map(Span::from).collect());
                if !result.tokens.is_empty() {
                    answer.token_logits = Some(result.tokens.into_iter().map(TokenLogits::from).collect());
                }
            }
            None => {
                answer.error =
                    Some(Failure::new(Code::Unimplemented, "this headwater does not know the kind of answer"))
            }
        }
        answer
    }

    /// What stands in the place of an answer that there is not.
    pub(crate) fn of_failure(task: &str, failure: Failure) -> Self {
        Self { task: task.to_owned(), error: Some(failure), ..Self::default() }
    }
}

impl Failure {
    pub(crate) fn new(code: Code, message: &str) -> Self {
        Self { code: code_name(code), message: message.to_owned() }
    }

    /// A row that this side cannot even send.
    pub(crate) fn invalid(message: &str) -> Self {
        Self::new(Code::InvalidArgument, message)
    }
}

impl From<&rpc::Status> for Failure {
    fn from(status: &rpc::Status) -> Self {
        Self::new(Code::from(status.code), &status.message)
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        Self::new(status.code(), status.message())
    }
}

/// A reply that lacks the one answer it owes.
pub(crate) fn no_answer() -> Status {
    Status::internal("the server answered without an answer")
}

/// The mode's name in output; none where the server named none that is known here.
pub(crate) fn mode_name(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Exact => Some("exact"),
        Mode::Shared => Some("shared"),
        Mode::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use api::v1::{ClassificationResult, LabelScore, MultiLabelResult, MultiLabelScore, SpanResult, ValueResult};

    use super::*;

    fn line(result: Kind) -> String {
        let served_by = ServedBy { task: "a/b".into(), version: 3, mode: Mode::Exact.into(), ..ServedBy::default() };
        let prediction = Prediction { result: Some(result), ..Prediction::default() };
        serde_json::to_string(&Answer::of_prediction(prediction, Some(served_by))).unwrap()
    }

    #[test]
    fn a_classification_is_labels_with_task_version_and_mode() {
        let labels = vec![LabelScore { label: "yes".into(), index: 1, score: 0.75, logit: Some(-1.5) }];
        assert_eq!(
            line(Kind::Classification(ClassificationResult { labels })),
            r#"{"labels":[{"label":"yes","index":1,"score":0.75,"logit":-1.5}],"task":"a/b","version":3,"mode":"exact"}"#
        );
    }

    #[test]
    fn a_multi_label_answer_says_which_labels_hold() {
        let labels = vec![MultiLabelScore {
            label: "x".into(),
            score: 0.5,
            above_threshold: true,
            threshold: 0.25,
            ..Default::default()
        }];
        assert_eq!(
            line(Kind::MultiLabel(MultiLabelResult { labels })),
            r#"{"labels":[{"label":"x","index":0,"score":0.5,"above_threshold":true,"threshold":0.25}],"task":"a/b","version":3,"mode":"exact"}"#
        );
    }

    #[test]
    fn logits_keep_every_bit() {
        for bits in [0x3dcc_cccd_u32, 0x0000_0001, 0xc2c8_0001, 0x7f7f_ffff, 0x8000_0000] {
            let value = f32::from_bits(bits);
            let text = line(Kind::Value(ValueResult { value }));
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            #[expect(clippy::cast_possible_truncation, reason = "this is how a reader of float32 reads it")]
            let back = read["value"].as_f64().unwrap() as f32;
            assert_eq!(back.to_bits(), bits, "{text}");
        }
    }

    #[test]
    fn token_logits_stand_beside_the_spans_and_keep_special_tokens() {
        let tokens = vec![api::v1::TokenLogits { id: 1, word: None, first_of_word: false, logits: vec![0.5] }];
        assert_eq!(
            line(Kind::Spans(SpanResult { spans: vec![], tokens })),
            r#"{"spans":[],"token_logits":[{"id":1,"word":null,"first_of_word":false,"logits":[0.5]}],"task":"a/b","version":3,"mode":"exact"}"#
        );
    }

    #[test]
    fn a_failure_is_a_code_and_a_sentence() {
        let answer = Answer::of_failure("a/b", Failure::new(Code::NotFound, "task \"a/b\" is unknown"));
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"error":{"code":"NOT_FOUND","message":"task \"a/b\" is unknown"},"task":"a/b"}"#
        );
    }
}
