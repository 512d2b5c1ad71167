//! The evaluations of many tasks side by side.

use std::collections::BTreeMap;

use api::v1::{BadRow, Metric, Task, VersionReport};
use serde_json::{Value, json};

use super::call::Finished;
use super::fields;
use crate::tasks::kind_name;

/// Skipped rows that are named one by one.
const SKIPPED_SHOWN: usize = 5;

/// What became of one task.
pub(crate) enum Fate {
    /// It was judged.
    Judged(Box<Finished>),
    /// The folder has no file for it.
    NoRows,
    /// Its evaluation broke.
    Failed(String),
}

/// One task among many.
pub(crate) struct Entry {
    pub(crate) task: Task,
    pub(crate) fate: Fate,
}

/// All of them, and how they were judged.
pub(crate) struct Summary {
    pub(crate) entries: Vec<Entry>,
    /// Coverage of the intervals.
    pub(crate) coverage: f64,
    /// Most rows of each task; `None`: all.
    pub(crate) rows: Option<u64>,
}

/// The figure that a task is known by, beside what it is to be read against.
pub(crate) struct MainFigure<'a> {
    pub(crate) metric: &'a Metric,
    /// The same figure as the head's manifest has it.
    pub(crate) recorded: Option<f64>,
    /// What the commonest label would reach as every answer, where the figure is an accuracy over labels.
    pub(crate) commonest_label: Option<f64>,
}

impl Entry {
    pub(crate) fn judged(&self) -> Option<(&Finished, &VersionReport)> {
        match &self.fate {
            Fate::Judged(finished) => Some((finished, finished.report.judged.as_ref()?)),
            Fate::NoRows | Fate::Failed(_) => None,
        }
    }

    pub(crate) fn main_figure(&self) -> Option<MainFigure<'_>> {
        let (_, judged) = self.judged()?;
        let metric = judged.metrics.first()?;
        let recorded = [metric.name.clone(), format!("validation_{}", metric.name)];
        let recorded = self.task.metrics.iter().find(|held| recorded.contains(&held.name)).map(|held| held.value);
        let rows: u64 = judged.labels.iter().map(|label| label.support).sum();
        let commonest = judged.labels.iter().map(|label| label.support).max().filter(|_| rows > 0);
        let commonest_label = commonest.filter(|_| metric.name == "accuracy").map(|most| most as f64 / rows as f64);
        Some(MainFigure { metric, recorded, commonest_label })
    }

    /// Another figure by its name.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        let (_, judged) = self.judged()?;
        judged.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }

    /// What was skipped, by line, if anything was.
    pub(crate) fn skipped(&self) -> Option<String> {
        let (finished, _) = self.judged()?;
        let bad_rows = &finished.bad_rows;
        let one = |bad: &BadRow| {
            let field = if bad.field.is_empty() { String::new() } else { format!("{}: ", bad.field) };
            format!("line {} ({field}{})", bad.line, bad.reason)
        };
        let shown: Vec<String> = bad_rows.iter().take(SKIPPED_SHOWN).map(one).collect();
        let more = bad_rows.len().saturating_sub(SKIPPED_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!shown.is_empty()).then(|| format!("skipped {}{more}", shown.join(", ")))
    }

    /// What stands in place of figures.
    pub(crate) fn reason(&self) -> Option<String> {
        match &self.fate {
            Fate::Judged(_) => None,
            Fate::NoRows => Some("no rows in the folder".to_owned()),
            Fate::Failed(reason) => Some(reason.clone()),
        }
    }
}

impl Summary {
    /// Judged, without rows, failed.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Fate) -> bool| self.entries.iter().filter(|entry| wanted(&entry.fate)).count();
        (
            count(|fate| matches!(fate, Fate::Judged(_))),
            count(|fate| matches!(fate, Fate::NoRows)),
            count(|fate| matches!(fate, Fate::Failed(_))),
        )
    }

    /// For each main figure its mean over tasks and their number; tasks count the same.
    pub(crate) fn means(&self) -> BTreeMap<&str, (f64, usize)> {
        let mut sums: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
        for main in self.entries.iter().filter_map(Entry::main_figure) {
            let sum = sums.entry(main.metric.name.as_str()).or_default();
            *sum = (sum.0 + main.metric.value, sum.1 + 1);
        }
        sums.into_iter().map(|(name, (sum, tasks))| (name, (sum / tasks as f64, tasks))).collect()
    }

    /// The mean of all main figures, whatever they are.
    pub(crate) fn mean(&self) -> Option<f64> {
        let values: Vec<f64> =
            self.entries.iter().filter_map(Entry::main_figure).map(|main| main.metric.value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Everything as one object.
    pub(crate) fn object(&self) -> Value {
        let means: serde_json::Map<String, Value> = self
            .means()
            .into_iter()
            .map(|(name, (mean, tasks))| (name.to_owned(), json!({"mean": mean, "tasks": tasks})))
            .collect();
        let tasks: Vec<Value> = self.entries.iter().map(Entry::object).collect();
        json!({"mean": self.mean(), "means": means, "coverage": self.coverage, "rows_per_task": self.rows, "tasks": tasks})
    }
}

impl Entry {
    /// The task as a JSON object, whatever became of it.
    pub(crate) fn object(&self) -> Value {
        let mut object = match &self.fate {
            Fate::Judged(finished) => fields::object(&self.task, finished),
            Fate::NoRows | Fate::Failed(_) => json!({"task": self.task.name, "kind": kind_name(self.task.kind())}),
        };
        let (status, reason) = match &self.fate {
            Fate::Judged(_) => ("judged", None),
            Fate::NoRows => ("no_rows", None),
            Fate::Failed(reason) => ("failed", Some(reason)),
        };
        object["status"] = json!(status);
        object["error"] = json!(reason);
        if let Some(main) = self.main_figure() {
            object["main_figure"] = json!(main.metric.name);
            object["recorded"] = json!(main.recorded);
            object["commonest_label"] = json!(main.commonest_label);
        }
        object
    }
}
