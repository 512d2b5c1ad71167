//! What `config.json` says about a checkpoint's tasks: names, label names, and sizes that are reported but not obeyed.

use std::collections::HashSet;

use engine::MAX_LABELS;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::CheckpointError;

/// The most tasks one checkpoint may list.
const MAX_TASKS: usize = 8_000;

/// The task part of a configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TaskList {
    /// Names, in the order of the classifiers.
    pub(crate) tasks: Vec<String>,
    /// What the configuration claims about each classifier's size, as written.
    pub(crate) sizes: Vec<Value>,
    /// Label names for each task; empty where there are none.
    pub(crate) labels: Vec<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Keys {
    tasks: Option<Vec<String>>,
    classifiers_size: Option<Vec<Value>>,
    labels_list: Option<Vec<Option<Vec<Value>>>>,
}

impl TaskList {
    /// The task list of `config`; empty where it has none.
    ///
    /// # Errors
    /// If a key has another type, a task is listed twice, or a list is longer than any real one.
    pub(crate) fn parse(config: &Value) -> Result<Self, CheckpointError> {
        let keys = Keys::deserialize(config).map_err(|error| CheckpointError::json("config.json", error))?;
        let tasks = keys.tasks.unwrap_or_default();
        if tasks.len() > MAX_TASKS {
            return Err(CheckpointError::BadTaskList(format!("{} tasks, the limit is {MAX_TASKS}", tasks.len())));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = tasks.iter().find(|task| !seen.insert(task.as_str())) {
            return Err(CheckpointError::BadTaskList(format!("{twice:?} is listed twice")));
        }
        let mut labels = Vec::new();
        for (index, list) in keys.labels_list.unwrap_or_default().into_iter().enumerate() {
            let list = list.unwrap_or_default();
            if list.len() > MAX_LABELS {
                let reason = format!("task {index} has {} labels, the limit is {MAX_LABELS}", list.len());
                return Err(CheckpointError::BadTaskList(reason));
            }
            labels.push(list.into_iter().map(label).collect());
        }
        Ok(Self { tasks, sizes: keys.classifiers_size.unwrap_or_default(), labels })
    }

    /// A remark where the claimed size of classifier `index` is not `outputs`, in any of the three spellings in use:
    /// the number alone, before `hidden`, or after it.
    pub(crate) fn remark(&self, index: usize, outputs: usize, hidden: usize) -> Option<String> {
        let claimed = self.sizes.get(index)?;
        let spellings = [json!(outputs), json!([outputs, hidden]), json!([hidden, outputs])];
        (!spellings.contains(claimed)).then(|| {
            let claimed: String = claimed.to_string().chars().take(60).collect();
            format!("config says size {claimed}, the tensors say {outputs} outputs")
        })
    }
}

fn label(value: Value) -> String {
    if let Value::String(text) = value { text } else { value.to_string() }
}
