//! Known tasks: tables of task, kind and fixed prompt, and the catalogue of published tasks, which is one of them.

use engine::HeadKind;

/// The published tasks: a line each, with task, kind and where there is one the fixed prompt.
const CATALOGUE: &str = include_str!("../../../registry/kinds.tsv");

/// A task whose kind is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTask {
    /// Its name, as its publishers spell it.
    pub name: String,
    /// Its kind. The catalogue of published tasks calls those with a number for an answer classifications.
    pub kind: HeadKind,
    /// The fixed prompt of its inputs.
    pub prompt: Option<String>,
}

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct KnownTasksError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// The published tasks of the tasksource family, in order of their names.
///
/// # Errors
/// Never for the table that the program is built with; a test reads all of it.
pub fn published_tasks() -> Result<Vec<KnownTask>, KnownTasksError> {
    let mut tasks = parse_known_tasks(CATALOGUE)?;
    tasks.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(tasks)
}

/// The tasks of a table, in its order: lines of task, tab, kind, and where there is one tab, prompt. Empty lines and
/// lines that begin with `#` are skipped.
///
/// # Errors
/// [`KnownTasksError`], for the first line that is none of these, or that names a task again.
pub fn parse_known_tasks(table: &str) -> Result<Vec<KnownTask>, KnownTasksError> {
    let mut tasks = Vec::new();
    let mut names = std::collections::HashSet::new();
    for (index, line) in table.lines().enumerate() {
        let bad = |reason: String| KnownTasksError { line: index + 1, reason };
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.split('\t');
        let (Some(task), Some(kind)) = (fields.next(), fields.next()) else {
            return Err(bad("expected a task, a tab and a kind".to_owned()));
        };
        let kind = kind.trim().parse::<HeadKind>().map_err(|error| bad(error.to_string()))?;
        let prompt = fields.next().filter(|prompt| !prompt.is_empty()).map(str::to_owned);
        if fields.next().is_some() {
            return Err(bad("expected at most a task, a kind and a prompt".to_owned()));
        }
        if !names.insert(task) {
            return Err(bad(format!("{task:?} is there twice")));
        }
        tasks.push(KnownTask { name: task.to_owned(), kind, prompt });
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use engine::TaskName;

    use super::*;

    #[test]
    fn the_catalogue_of_published_tasks_is_whole_and_in_order() {
        let tasks = published_tasks().unwrap();
        assert!(tasks.len() >= 667, "{} tasks", tasks.len());
        assert!(tasks.is_sorted_by(|left, right| left.name < right.name));
        let unnameable: Vec<_> = tasks.iter().filter(|task| task.name.parse::<TaskName>().is_err()).collect();
        assert!(unnameable.is_empty(), "{unnameable:?}");
        let kind = |name: &str| tasks.iter().find(|task| task.name == name).map(|task| task.kind);
        assert_eq!(kind("glue/mnli"), Some(HeadKind::Classification));
        assert_eq!(kind("swag/regular"), Some(HeadKind::MultipleChoice));
        assert_eq!(kind("conll2003/ner_tags"), Some(HeadKind::TokenClassification));
        assert_eq!(kind("hh-rlhf"), Some(HeadKind::Reward));
    }

    #[test]
    fn a_malformed_table_is_refused_by_line() {
        for (text, expected) in [
            ("a\n", "line 1: expected a task"),
            ("# mine\n\na\tsorting\n", "line 3: kind \"sorting\""),
            ("a\treward\nb\treward\na\treward\n", "line 3: \"a\" is there twice"),
            ("a\treward\tp\tq\n", "line 1: expected at most"),
        ] {
            let refused = parse_known_tasks(text).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
