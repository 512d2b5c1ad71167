//! Many evaluations as one page that needs nothing else: no script, no font, no network.

use api::v1::{LabelReport, VersionReport};

use super::call::Finished;
use super::markdown::sentences;
use super::plots::{Bar, bars, calibration, escaped};
use super::summary::{Entry, Summary};
use super::text::{interval, number};
use crate::tasks::kind_name;

const STYLE: &str = include_str!("page.css");
/// Labels up to which the confusion between them can be read.
const CONFUSION_LABELS: usize = 30;

/// The page.
pub(crate) fn page(summary: &Summary) -> String {
    let mut page = vec![
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Evaluation</title>".to_owned(),
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">".to_owned(),
        format!("<style>{STYLE}</style></head><body><main><h1>Evaluation</h1>"),
    ];
    page.extend(sentences(summary).iter().map(|sentence| format!("<p>{}</p>", escaped(sentence))));
    page.extend(plots(summary));
    page.push(table(summary));
    page.extend(unjudged(summary));
    let judged = summary.entries.iter().enumerate();
    page.extend(judged.filter_map(|(place, entry)| section(place, entry)));
    page.push("</main></body></html>\n".to_owned());
    page.join("\n")
}

fn anchor(place: usize) -> String {
    format!("task-{place}")
}

/// One plot for each main figure, best task first.
fn plots(summary: &Summary) -> Vec<String> {
    let percent = (summary.coverage * 1_000.0).round() / 10.0;
    let plot = |name: &str| {
        let mut of_figure: Vec<Bar> = Vec::new();
        for (place, entry) in summary.entries.iter().enumerate() {
            let Some(main) = entry.main_figure().filter(|main| main.metric.name == name) else { continue };
            of_figure.push(Bar {
                name: entry.task.name.clone(),
                anchor: anchor(place),
                value: main.metric.value,
                interval: main.metric.low.zip(main.metric.high),
                mark: main.commonest_label,
            });
        }
        of_figure.sort_by(|a, b| b.value.total_cmp(&a.value));
        let marks = if of_figure.iter().any(|bar| bar.mark.is_some()) {
            "; dashes: the commonest label every time"
        } else {
            ""
        };
        let title = name.replace('_', " ");
        format!(
            "<h2>{0}</h2><p class=\"note\">Whiskers: {percent} % intervals{marks}.</p>{1}",
            escaped(&title),
            bars(&title, &of_figure)
        )
    };
    summary.means().into_keys().map(plot).collect()
}

fn table(summary: &Summary) -> String {
    let heads = [
        "task",
        "kind",
        "rows",
        "figure",
        "value",
        "interval",
        "recorded",
        "commonest label",
        "calibration error",
        "version",
    ];
    let heads: String = heads.iter().map(|head| format!("<th>{head}</th>")).collect();
    let or_empty = |value: Option<f64>| value.map_or_else(String::new, number);
    let row = |(place, entry): (usize, &Entry)| {
        let ((finished, judged), main) = (entry.judged()?, entry.main_figure()?);
        let cells = [
            finished.report.rows.to_string(),
            main.metric.name.replace('_', " "),
            number(main.metric.value),
            interval(main.metric),
            or_empty(main.recorded),
            or_empty(main.commonest_label),
            or_empty(entry.figure("expected_calibration_error")),
            judged.version.to_string(),
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        Some(format!(
            "<tr><td><a href=\"#{}\">{}</a></td><td>{}</td>{cells}</tr>",
            anchor(place),
            escaped(&entry.task.name),
            kind_name(entry.task.kind()).unwrap_or_default()
        ))
    };
    let rows: String = summary.entries.iter().enumerate().filter_map(row).collect();
    format!("<h2>All tasks</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")
}

fn unjudged(summary: &Summary) -> Vec<String> {
    let item = |entry: &Entry| {
        let reason = entry.reason()?;
        Some(format!("<li><code>{}</code>: {}</li>", escaped(&entry.task.name), escaped(&reason)))
    };
    let items: String = summary.entries.iter().filter_map(item).collect();
    if items.is_empty() { Vec::new() } else { vec![format!("<h2>Not judged</h2><ul>{items}</ul>")] }
}

fn section(place: usize, entry: &Entry) -> Option<String> {
    let (finished, judged) = entry.judged()?;
    let mut parts = vec![
        format!("<details id=\"{}\"><summary>{}</summary>", anchor(place), escaped(&entry.task.name)),
        format!("<p>{}</p>", escaped(&entry.task.description)),
        format!("<div class=\"side\">{}", figures(judged)),
    ];
    if judged.calibration.iter().any(|bin| bin.answers > 0) {
        parts.push(calibration(&judged.calibration));
    }
    parts.push("</div>".to_owned());
    if !judged.labels.is_empty() {
        parts.push(labels(&judged.labels));
    }
    if !judged.confusion.is_empty() && judged.confusion.len() <= CONFUSION_LABELS {
        parts.push(confusion(judged));
    }
    parts.extend(notes(entry, finished));
    parts.push("</details>".to_owned());
    Some(parts.join("\n"))
}

fn figures(judged: &VersionReport) -> String {
    let row = |metric: &api::v1::Metric| {
        let (name, value, interval) = (metric.name.replace('_', " "), number(metric.value), interval(metric));
        format!("<tr><td>{}</td><td>{value}</td><td>{interval}</td></tr>", escaped(&name))
    };
    let rows: String = judged.metrics.iter().map(row).collect();
    format!(
        "<table><thead><tr><th>figure</th><th>value</th><th>interval</th></tr></thead><tbody>{rows}</tbody></table>"
    )
}

fn labels(labels: &[LabelReport]) -> String {
    let row = |label: &LabelReport| {
        let figures: String =
            [label.precision, label.recall].iter().map(|value| format!("<td>{}</td>", number(*value))).collect();
        format!(
            "<tr><td>{}</td><td>{}</td>{figures}<td class=\"meter\" style=\"--share:{:.3}\">{}</td></tr>",
            escaped(&label.label),
            label.support,
            label.f1,
            number(label.f1)
        )
    };
    let rows: String = labels.iter().map(row).collect();
    format!(
        "<table><thead><tr><th>label</th><th>support</th><th>precision</th><th>recall</th><th>F1</th></tr></thead><tbody>{rows}</tbody></table>"
    )
}

/// Counts by right label (down) and answer (across), each row shaded by its shares.
fn confusion(judged: &VersionReport) -> String {
    let heads: String =
        judged.labels.iter().map(|label| format!("<th><span>{}</span></th>", escaped(&label.label))).collect();
    let mut rows = String::new();
    for (place, (label, row)) in judged.labels.iter().zip(&judged.confusion).enumerate() {
        let total = row.counts.iter().sum::<u64>().max(1) as f64;
        let cell = |(across, count): (usize, &u64)| {
            let class = if across == place { "right" } else { "wrong" };
            let shown = if *count == 0 { String::new() } else { count.to_string() };
            format!("<td class=\"{class}\" style=\"--share:{:.3}\">{shown}</td>", *count as f64 / total)
        };
        let cells: String = row.counts.iter().enumerate().map(cell).collect();
        rows.push_str(&format!("<tr><th>{}</th>{cells}</tr>", escaped(&label.label)));
    }
    format!(
        "<p class=\"note\">Rows by right label (down) and answer (across).</p><table class=\"confusion\"><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )
}

fn notes(entry: &Entry, finished: &Finished) -> Vec<String> {
    let mut notes = finished.report.warnings.clone();
    notes.extend(entry.skipped());
    notes.push(format!("rows {}", finished.report.data_digest));
    notes.iter().map(|note| format!("<p class=\"note\">{}</p>", escaped(note))).collect()
}

#[cfg(test)]
mod tests {
    use api::v1::{CalibrationBin, ConfusionRow, EvaluationReport, Metric, Task, TaskKind};

    use super::*;
    use crate::evaluate::summary::Fate;

    fn entry(name: &str, fate: Fate) -> Entry {
        let metrics = vec![Metric { name: "validation_accuracy".to_owned(), value: 0.8, ..Metric::default() }];
        let description = "Is it <i>odd</i>?".to_owned();
        let kind = TaskKind::Classification.into();
        Entry { task: Task { name: name.to_owned(), kind, description, metrics, ..Task::default() }, fate }
    }

    fn judged() -> Fate {
        let label = |label: &str, support| LabelReport { label: label.to_owned(), support, ..LabelReport::default() };
        let accuracy = Metric { name: "accuracy".to_owned(), value: 0.75, low: Some(0.6), high: Some(0.9) };
        let judged = VersionReport {
            version: 3,
            metrics: vec![accuracy],
            labels: vec![label("<script>", 3), label("b\"c", 1)],
            confusion: vec![ConfusionRow { counts: vec![3, 0] }, ConfusionRow { counts: vec![1, 0] }],
            calibration: vec![CalibrationBin { low: 0.9, high: 1.0, answers: 4, mean_score: 0.95, accuracy: 0.75 }],
            ..VersionReport::default()
        };
        let report = EvaluationReport { judged: Some(judged), rows: 4, ..EvaluationReport::default() };
        Fate::Judged(Box::new(Finished { report, bad_rows: Vec::new() }))
    }

    fn summary() -> Summary {
        let failed = Fate::Failed("the <b>line</b> is too long".to_owned());
        let entries = vec![entry("a/none", Fate::NoRows), entry("b/judged", judged()), entry("c/broken", failed)];
        Summary { entries, coverage: 0.9, rows: None }
    }

    #[test]
    fn nothing_that_is_named_by_others_becomes_markup() {
        let page = page(&summary());
        for hostile in ["<script>", "<i>odd", "<b>line"] {
            assert!(!page.contains(hostile), "{hostile}");
        }
        assert!(page.contains("&lt;script&gt;") && page.contains("b&quot;c"), "{page}");
    }

    #[test]
    fn every_link_leads_to_a_place_on_the_page() {
        let page = page(&summary());
        let links: Vec<&str> = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(links, ["task-1", "task-1"], "one from the plot, one from the table");
        assert_eq!(page.matches("id=\"task-1\"").count(), 1);
    }

    #[test]
    fn a_task_stands_beside_its_recorded_figure_and_the_commonest_label() {
        let page = page(&summary());
        assert!(page.contains("<td>0.750</td><td>0.600 to 0.900</td><td>0.800</td><td>0.750</td>"), "{page}");
        assert!(page.contains("Whiskers: 90 % intervals; dashes"), "{page}");
        assert!(page.contains("<code>a/none</code>: no rows in the folder"), "{page}");
    }
}
