//! The tasks of a synthetic checkpoint: kinds in the mix of the published one, 2 to 150 labels, some labels shared.

use engine::HeadKind;
use serde_json::{Map, Value, json};

use super::chance::Chance;
use crate::encoder_config::EncoderConfig;

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntheticTask {
    pub(super) name: String,
    pub(super) outputs: usize,
    pub(super) labels: Vec<String>,
    /// The task whose weight this one has as well: all with the same labels have that of the first.
    pub(super) weight_of: usize,
    /// What a table of kinds says of it; `None` where outputs and labels say enough.
    pub(super) kind: Option<HeadKind>,
}

const INFERENCE: [&str; 3] = ["entailment", "neutral", "contradiction"];
const MOST_LABELS: usize = 150;

/// The prompt of the tasks that score answers.
const PROMPT: &str = "Best answer:";

/// `n_tasks` tasks: of a hundred, 58 classify, 38 choose among several, 2 label tokens, 1 scores answers and 1 gives a
/// number. Their names are in no catalogue: outputs and labels show most kinds, and [`kinds_table`] says the others.
pub(super) fn list(n_tasks: usize, seed: u64) -> Vec<SyntheticTask> {
    let mut chance = Chance::new(seed, "tasks");
    let mut tasks: Vec<SyntheticTask> = Vec::with_capacity(n_tasks);
    for index in 0..n_tasks {
        let (word, outputs, labels) = match index % 100 {
            0..=12 => ("inference", INFERENCE.len(), INFERENCE.map(str::to_owned).to_vec()),
            13..=20 => ("binary", 2, vec!["no".to_owned(), "yes".to_owned()]),
            21..=57 => {
                // Most have few labels, a few have many.
                let (one, other) = (chance.below(MOST_LABELS - 1), chance.below(MOST_LABELS - 1));
                let outputs = 2 + one.min(other) * one.min(other) / MOST_LABELS;
                ("topic", outputs, (0..outputs).map(|label| format!("topic {index}.{label}")).collect())
            }
            58..=95 => ("choice", 1, vec!["0".to_owned(), "1".to_owned()]),
            96 => ("answer", 1, Vec::new()),
            97 | 98 => ("tokens", 9, (0..9).map(|label| format!("tag {index}.{label}")).collect()),
            _ => ("number", 1, Vec::new()),
        };
        let kind = match word {
            // Without its labels, as some layouts have it, a task that chooses would look like a number.
            "choice" => Some(HeadKind::MultipleChoice),
            "tokens" => Some(HeadKind::TokenClassification),
            "answer" => Some(HeadKind::Reward),
            _ => None,
        };
        let twin = tasks.iter().position(|task| !labels.is_empty() && task.labels == labels && task.outputs == outputs);
        let weight_of = twin.unwrap_or(index);
        let name = format!("synthetic/{word}-{index:03}");
        tasks.push(SyntheticTask { name, outputs, labels, weight_of, kind });
    }
    tasks
}

/// A table of kinds for the tasks that need one, as the import reads it.
pub(super) fn kinds_table(tasks: &[SyntheticTask]) -> String {
    let mut table = String::new();
    for task in tasks {
        let Some(kind) = task.kind else { continue };
        let prompt = if kind == HeadKind::Reward { format!("\t{PROMPT}") } else { String::new() };
        table.push_str(&format!("{}\t{kind}{prompt}\n", task.name));
    }
    table
}

/// What `config.json` says of `tasks`. Sizes come in the three forms found in published files.
pub(super) fn config_keys(tasks: &[SyntheticTask], hidden: usize, with_labels: bool) -> Map<String, Value> {
    let size = |(index, task): (usize, &SyntheticTask)| match index % 3 {
        0 => json!(task.outputs),
        1 => json!([task.outputs, hidden]),
        _ => json!([hidden, task.outputs]),
    };
    let mut keys = Map::new();
    keys.insert("tasks".to_owned(), tasks.iter().map(|task| json!(task.name)).collect());
    keys.insert("classifiers_size".to_owned(), tasks.iter().enumerate().map(size).collect());
    if with_labels {
        keys.insert("labels_list".to_owned(), tasks.iter().map(|task| json!(task.labels)).collect());
    }
    keys
}

/// Names and shapes of the heads' tensors, task embeddings first.
pub(super) fn tensors(tasks: &[SyntheticTask], config: &EncoderConfig, embeddings: &str) -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![(embeddings.to_owned(), vec![tasks.len(), config.embedding])];
    for (index, task) in tasks.iter().enumerate() {
        tensors.push((format!("classifiers.{index}.weight"), vec![task.outputs, config.hidden]));
        tensors.push((format!("classifiers.{index}.bias"), vec![task.outputs]));
    }
    tensors
}

/// The name of the random stream of the tensor `name`: that of the first task with the same weight.
pub(super) fn stream(name: &str, tasks: &[SyntheticTask]) -> String {
    let index = name.strip_prefix("classifiers.").and_then(|rest| rest.strip_suffix(".weight"));
    let task = index.and_then(|index| tasks.get(index.parse::<usize>().ok()?));
    match task {
        Some(task) => format!("classifiers.{}.weight", task.weight_of),
        // Both layouts hold the same numbers, whatever the name.
        None if name == "Z.weight" => "Z".to_owned(),
        None => name.to_owned(),
    }
}
