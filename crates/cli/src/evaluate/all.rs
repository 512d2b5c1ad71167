//! `headwater evaluate --all`: every task that has rows in a folder; one that fails never ends the run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use api::v1::{Task, TaskSelector};
use serde::Deserialize;

use super::call::{self, Finished, Job};
use super::source::RowSource;
use super::summary::{Entry, Fate, Summary};
use super::text::{interval, number};
use super::{Arguments, html, markdown};
use crate::config::Format;
use crate::error::CliError;
use crate::labelled::Labelling;
use crate::output::{one_line, table_of_lines};
use crate::progress::Bar;
use crate::session::{Outcome, Session};
use crate::tasks::{kind_name, selected};

/// What a folder says of the tasks of its files.
const TASKS_FILE: &str = "tasks.json";

/// A task as `tasks.json` describes it; other fields are ignored.
#[derive(Debug, Deserialize)]
struct Described {
    #[serde(default)]
    labels: Vec<String>,
}

pub(crate) async fn run(arguments: &Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let data = arguments.data.as_deref().ok_or_else(|| CliError::Usage("--all needs --data DIR".to_owned()))?;
    let described = described(data)?;
    let selector = TaskSelector { glob: arguments.task.clone().unwrap_or_default(), ..TaskSelector::default() };
    let tasks = selected(selector, session).await?;
    let file_of = |task: &Task| data.join(format!("{}.jsonl", task.name.replace('/', "__")));
    if !tasks.iter().any(|task| file_of(task).is_file()) {
        let reason = "holds no rows of a task: TASK.jsonl is needed, with __ for each / in its name";
        return Err(CliError::Usage(format!("{} {reason}", data.display())));
    }
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out).map_err(|cause| CliError::Save { path: out.clone(), cause })?;
    }
    let n_tasks = tasks.len();
    let mut entries = Vec::with_capacity(n_tasks);
    for (place, task) in tasks.into_iter().enumerate() {
        let path = file_of(&task);
        let fate = if path.is_file() {
            let names = described.get(&task.name).map(|described| described.labels.as_slice());
            match judge(arguments, &task, (&path, names), (place + 1, n_tasks), session).await {
                Ok(finished) => Fate::Judged(Box::new(finished)),
                Err(error) => Fate::Failed(error.to_string()),
            }
        } else {
            Fate::NoRows
        };
        let entry = Entry { task, fate };
        if session.printer.format() == Format::Json {
            session.printer.json(&entry.object())?;
            session.printer.flush()?;
        }
        entries.push(entry);
    }
    let summary = Summary { entries, coverage: arguments.coverage, rows: arguments.rows };
    if session.printer.format() == Format::Table {
        print(&summary, session)?;
    }
    if let Some(out) = &arguments.out {
        write(&summary, out)?;
    }
    let (_, _, failed) = summary.counts();
    let skipped = summary.entries.iter().filter_map(Entry::judged).map(|(finished, _)| finished.bad_rows.len());
    Ok(Outcome::of_failures((failed + skipped.sum::<usize>()) as u64))
}

async fn judge(
    arguments: &Arguments,
    task: &Task,
    (path, names): (&Path, Option<&[String]>),
    (place, n_tasks): (usize, usize),
    session: &mut Session,
) -> Result<Finished, CliError> {
    let source = RowSource::open(path, arguments.rows, session)?;
    let bar = Bar::of_rows(source.rows);
    bar.name(&format!("{place} of {n_tasks}, {}", task.name));
    let labelling = Labelling { kind: task.kind(), names: names_to_count_in(task, names) };
    let job = Job { plan: arguments.plan(&task.name), source, labelling, skip_bad_rows: arguments.skips_bad_rows() };
    let finished = call::evaluate(job, session, &bar).await;
    bar.finish();
    finished
}

/// What positions of the file count in: the names of `tasks.json`, where it has the head's labels in another order.
/// Where the labels are others, their order is all that the two have in common.
fn names_to_count_in(task: &Task, described: Option<&[String]>) -> Option<Vec<String>> {
    let names = described.filter(|names| *names != task.labels)?;
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    (sorted(names) == sorted(&task.labels)).then(|| names.to_vec())
}

/// `tasks.json` in the folder of rows or one level up; nothing where there is none.
fn described(data: &Path) -> Result<BTreeMap<String, Described>, CliError> {
    let places = [Some(data.join(TASKS_FILE)), data.parent().map(|above| above.join(TASKS_FILE))];
    let Some(path) = places.into_iter().flatten().find(|path| path.is_file()) else {
        return Ok(BTreeMap::new());
    };
    let text = fs::read(&path).map_err(|cause| CliError::Read { path: path.clone(), cause })?;
    let wrong = |error: serde_json::Error| CliError::Usage(format!("{} describes no tasks: {error}", path.display()));
    serde_json::from_slice(&text).map_err(wrong)
}

fn print(summary: &Summary, session: &mut Session) -> Result<(), CliError> {
    let mut shown = table_of_lines(["TASK", "ROWS", "FIGURE", "VALUE", "INTERVAL", "RECORDED", "KIND"]);
    for entry in &summary.entries {
        let kind = kind_name(entry.task.kind()).unwrap_or_default().to_owned();
        match (entry.judged(), entry.main_figure(), entry.reason()) {
            (Some((finished, _)), Some(main), _) => shown.add_row([
                entry.task.name.clone(),
                finished.report.rows.to_string(),
                main.metric.name.replace('_', " "),
                number(main.metric.value),
                interval(main.metric),
                main.recorded.map_or_else(String::new, number),
                kind,
            ]),
            (_, _, reason) => {
                let reason = one_line(&reason.unwrap_or_else(|| "no figure is defined".to_owned()));
                shown.add_row([
                    entry.task.name.clone(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    format!("{kind}: {reason}"),
                ])
            }
        };
    }
    session.printer.table(&shown)?;
    session.printer.line("")?;
    for (entry, skipped) in summary.entries.iter().filter_map(|entry| Some((entry, entry.skipped()?))) {
        session.printer.line(&format!("{}: {}", entry.task.name, one_line(&skipped)))?;
    }
    markdown::sentences(summary).iter().try_for_each(|sentence| session.printer.line(sentence))
}

fn write(summary: &Summary, out: &Path) -> Result<(), CliError> {
    let json = format!("{:#}\n", summary.object());
    let files = [
        ("evaluation.md", markdown::page(summary)),
        ("evaluation.json", json),
        ("evaluation.html", html::page(summary)),
    ];
    for (name, content) in files {
        let path: PathBuf = out.join(name);
        fs::write(&path, content).map_err(|cause| CliError::Save { path, cause })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn positions_count_in_the_files_own_order_where_the_labels_are_the_same() {
        let task = Task { labels: names(&["no", "yes"]), ..Task::default() };
        let counted = |described: &[&str]| names_to_count_in(&task, Some(&names(described)));
        assert_eq!(counted(&["yes", "no"]), Some(names(&["yes", "no"])));
        assert_eq!(counted(&["no", "yes"]), None);
        assert_eq!(counted(&["LABEL_0", "LABEL_1"]), None);
        assert_eq!(names_to_count_in(&task, None), None);
    }

    #[test]
    fn descriptions_lie_beside_the_rows_or_one_level_up() {
        let folder = tempfile::tempdir().unwrap();
        let rows = folder.path().join("validation");
        fs::create_dir(&rows).unwrap();
        assert!(described(&rows).unwrap().is_empty());
        fs::write(folder.path().join(TASKS_FILE), r#"{"a": {"kind": "regression", "labels": ["x"], "note": ""}}"#)
            .unwrap();
        assert_eq!(described(&rows).unwrap()["a"].labels, ["x"]);
        fs::write(rows.join(TASKS_FILE), "{}").unwrap();
        assert!(described(&rows).unwrap().is_empty());
        fs::write(rows.join(TASKS_FILE), "[]").unwrap();
        assert!(described(&rows).is_err());
    }
}
