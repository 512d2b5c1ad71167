//! Prints results: a table for people, JSON lines for programs.

use std::io::Write;

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table};
use serde::Serialize;

use crate::answer::{Answer, ConfidenceFields, Label, Usage};
use crate::config::Format;
use crate::error::CliError;

/// Labels of one text in a table, where the caller set no number.
const LABELS_SHOWN: usize = 5;
/// Characters of a text in a table.
const TEXT_SHOWN: usize = 60;

/// The distance from a head's training text that 95 % of that text stays within; farther is worth a note.
const FAR: f32 = 1.0;

/// Where results go, and in which form.
pub(crate) struct Printer {
    output: Box<dyn Write>,
    format: Format,
    is_terminal: bool,
}

impl Printer {
    pub(crate) fn new(output: Box<dyn Write>, format: Format, is_terminal: bool) -> Self {
        Self { output, format, is_terminal }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// One JSON object on a line of its own, whatever the format.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.output, object).map_err(|error| CliError::Write(error.into()))?;
        Ok(self.output.write_all(b"\n")?)
    }

    /// One answer of many: a JSON line, or a short line for people.
    pub(crate) fn answer(&mut self, answer: &Answer) -> Result<(), CliError> {
        match self.format {
            Format::Json => self.json(answer),
            Format::Table => Ok(writeln!(self.output, "{}", brief(answer))?),
        }
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<(), CliError> {
        Ok(writeln!(self.output, "{line}")?)
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<(), CliError> {
        self.line(&table.trim_fmt())
    }

    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.output.flush()?)
    }
}

/// An empty table with these column heads.
pub(crate) fn table<const N: usize>(heads: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(Row::from(heads));
    table
}

/// An empty table whose rows are lines: where the terminal is too narrow, the last column alone gives way.
pub(crate) fn table_of_lines<const N: usize>(heads: [&str; N]) -> Table {
    let mut table = table(heads);
    table.set_truncation_indicator("…");
    for column in table.column_iter_mut().take(N - 1) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}

/// A row of [`table_of_lines`].
pub(crate) fn one_high<const N: usize>(cells: [String; N]) -> Row {
    let mut row = Row::from(cells);
    row.max_height(1);
    row
}

/// The rows of one answer in a table with the columns text, answer, score and logit.
pub(crate) fn answer_rows(text: &str, answer: &Answer, with_logits: bool) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut push = |answer: String, score: String, logit: Option<f32>| {
        let text = if rows.is_empty() { shortened(text) } else { String::new() };
        let mut row = vec![text, answer, score];
        if with_logits {
            row.push(logit.map(|logit| logit.to_string()).unwrap_or_default());
        }
        rows.push(row);
    };
    if let Some(failure) = &answer.error {
        push(format!("{}: {}", failure.code, failure.message), String::new(), None);
    }
    if let Some(labels) = &answer.labels {
        for label in shown(labels, with_logits) {
            push(label_cell(label), probability(label.score), label.logit);
        }
    }
    if let Some(value) = answer.value {
        push(value.to_string(), String::new(), Some(value));
    }
    for choice in answer.choices.iter().flatten() {
        push(format!("choice {}", choice.index), probability(choice.score), choice.logit);
    }
    if let Some(spans) = &answer.spans {
        if spans.is_empty() {
            push("(no spans)".to_owned(), String::new(), None);
        }
        for span in spans {
            push(
                format!("{} {:?} at {}..{}", span.label, span.text, span.start, span.end),
                probability(span.score),
                None,
            );
        }
    }
    for note in notes(answer) {
        push(format!("({note})"), String::new(), None);
    }
    rows
}

/// What a person should know before using an answer.
pub(crate) fn notes(answer: &Answer) -> Vec<String> {
    notes_of(answer.confidence.as_ref(), answer.usage.as_ref())
}

/// The same of any reply.
pub(crate) fn notes_of(confidence: Option<&ConfidenceFields>, usage: Option<&Usage>) -> Vec<String> {
    let mut notes = Vec::new();
    if confidence.is_some_and(|confidence| confidence.abstain == Some(true)) {
        notes.push("abstain: too unsure by its own threshold".to_owned());
    }
    if let Some(far) = confidence.and_then(|confidence| confidence.ood_score).filter(|score| *score > FAR) {
        notes.push(format!("unlike its training text ({far:.1})"));
    }
    let cuts = usage.iter().flat_map(|usage| &usage.cuts);
    notes.extend(cuts.map(|cut| format!("{} was cut", cut.field)));
    notes
}

/// An answer in one cell, and its probability in another.
pub(crate) fn best_of(answer: &Answer) -> (String, String) {
    let holding = |label: &&Label| label.above_threshold == Some(true);
    let first = |labels: &[Label]| labels.first().map(|label| probability(label.score)).unwrap_or_default();
    if let Some(failure) = &answer.error {
        (one_line(&format!("{}: {}", failure.code, failure.message)), String::new())
    } else if let Some(labels) = &answer.labels {
        let held: Vec<&str> = labels.iter().filter(holding).map(|label| label.label.as_str()).collect();
        match labels.first() {
            Some(best) if best.above_threshold.is_none() => (best.label.clone(), first(labels)),
            _ if held.is_empty() => ("(no label holds)".to_owned(), first(labels)),
            _ => (held.join(", "), first(labels)),
        }
    } else if let Some(value) = answer.value {
        (format!("{value:.3}"), String::new())
    } else if let Some(choice) = answer.choices.iter().flatten().next() {
        (format!("choice {}", choice.index), probability(choice.score))
    } else {
        let spans: Vec<_> = answer.spans.iter().flatten().collect();
        let worst = spans.iter().map(|span| span.score).reduce(f32::min).map(probability).unwrap_or_default();
        let spans: Vec<_> = spans.iter().map(|span| format!("{} {:?}", span.label, span.text)).collect();
        (if spans.is_empty() { "(no spans)".to_owned() } else { spans.join(", ") }, worst)
    }
}

/// The best answer and its text on one line.
fn brief(answer: &Answer) -> String {
    let best = |label: &Label| format!("{} {}", probability(label.score), label.label);
    let holding = |label: &&Label| label.above_threshold == Some(true);
    if let Some(failure) = &answer.error {
        format!("error {}: {}", failure.code, failure.message)
    } else if let Some(labels) = &answer.labels {
        let held: Vec<String> = labels.iter().filter(holding).map(best).collect();
        if held.is_empty() { labels.first().map(best).unwrap_or_default() } else { held.join(", ") }
    } else if let Some(value) = answer.value {
        value.to_string()
    } else if let Some(choice) = answer.choices.iter().flatten().next() {
        format!("{} choice {}", probability(choice.score), choice.index)
    } else {
        let spans = answer.spans.iter().flatten();
        spans.map(|span| format!("{} {:?}", span.label, span.text)).collect::<Vec<_>>().join(", ")
    }
}

fn shown(labels: &[Label], all: bool) -> &[Label] {
    let holding = labels.iter().filter(|label| label.above_threshold == Some(true)).count();
    let most = if all { labels.len() } else { LABELS_SHOWN.max(holding) };
    &labels[..most.min(labels.len())]
}

fn label_cell(label: &Label) -> String {
    let mark = if label.above_threshold == Some(true) { " *" } else { "" };
    format!("{}{mark}", label.label)
}

/// A probability for people: three digits are all that anyone compares.
pub(crate) fn probability(score: f32) -> String {
    format!("{score:.3}")
}

/// The beginning of a text, on one line.
pub(crate) fn shortened(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(TEXT_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A text without the characters that would break its line or move the cursor.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, score: f32, above_threshold: Option<bool>) -> Label {
        Label { label: name.into(), index: 0, score, logit: Some(score), above_threshold, threshold: None }
    }

    fn labelled(labels: Vec<Label>) -> Answer {
        Answer { labels: Some(labels), ..Answer::default() }
    }

    #[test]
    fn a_table_shows_the_best_labels_and_the_text_once() {
        let many = labelled((0..9).map(|_| label("x", 0.1, None)).collect());
        let rows = answer_rows("some\ntext", &many, false);
        assert_eq!(rows.len(), LABELS_SHOWN);
        assert_eq!(rows[0], ["some text", "x", "0.100"]);
        assert_eq!(rows[1], ["", "x", "0.100"]);
        assert_eq!(answer_rows("t", &many, true).len(), 9);
    }

    #[test]
    fn every_label_that_holds_is_shown() {
        let holding = labelled((0..7).map(|_| label("x", 0.9, Some(true))).collect());
        assert_eq!(answer_rows("t", &holding, false).len(), 7);
        let two =
            labelled(vec![label("a", 0.9, Some(true)), label("b", 0.8, Some(true)), label("c", 0.1, Some(false))]);
        assert_eq!(brief(&two), "0.900 a, 0.800 b");
    }

    #[test]
    fn control_characters_of_a_text_never_reach_the_terminal() {
        assert_eq!(shortened("a\u{1b}[31mb\u{7}"), "a [31mb ");
        assert_eq!(shortened(&"x".repeat(TEXT_SHOWN + 1)).chars().count(), TEXT_SHOWN + 1);
    }
}
