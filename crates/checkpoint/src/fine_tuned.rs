//! A fine-tuned model: one classifier under the plain name `classifier`, its labels, and what the files say of its
//! kind.
//!
//! Multi-task checkpoints carry such a classifier as well, usually for natural language inference.

use std::collections::BTreeMap;

use engine::HeadKind;
use registry::HEADWATER_KEY;
use serde::Deserialize;
use serde_json::Value;

use crate::encoder_config::EncoderConfig;
use crate::error::CheckpointError;
use crate::raw_head::{Answering, RawHead, read_linear};
use crate::weights::Weights;

const CLASSIFIER: &str = "classifier";

#[derive(Debug, Default, Deserialize)]
struct Keys {
    architectures: Option<Vec<String>>,
    problem_type: Option<String>,
    id2label: Option<BTreeMap<String, Value>>,
    headwater: Option<Answering>,
}

/// Whether `name` belongs to the model's own classifier.
pub(crate) fn is_ours(name: &str) -> bool {
    name == "classifier.weight" || name == "classifier.bias"
}

/// Reads the model's own classifier; its name is left empty.
///
/// # Errors
/// If the tensors are missing or misshapen, or `config.json` names an architecture whose heads are not served.
pub(crate) fn read(
    weights: &Weights,
    config: &Value,
    encoder: &EncoderConfig,
    has_pooler: bool,
) -> Result<RawHead, CheckpointError> {
    let mut head = read_linear(weights, CLASSIFIER, encoder.hidden)?;
    describe(&mut head, config, has_pooler)?;
    Ok(head)
}

/// Sets the kind and the labels of `head` as `config.json` has them.
///
/// # Errors
/// If it names an architecture whose heads are not served.
pub(crate) fn describe(head: &mut RawHead, config: &Value, has_pooler: bool) -> Result<(), CheckpointError> {
    let keys = Keys::deserialize(config).map_err(|error| CheckpointError::json("config.json", error))?;
    let outputs = head.bias.len();
    let architecture = keys.architectures.as_deref().and_then(<[String]>::first).map(String::as_str);
    head.said = Some(kind(architecture, keys.problem_type.as_deref(), outputs, has_pooler)?);
    head.labels = labels(keys.id2label.unwrap_or_default(), outputs);
    if let Some(answering) = keys.headwater {
        let named = answering.kind.as_deref().map(str::parse::<HeadKind>).transpose();
        let named = named.map_err(|error| CheckpointError::json("config.json", format!("headwater.{error}")))?;
        head.said = named.map(|kind| (kind, HEADWATER_KEY)).or(head.said);
        head.answering = answering;
    }
    Ok(())
}

fn kind(
    architecture: Option<&str>,
    problem: Option<&str>,
    outputs: usize,
    has_pooler: bool,
) -> Result<(HeadKind, &'static str), CheckpointError> {
    let by_problem = |fallback: &'static str| match problem {
        Some("multi_label_classification") => (HeadKind::MultiLabel, "problem_type"),
        Some("regression") => (HeadKind::Regression, "problem_type"),
        Some(_) | None if outputs == 1 => (HeadKind::Regression, "one output"),
        Some(_) | None => (HeadKind::Classification, fallback),
    };
    match architecture {
        Some(name) if name.ends_with("ForSequenceClassification") => Ok(by_problem("architecture")),
        Some(name) if name.ends_with("ForMultipleChoice") => Ok((HeadKind::MultipleChoice, "architecture")),
        Some(name) if name.ends_with("ForTokenClassification") => Ok((HeadKind::TokenClassification, "architecture")),
        Some(name) if name.starts_with("Deberta") && name.contains("For") => {
            Err(CheckpointError::UnknownLayout(format!(
                "architecture {name:?} with a classifier; expected DebertaV2ForSequenceClassification, \
                 DebertaV2ForMultipleChoice or DebertaV2ForTokenClassification"
            )))
        }
        Some(_) | None if !has_pooler => Ok((HeadKind::TokenClassification, "no pooler")),
        Some(_) | None => Ok(by_problem("a classifier over the pooler")),
    }
}

/// `id2label` in the order of its numbers; empty unless it names every output exactly once.
fn labels(named: BTreeMap<String, Value>, outputs: usize) -> Vec<String> {
    let numbered = |(number, name): (String, Value)| {
        let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
        number.parse::<usize>().ok().map(|number| (number, name))
    };
    let by_number: Option<BTreeMap<usize, String>> = named.into_iter().map(numbered).collect();
    let by_number = by_number.unwrap_or_default();
    if by_number.keys().copied().eq(0..outputs) { by_number.into_values().collect() } else { Vec::new() }
}

/// Whether labels are those of natural language inference.
pub(crate) fn is_inference(labels: &[String]) -> bool {
    let has = |word: &str| labels.iter().any(|label| label.to_lowercase() == word);
    has("entailment") && (has("contradiction") || has("not_entailment"))
}
