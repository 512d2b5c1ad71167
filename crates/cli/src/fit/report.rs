//! What came of a fit, as a table for people and as JSON for programs.

use api::v1::{FitReport, Metric};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::Format;
use crate::error::CliError;
use crate::output::{Printer, one_line, table};

/// Rows that are listed one by one.
const MOST_LISTED: usize = 100;

/// Rows that were skipped, with the reasons of the first ones.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    total: u64,
    listed: Vec<BadRow>,
}

#[derive(Debug, Serialize)]
struct BadRow {
    place: String,
    field: String,
    reason: String,
}

/// A report about a task.
pub(crate) struct Report<'a> {
    pub(crate) task: &'a str,
    pub(crate) report: FitReport,
    pub(crate) skipped: Skipped,
}

impl Skipped {
    pub(crate) fn add(&mut self, places: &crate::labelled_lines::Places, line: u64, field: &str, reason: &str) {
        self.total += 1;
        if self.listed.len() < MOST_LISTED {
            let (field, reason) = (field.to_owned(), reason.to_owned());
            self.listed.push(BadRow { place: places.of(line), field, reason });
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.total += other.total;
        let room = MOST_LISTED - self.listed.len().min(MOST_LISTED);
        self.listed.extend(other.listed.into_iter().take(room));
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

impl Report<'_> {
    pub(crate) fn print(&self, printer: &mut Printer) -> Result<(), CliError> {
        match printer.format() {
            Format::Json => printer.json(&self.object()),
            Format::Table => self.print_table(printer),
        }
    }

    fn object(&self) -> Value {
        let report = &self.report;
        let metrics: Map<String, Value> =
            report.metrics.iter().map(|metric| (metric.name.clone(), json!(metric.value))).collect();
        json!({
            "task": self.task,
            "version": report.version,
            "head_digest": report.head_digest,
            "live": report.live,
            "train_rows": report.train_rows,
            "validation_rows": report.validation_rows,
            "skipped_rows": self.skipped.total,
            "l2_strength": report.l2_strength,
            "iterations": report.iterations,
            "converged": report.converged,
            "metrics": metrics,
            "temperature": report.temperature,
            "thresholds": report.thresholds,
            "data_digest": report.data_digest,
            "elapsed_millis": report.elapsed_millis,
            "warnings": report.warnings,
            "bad_rows": self.skipped.listed,
        })
    }

    fn print_table(&self, printer: &mut Printer) -> Result<(), CliError> {
        let report = &self.report;
        let what = match report.version {
            Some(version) => format!("version {version}{}", if report.live { ", live" } else { ", not live" }),
            None => "none: this was a dry run".to_owned(),
        };
        let solved = if report.converged { "converged" } else { "stopped" };
        let judged = match report.validation_rows {
            0 => "cross-validation".to_owned(),
            rows => format!("{rows} validation rows"),
        };
        let mut shown = table(["FIT", self.task]);
        shown.add_row(["version", what.as_str()]);
        shown.add_row(["rows", &format!("{} to fit on, {} skipped", report.train_rows, self.skipped.total)]);
        shown.add_row(["solver", &format!("{solved} after {} iterations", report.iterations)]);
        shown.add_row(["strength", &report.l2_strength.to_string()]);
        for Metric { name, value, .. } in &report.metrics {
            shown.add_row([name.as_str(), &format!("{value:.4} ({judged})")]);
        }
        if let Some(temperature) = report.temperature {
            shown.add_row(["temperature", &format!("{temperature:.4}")]);
        }
        if let Some((lowest, highest)) = ends(&report.thresholds) {
            shown.add_row(["thresholds", &format!("{lowest:.3} to {highest:.3}")]);
        }
        shown.add_row(["time", &format!("{:.1} s", report.elapsed_millis as f64 / 1e3)]);
        shown.add_row(["head", &report.head_digest]);
        shown.add_row(["data", &report.data_digest]);
        printer.table(&shown)?;
        for warning in &report.warnings {
            printer.line(&format!("note: {}", one_line(warning)))?;
        }
        for BadRow { place, field, reason } in &self.skipped.listed {
            printer.line(&format!("skipped {place}: {}: {}", one_line(field), one_line(reason)))?;
        }
        Ok(())
    }
}

/// The smallest and the largest number; `None` where there is none.
fn ends(numbers: &[f32]) -> Option<(f32, f32)> {
    let numbers = || numbers.iter().copied();
    numbers().reduce(f32::min).zip(numbers().reduce(f32::max))
}
