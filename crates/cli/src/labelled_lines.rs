//! Labelled rows of one file after another, each with the place where people find it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::v1::{LabelledRow, RowUse, TaskKind};

use crate::answer::Failure;
use crate::error::CliError;
use crate::labelled::Labelling;
use crate::lines::{Line, Lines};
use crate::row;

/// Where rows stand: those of a second file are numbered on from the first one's last line.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    names: Vec<String>,
    /// Lines of the first file, once all are read.
    first: Arc<AtomicU64>,
}

impl Places {
    /// Rows of the files with these names.
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, first: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    fn first_ends_at(&self, line: u64) {
        // The first file ends once; later ones are numbered on.
        let _ = self.first.compare_exchange(u64::MAX, line, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The line and its file, for people.
    pub(crate) fn of(&self, line: u64) -> String {
        let first = self.first.load(Ordering::SeqCst);
        let (name, line) = if line > first { (self.names.get(1), line - first) } else { (self.names.first(), line) };
        format!("line {line} of {}", name.map_or("the input", String::as_str))
    }
}

/// Rows as they are read, from one file after another.
pub(crate) struct LabelledLines {
    files: Vec<(Lines, RowUse)>,
    labelling: Labelling,
    places: Places,
    line: u64,
}

/// One line of a file.
pub(crate) struct LabelledLine {
    pub(crate) line: u64,
    pub(crate) row: Result<LabelledRow, Failure>,
}

impl LabelledLines {
    /// The rows of `files`, in order, each for its use.
    pub(crate) fn new(files: Vec<(Lines, RowUse)>, kind: TaskKind, places: Places) -> Self {
        Self { files, labelling: Labelling { kind, names: None }, places, line: 0 }
    }

    /// The next row; `None` at the end of the last file.
    ///
    /// # Errors
    /// [`CliError::Read`] where a file breaks.
    pub(crate) async fn next(&mut self) -> Result<Option<LabelledLine>, CliError> {
        while let Some((lines, used)) = self.files.first_mut() {
            if let Some(Line { content, .. }) = lines.next().await? {
                self.line += 1;
                let row = content.and_then(|bytes| self.labelling.row(self.line, &bytes)).and_then(|row| {
                    let row = LabelledRow { r#use: (*used).into(), ..row };
                    row::check_size(api::encoded_bytes(&row)).map(|()| row)
                });
                return Ok(Some(LabelledLine { line: self.line, row }));
            }
            self.places.first_ends_at(self.line);
            self.files.remove(0);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_named_with_its_file() {
        let places = Places::new(vec!["train".into(), "validation".into()]);
        assert_eq!(places.of(7), "line 7 of train");
        places.first_ends_at(5);
        places.first_ends_at(9);
        assert_eq!((places.of(5), places.of(7)), ("line 5 of train".into(), "line 2 of validation".into()));
    }
}
