//! What an import decided and why, for a person to read.

use std::collections::HashSet;
use std::fmt;

use engine::{HeadKind, TaskName};
use registry::Digest;

use crate::kinds::DecidedBy;
use crate::layout::Layout;

/// What an import decided and why. Shown, it is a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was read: names, revisions and files.
    pub source: String,
    /// How the checkpoint keeps its heads.
    pub layout: Layout,
    /// The encoder's identity.
    pub encoder: Digest,
    /// The encoder in words: layers, widths, vocabulary, and whether it has a pooler.
    pub geometry: String,
    /// One row for each head, in the order of the checkpoint.
    pub heads: Vec<HeadRow>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// One head of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadRow {
    /// Its task.
    pub task: TaskName,
    /// Its kind.
    pub kind: HeadKind,
    /// Where the kind came from.
    pub decided_by: DecidedBy,
    /// Number of outputs.
    pub outputs: usize,
    /// Label names in order; empty where outputs have none.
    pub labels: Vec<String>,
    /// Whether it has a task embedding.
    pub has_task_embedding: bool,
    /// The digest of its weight: equal digests are stored once.
    pub weight: Digest,
    /// What a person should know about it.
    pub notes: Vec<String>,
}

/// How much of a list of labels is shown.
const SHOWN_LABELS: usize = 3;
const SHOWN_LABEL_CHARS: usize = 20;

impl Report {
    /// How many different weights the heads have.
    #[must_use]
    pub fn distinct_weights(&self) -> usize {
        self.heads.iter().map(|head| head.weight).collect::<HashSet<_>>().len()
    }
}

impl HeadRow {
    fn cells(&self) -> [String; 6] {
        [
            self.task.to_string(),
            self.kind.to_string(),
            self.outputs.to_string(),
            self.decided_by.to_string(),
            shown_labels(&self.labels),
            self.notes.join("; "),
        ]
    }
}

fn shown_labels(labels: &[String]) -> String {
    let shown: Vec<String> =
        labels.iter().take(SHOWN_LABELS).map(|label| label.chars().take(SHOWN_LABEL_CHARS).collect()).collect();
    let rest = labels.len().saturating_sub(SHOWN_LABELS);
    if rest == 0 { shown.join(", ") } else { format!("{}, … {rest} more", shown.join(", ")) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "source   {}", self.source)?;
        writeln!(f, "layout   {}", self.layout)?;
        writeln!(f, "encoder  {}", self.geometry)?;
        writeln!(f, "         {}", self.encoder)?;
        if !self.heads.is_empty() {
            writeln!(f, "heads    {}, distinct weights {}\n", self.heads.len(), self.distinct_weights())?;
            let titles = ["task", "kind", "outputs", "decided by", "labels", "notes"].map(str::to_owned);
            let rows: Vec<[String; 6]> = std::iter::once(titles).chain(self.heads.iter().map(HeadRow::cells)).collect();
            let mut widths = [0; 6];
            for row in &rows {
                for (width, cell) in widths.iter_mut().zip(row) {
                    *width = cell.chars().count().max(*width);
                }
            }
            for row in &rows {
                let mut line = String::new();
                for (cell, width) in row.iter().zip(widths) {
                    let fill = " ".repeat(width - cell.chars().count() + 2);
                    line.push_str(cell);
                    line.push_str(&fill);
                }
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note     {note}")?;
        }
        Ok(())
    }
}
