//! A comparison as a table for people and as JSON for programs.

use engine::HeadKind;
use serde_json::{Value, json};

use super::questions::Source;
use super::{Comparison, Tally};

/// A line for each task, then their sum, then the shared rows.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let heading = format!(
        "{:<36} {:<20} {:<11} {:>6} {:>7} {:>9} {:>9} {:>6} {:>9}",
        "task", "kind", "rows from", "rows", "answers", "largest", "mean", "flips", "rate"
    );
    let rule = "-".repeat(heading.len());
    let tasks = comparison.tasks.iter().map(|task| {
        let (name, kind, source) = (task.task.as_str(), task.kind.as_str(), task.source.as_str());
        line(&format!("{name:<36} {kind:<20} {source:<11}"), &task.tally)
    });
    let mut lines = vec![format!("{} on {} against fp32", comparison.dtype, comparison.device), heading, rule.clone()];
    lines.extend(tasks);
    lines.push(rule);
    lines.push(line(&format!("{:<69}", "all"), &comparison.total()));
    let (of_rows, of_tokens) = (comparison.sum(|kind| !kind.reads_tokens()), comparison.sum(HeadKind::reads_tokens));
    if of_rows.rows > 0 && of_tokens.rows > 0 {
        lines.push(line(&format!("{:<69}", "  heads that read whole rows"), &of_rows));
        lines.push(line(&format!("{:<69}", "  heads that label tokens"), &of_tokens));
    }
    if comparison.shared.logits > 0 {
        lines.push(line(&format!("{:<69}", "all heads on the same rows, without task embeddings"), &comparison.shared));
    }
    lines.join("\n")
}

/// The same figures, unrounded.
#[must_use]
pub fn to_json(comparison: &Comparison) -> Value {
    let tasks = comparison.tasks.iter().map(|task| {
        let mut figures = figures(&task.tally);
        figures["task"] = json!(task.task.as_str());
        figures["kind"] = json!(task.kind.as_str());
        figures["rows_from"] = json!(match task.source {
            Source::Own => "own",
            Source::OtherTasks => "other_tasks",
            Source::Random => "random",
        });
        figures
    });
    json!({
        "dtype": comparison.dtype,
        "device": comparison.device,
        "all": figures(&comparison.total()),
        "shared": (comparison.shared.logits > 0).then(|| figures(&comparison.shared)),
        "tasks": tasks.collect::<Vec<_>>(),
    })
}

fn line(start: &str, tally: &Tally) -> String {
    let decided = tally.answers + tally.tokens;
    let (flips, rate) = match tally.flip_rate() {
        Some(rate) => ((tally.flips + tally.token_flips).to_string(), format!("{:.3} %", 100.0 * rate)),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let answers = if decided == 0 { "-".to_owned() } else { decided.to_string() };
    let (largest, mean) = (tally.largest, tally.mean());
    format!("{start} {:>6} {answers:>7} {largest:>9.5} {mean:>9.6} {flips:>6} {rate:>9}", tally.rows)
}

fn figures(tally: &Tally) -> Value {
    json!({
        "rows": tally.rows,
        "answers": tally.answers,
        "flips": tally.flips,
        "tokens": tally.tokens,
        "token_flips": tally.token_flips,
        "flip_rate": tally.flip_rate(),
        "logits": tally.logits,
        "largest_difference": tally.largest,
        "mean_difference": tally.mean(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::TaskComparison;

    #[test]
    fn columns_stand_under_their_headings_whatever_the_kind() {
        let task = |task: &str, kind, tally| TaskComparison {
            task: task.parse().unwrap(),
            kind,
            source: Source::Own,
            tally: Tally { rows: 7, ..tally },
        };
        let words = Tally { tokens: 40, token_flips: 1, ..Tally::default() };
        let comparison = Comparison {
            dtype: "bf16".to_owned(),
            device: "cpu".to_owned(),
            tasks: vec![
                task("a/b", HeadKind::Classification, Tally { answers: 7, flips: 2, ..Tally::default() }),
                task("number", HeadKind::Regression, Tally::default()),
                task("words", HeadKind::TokenClassification, words),
            ],
            shared: Tally::default(),
        };
        let table = table(&comparison);
        let lines: Vec<&str> = table.lines().skip(1).collect();
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].len()), "{table}");
        assert!(lines[2].ends_with("2  28.571 %") && lines[3].ends_with("-         -"), "{table}");
        assert!(lines.iter().any(|line| line.starts_with("all ") && line.ends_with("3   6.383 %")), "{table}");
        let json = to_json(&comparison);
        assert_eq!((&json["all"]["flips"], &json["all"]["token_flips"]), (&json!(2), &json!(1)));
        assert_eq!(json["tasks"][1]["flip_rate"], Value::Null);
    }
}
