//! Many evaluations as one Markdown table.

use super::summary::{Entry, Summary};
use super::text::{interval, number};
use crate::output::one_line;
use crate::tasks::kind_name;

/// The page.
pub(crate) fn page(summary: &Summary) -> String {
    let mut lines = vec!["# Evaluation".to_owned(), String::new()];
    lines.extend(sentences(summary));
    lines.push(String::new());
    let percent = (summary.coverage * 1_000.0).round() / 10.0;
    lines.push(format!("| task | kind | rows | figure | value | {percent} % interval | recorded | commonest label | calibration error | version |"));
    lines.push("| --- | --- | ---: | --- | ---: | :---: | ---: | ---: | ---: | ---: |".to_owned());
    lines.extend(summary.entries.iter().filter_map(row));
    let skipped: Vec<String> = summary.entries.iter().filter_map(skipped).collect();
    if !skipped.is_empty() {
        lines.extend([String::new(), "## Skipped rows".to_owned(), String::new()]);
        lines.extend(skipped);
    }
    let others: Vec<&Entry> = summary.entries.iter().filter(|entry| entry.judged().is_none()).collect();
    if !others.is_empty() {
        lines.extend([String::new(), "## Not judged".to_owned(), String::new()]);
        for entry in others {
            let reason = entry.reason().unwrap_or_default();
            lines.push(format!("- `{}`: {}", entry.task.name, cell(&reason)));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What the table as a whole says.
pub(crate) fn sentences(summary: &Summary) -> Vec<String> {
    let (judged, without_rows, failed) = summary.counts();
    let tasks = if judged == 1 { "task" } else { "tasks" };
    let mut parts = vec![format!("{judged} {tasks} judged")];
    parts.extend(summary.rows.map(|rows| format!("on at most {rows} rows each")));
    if without_rows > 0 {
        parts.push(format!("{without_rows} without rows"));
    }
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    let mut sentences = vec![format!("{}.", parts.join(", "))];
    if let Some(mean) = summary.mean() {
        let means: Vec<String> = summary
            .means()
            .into_iter()
            .map(|(name, (mean, tasks))| format!("{} {} over {tasks}", name.replace('_', " "), number(mean)))
            .collect();
        sentences.push(format!("Mean of the figures: {} ({}).", number(mean), means.join(", ")));
    }
    sentences
}

fn row(entry: &Entry) -> Option<String> {
    let (finished, judged) = entry.judged()?;
    let main = entry.main_figure()?;
    let or_empty = |value: Option<f64>| value.map_or_else(String::new, number);
    let cells = [
        format!("`{}`", entry.task.name),
        kind_name(entry.task.kind()).unwrap_or_default().to_owned(),
        finished.report.rows.to_string(),
        main.metric.name.replace('_', " "),
        number(main.metric.value),
        interval(main.metric),
        or_empty(main.recorded),
        or_empty(main.commonest_label),
        or_empty(entry.figure("expected_calibration_error")),
        judged.version.to_string(),
    ];
    Some(format!("| {} |", cells.join(" | ")))
}

fn skipped(entry: &Entry) -> Option<String> {
    Some(format!("- `{}`: {}", entry.task.name, cell(&entry.skipped()?)))
}

fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}
