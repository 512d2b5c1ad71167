//! What an answer is made of, field by field as the contract has it.

use api::v1::{Confidence, Cut, InputUsage};
use serde::Serialize;

/// A label of a classification or a multi-label task.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Label {
    pub(crate) label: String,
    pub(crate) index: u32,
    pub(crate) score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logit: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) above_threshold: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threshold: Option<f32>,
}

/// A choice of a multiple choice.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Choice {
    pub(crate) index: u32,
    pub(crate) score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logit: Option<f32>,
}

/// A span of a token classification.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Span {
    pub(crate) label: String,
    pub(crate) score: f32,
    pub(crate) word_start: u32,
    pub(crate) word_end: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) start_byte: u32,
    pub(crate) end_byte: u32,
    pub(crate) text: String,
}

/// The logits of one token; `word` is null for special tokens.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct TokenLogits {
    pub(crate) id: u32,
    pub(crate) word: Option<u32>,
    pub(crate) first_of_word: bool,
    pub(crate) logits: Vec<f32>,
}

/// How sure the head is.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct ConfidenceFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entropy: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibrated: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ood_score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) abstain: Option<bool>,
}

/// What was read of the input.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Usage {
    tokens: u32,
    rows: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cuts: Vec<CutFields>,
}

/// What was cut from one field.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct CutFields {
    row: u32,
    pub(crate) field: String,
    kept_code_points: u32,
    kept_bytes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_words: Option<u32>,
    uncut_tokens: u32,
}

impl From<api::v1::LabelScore> for Label {
    fn from(label: api::v1::LabelScore) -> Self {
        let api::v1::LabelScore { label, index, score, logit } = label;
        Self { label, index, score, logit, above_threshold: None, threshold: None }
    }
}

impl From<api::v1::MultiLabelScore> for Label {
    fn from(label: api::v1::MultiLabelScore) -> Self {
        let api::v1::MultiLabelScore { label, index, score, above_threshold, threshold, logit } = label;
        Self { label, index, score, logit, above_threshold: Some(above_threshold), threshold: Some(threshold) }
    }
}

impl From<api::v1::ChoiceScore> for Choice {
    fn from(choice: api::v1::ChoiceScore) -> Self {
        Self { index: choice.index, score: choice.score, logit: choice.logit }
    }
}

impl From<api::v1::Span> for Span {
    fn from(span: api::v1::Span) -> Self {
        Self {
            label: span.label,
            score: span.score,
            word_start: span.word_start,
            word_end: span.word_end,
            start: span.start,
            end: span.end,
            start_byte: span.start_byte,
            end_byte: span.end_byte,
            text: span.text,
        }
    }
}

impl From<api::v1::TokenLogits> for TokenLogits {
    fn from(token: api::v1::TokenLogits) -> Self {
        Self { id: token.id, word: token.word, first_of_word: token.first_of_word, logits: token.logits }
    }
}

impl From<Confidence> for ConfidenceFields {
    fn from(confidence: Confidence) -> Self {
        let Confidence { margin, entropy, calibrated, ood_score, abstain } = confidence;
        Self { margin, entropy, calibrated, ood_score, abstain }
    }
}

impl From<InputUsage> for Usage {
    fn from(usage: InputUsage) -> Self {
        let cuts = usage.cuts.into_iter().map(CutFields::from).collect();
        Self { tokens: usage.tokens, rows: usage.rows, cuts }
    }
}

impl From<Cut> for CutFields {
    fn from(cut: Cut) -> Self {
        let Cut { row, field, kept_code_points, kept_bytes, kept_words, uncut_tokens } = cut;
        Self { row, field, kept_code_points, kept_bytes, kept_words, uncut_tokens }
    }
}
