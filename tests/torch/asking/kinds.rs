//! Every kind of head answers text over the wire as the reference's model and the kind's own arithmetic do.

use std::collections::BTreeMap;

use api::v1;
use api::v1::prediction::Result as Answer;
use serde::Deserialize;

use super::served::Served;
use super::{TOLERANCE, logits};
use crate::fixtures::{self, largest_difference};

/// One input and what the reference says to it.
#[derive(Debug, Deserialize)]
struct Case {
    /// Absent for the classifier that a model carries as its own.
    task: Option<String>,
    kind: String,
    text: Option<String>,
    text_pair: Option<String>,
    #[serde(default)]
    choices: Vec<String>,
    #[serde(default)]
    tokens: Vec<String>,
    /// Of all rows in order, with the task embedding `on` and `off`.
    logits: BTreeMap<String, Vec<f32>>,
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit.exp() / sum).collect()
}

/// Scores in the order of labels or choices, where the kind has several.
fn scores(answer: &Answer) -> Vec<f32> {
    let mut indexed: Vec<(u32, f32)> = match answer {
        Answer::Classification(result) => result.labels.iter().map(|label| (label.index, label.score)).collect(),
        Answer::MultiLabel(result) => result.labels.iter().map(|label| (label.index, label.score)).collect(),
        Answer::Choices(result) => result.choices.iter().map(|choice| (choice.index, choice.score)).collect(),
        Answer::Value(_) | Answer::Spans(_) => Vec::new(),
    };
    indexed.sort_by_key(|(index, _)| *index);
    indexed.into_iter().map(|(_, score)| score).collect()
}

/// What the kind makes of its logits.
fn expected(kind: &str, logits: &[f32]) -> Vec<f32> {
    match kind {
        "classification" | "multiple_choice" | "reward" => softmax(logits),
        "multi_label" => logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
        _ => Vec::new(),
    }
}

async fn answers_like_the_reference(checkpoint: &str) -> Vec<String> {
    let server = Served::import(checkpoint).await;
    let cases: Vec<Case> = fixtures::read_json(&fixtures::path("layouts").join(checkpoint).join("golden.json"));
    for case in &cases {
        let input = v1::Input {
            text: case.text.clone().unwrap_or_default(),
            text_pair: case.text_pair.clone(),
            choices: case.choices.clone(),
            tokens: case.tokens.clone(),
        };
        for (mode, golden) in &case.logits {
            let mode = if mode == "on" { v1::Mode::Exact } else { v1::Mode::Shared };
            let request = v1::ClassifyRequest {
                task: case.task.clone().unwrap_or_else(|| server.task.clone()),
                inputs: vec![input.clone()],
                options: Some(v1::ClassifyOptions {
                    logits: true,
                    mode: mode.into(),
                    ..v1::ClassifyOptions::default()
                }),
                ..v1::ClassifyRequest::default()
            };
            let reply = server.classifier().classify(request).await.unwrap().into_inner();
            let answer = reply.predictions.into_iter().next().unwrap().result.unwrap();
            let difference = largest_difference(&logits(&answer), golden);
            assert!(difference <= TOLERANCE, "{checkpoint}: {:?} is off by {difference:.1e}", case.task);
            let found = scores(&answer);
            let difference = largest_difference(&found, &expected(&case.kind, golden));
            assert!(difference <= TOLERANCE, "{checkpoint}: {found:?} for {golden:?}, {case:?}");
            if let Answer::MultiLabel(result) = &answer {
                assert!(result.labels.iter().all(|label| label.above_threshold == (label.score >= 0.5)));
                assert!((found.iter().sum::<f32>() - 1.0).abs() > 1e-3, "no softmax");
            }
        }
    }
    cases.into_iter().map(|case| case.kind).collect()
}

#[tokio::test]
async fn every_kind_answers_text_as_the_reference_does() {
    let mut kinds = Vec::new();
    for checkpoint in ["a-one-file", "c-sequence", "c-multi-label", "c-regression", "c-multiple-choice", "c-token"] {
        kinds.append(&mut answers_like_the_reference(checkpoint).await);
    }
    kinds.sort_unstable();
    kinds.dedup();
    let mut all = engine::HeadKind::ALL.map(engine::HeadKind::as_str);
    all.sort_unstable();
    assert_eq!(kinds, all);
}
