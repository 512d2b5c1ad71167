//! The `config.json` with which the `transformers` package loads an encoder and one head as one model.

use engine::{Head, HeadKind, TaskName};
use serde_json::{Map, Value, json};

/// Under this key stands what such a model has no key for.
pub const HEADWATER_KEY: &str = "headwater";

/// `encoder`, the configuration of a bundle, with what makes it the configuration of a whole model.
pub(crate) fn config(mut encoder: Map<String, Value>, task: &TaskName, head: &Head) -> Map<String, Value> {
    let (architecture, problem) = model(head.kind());
    let parts = head.parts();
    let label = |index: usize| match head.label(index) {
        "" => format!("LABEL_{index}"),
        label => label.to_owned(),
    };
    let labels: Vec<String> = (0..head.outputs()).map(label).collect();
    let by_number: Map<String, Value> =
        labels.iter().enumerate().map(|(index, label)| (index.to_string(), json!(label))).collect();
    let by_label: Map<String, Value> =
        labels.iter().enumerate().map(|(index, label)| (label.clone(), json!(index))).collect();
    encoder.insert("architectures".to_owned(), json!([architecture]));
    encoder.insert("id2label".to_owned(), Value::Object(by_number));
    encoder.insert("label2id".to_owned(), Value::Object(by_label));
    // Both spellings: the package renamed the key in its fifth version.
    encoder.insert("dtype".to_owned(), json!("float32"));
    encoder.insert("torch_dtype".to_owned(), json!("float32"));
    if let Some(problem) = problem {
        encoder.insert("problem_type".to_owned(), json!(problem));
    }
    let mut own = Map::new();
    own.insert("task".to_owned(), json!(task.as_str()));
    own.insert("kind".to_owned(), json!(head.kind().as_str()));
    if let Some(prompt) = &parts.prompt {
        own.insert("prompt".to_owned(), json!(prompt));
    }
    if let Some(temperature) = parts.temperature {
        own.insert("temperature".to_owned(), json!(temperature));
    }
    if !parts.thresholds.is_empty() {
        own.insert("thresholds".to_owned(), json!(parts.thresholds));
    }
    encoder.insert(HEADWATER_KEY.to_owned(), Value::Object(own));
    encoder
}

fn model(kind: HeadKind) -> (&'static str, Option<&'static str>) {
    const SEQUENCE: &str = "DebertaV2ForSequenceClassification";
    match kind {
        HeadKind::Classification => (SEQUENCE, Some("single_label_classification")),
        HeadKind::MultiLabel => (SEQUENCE, Some("multi_label_classification")),
        HeadKind::Regression | HeadKind::Reward => (SEQUENCE, Some("regression")),
        HeadKind::MultipleChoice => ("DebertaV2ForMultipleChoice", None),
        HeadKind::TokenClassification => ("DebertaV2ForTokenClassification", None),
    }
}
