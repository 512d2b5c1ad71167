//! An evaluation as people read it in a terminal.

use api::v1::{Comparison, EvaluationReport, LabelReport, Metric, Task, VersionReport};
use comfy_table::{CellAlignment, Table};

use super::call::Finished;
use crate::error::CliError;
use crate::output::{Printer, one_line, shortened, table};

/// Labels up to which all of them, and the confusion between them, fit on a screen.
const ALL_LABELS: usize = 30;
const CONFUSION_LABELS: usize = 12;
/// Labels shown of more: those with the lowest F1.
const WEAKEST_LABELS: usize = 15;
const BAD_ROWS_SHOWN: usize = 20;

pub(crate) fn print(task: &Task, finished: &Finished, coverage: f64, printer: &mut Printer) -> Result<(), CliError> {
    let Finished { report, bad_rows } = finished;
    let Some(judged) = &report.judged else { return Ok(()) };
    printer.line(&heading(task, report, judged))?;
    printer.line("")?;
    printer.table(&figures(judged, report.compared.as_ref(), coverage))?;
    if let Some(comparison) = &report.comparison {
        print_comparison(
            comparison,
            (judged.version, report.compared.as_ref().map_or(0, |other| other.version)),
            printer,
        )?;
    }
    print_labels(judged, printer)?;
    print_confusion(judged, printer)?;
    for line in fitted(task, report) {
        printer.line(&format!("\n{line}"))?;
    }
    if !bad_rows.is_empty() {
        printer.line("\nSkipped:")?;
        for bad in bad_rows.iter().take(BAD_ROWS_SHOWN) {
            let field = if bad.field.is_empty() { String::new() } else { format!("{}: ", bad.field) };
            printer.line(&format!("  line {}: {field}{}", bad.line, one_line(&bad.reason)))?;
        }
        if let Some(more) = bad_rows.len().checked_sub(BAD_ROWS_SHOWN).filter(|more| *more > 0) {
            printer.line(&format!("  and {more} more"))?;
        }
    }
    report.warnings.iter().try_for_each(|warning| printer.line(&format!("\nnote: {}", one_line(warning))))
}

fn heading(task: &Task, report: &EvaluationReport, judged: &VersionReport) -> String {
    let against =
        report.compared.as_ref().map_or_else(String::new, |other| format!(" against version {}", other.version));
    let skipped = if report.skipped_rows > 0 { format!(", {} skipped", report.skipped_rows) } else { String::new() };
    let rows = if report.rows == 1 { "row" } else { "rows" };
    let seconds = report.elapsed_millis as f64 / 1_000.0;
    format!("{} version {}{against}: {} {rows}{skipped} in {seconds:.1} s", task.name, judged.version, report.rows)
}

fn figures(judged: &VersionReport, compared: Option<&VersionReport>, coverage: f64) -> Table {
    let interval_head = format!("{} % INTERVAL", (coverage * 1_000.0).round() / 10.0);
    let mut shown = match compared {
        None => table(["FIGURE", "VALUE", &interval_head]),
        Some(other) => {
            let versions = [format!("VERSION {}", judged.version), format!("VERSION {}", other.version)];
            table(["FIGURE", &versions[0], &interval_head, &versions[1], &interval_head])
        }
    };
    for metric in &judged.metrics {
        let mut row = vec![metric.name.replace('_', " "), number(metric.value), interval(metric)];
        if let Some(other) = compared {
            let same = other.metrics.iter().find(|other| other.name == metric.name);
            row.extend([
                same.map_or_else(String::new, |same| number(same.value)),
                same.map_or_else(String::new, interval),
            ]);
        }
        shown.add_row(row);
    }
    align_numbers(&mut shown);
    shown
}

fn print_comparison(comparison: &Comparison, versions: (u64, u64), printer: &mut Printer) -> Result<(), CliError> {
    let total = comparison.disagreement_total;
    let rows = if total == 1 { "row" } else { "rows" };
    let p = probability(comparison.p_value);
    let difference = comparison.difference.as_ref().map_or_else(String::new, |difference| {
        let range = match (difference.low, difference.high) {
            (Some(low), Some(high)) => format!(" ({low:+.3} to {high:+.3})"),
            (_, _) => String::new(),
        };
        format!("{} changes by {:+.3}{range}; ", difference.name.replace('_', " "), difference.value)
    });
    let test = comparison.test.replace('_', " ");
    printer.line(&format!(
        "\nFrom version {} to {}: {difference}{test}: p {p}; {total} {rows} answered differently",
        versions.0, versions.1
    ))?;
    if comparison.disagreements.is_empty() {
        return Ok(());
    }
    let heads = [format!("VERSION {}", versions.0), format!("VERSION {}", versions.1)];
    let mut shown = table(["LINE", "RIGHT", &heads[0], &heads[1]]);
    for found in &comparison.disagreements {
        let cells = [&found.expected, &found.judged, &found.compared].map(|text| shortened(text));
        shown.add_row([&found.line.to_string(), &cells[0], &cells[1], &cells[2]]);
    }
    printer.line("")?;
    printer.table(&shown)?;
    match total.checked_sub(comparison.disagreements.len() as u64).filter(|more| *more > 0) {
        Some(more) => printer.line(&format!("and {more} more (--disagreements lists more)")),
        None => Ok(()),
    }
}

fn print_labels(judged: &VersionReport, printer: &mut Printer) -> Result<(), CliError> {
    let mut labels: Vec<&LabelReport> = judged.labels.iter().collect();
    if labels.is_empty() {
        return Ok(());
    }
    printer.line("")?;
    if labels.len() > ALL_LABELS {
        labels.retain(|label| label.support > 0);
        labels.sort_by(|a, b| a.f1.total_cmp(&b.f1));
        labels.truncate(WEAKEST_LABELS);
        printer.line(&format!(
            "The {} weakest of {} labels (--output json has all)",
            labels.len(),
            judged.labels.len()
        ))?;
    }
    let mut shown = table(["LABEL", "SUPPORT", "PRECISION", "RECALL", "F1"]);
    for label in labels {
        let figures = [label.precision, label.recall, label.f1].map(number);
        shown.add_row([&shortened(&label.label), &label.support.to_string(), &figures[0], &figures[1], &figures[2]]);
    }
    align_numbers(&mut shown);
    printer.table(&shown)
}

fn print_confusion(judged: &VersionReport, printer: &mut Printer) -> Result<(), CliError> {
    if judged.confusion.is_empty() || judged.confusion.len() > CONFUSION_LABELS {
        return Ok(());
    }
    printer.line("\nRows by right label (down) and answer (across)")?;
    let names: Vec<String> = judged.labels.iter().map(|label| shortened(&label.label)).collect();
    let mut shown = table([]);
    shown.set_header(std::iter::once(String::new()).chain(names.iter().cloned()));
    for (name, row) in names.iter().zip(&judged.confusion) {
        shown.add_row(std::iter::once(name.clone()).chain(row.counts.iter().map(u64::to_string)));
    }
    align_numbers(&mut shown);
    printer.table(&shown)
}

fn fitted(task: &Task, report: &EvaluationReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(temperature) = report.temperature {
        let before = task.temperature.map_or_else(|| "none".to_owned(), |held| format!("{held:.4}"));
        lines.push(format!("temperature fitted: {temperature:.4} (before: {before})"));
    }
    if !report.thresholds.is_empty() {
        let pairs = task.labels.iter().zip(&report.thresholds);
        let pairs: Vec<String> =
            pairs.map(|(label, threshold)| format!("{} {threshold:.3}", one_line(label))).collect();
        lines.push(format!("thresholds fitted: {}", pairs.join(", ")));
    }
    if let Some(version) = report.stored_version {
        lines.push(format!(
            "kept as version {version}; `headwater heads alias {} live {version}` puts it in use",
            task.name
        ));
    }
    lines
}

fn align_numbers(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A figure for people.
pub(crate) fn number(value: f64) -> String {
    format!("{value:.3}")
}

/// Where it lies, if that is known.
pub(crate) fn interval(metric: &Metric) -> String {
    match (metric.low, metric.high) {
        (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
        (_, _) => String::new(),
    }
}

/// A p-value for people.
pub(crate) fn probability(p: f64) -> String {
    if p < 0.001 { "below 0.001".to_owned() } else { format!("{p:.3}") }
}
