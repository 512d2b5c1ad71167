//! The rows of a file, all of them or some spread evenly over it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::error::CliError;
use crate::lines::{Lines, Source};
use crate::session::Session;

/// Rows still to be read.
pub(crate) struct RowSource {
    lines: Lines,
    path: PathBuf,
    /// Lines read so far, empty ones included.
    line: u64,
    /// Rows read so far.
    seen: u64,
    /// Rows of the file and how many of them are wanted; `None` where all are.
    some: Option<(u64, u64)>,
    /// How many rows will come; `None` where that is not known.
    pub(crate) rows: Option<u64>,
}

/// A row by its line, from 1, or why the line cannot be read.
pub(crate) struct NumberedLine {
    pub(crate) line: u64,
    pub(crate) content: Result<Vec<u8>, crate::answer::Failure>,
}

impl RowSource {
    /// Opens `path`; of a file at most `wanted` rows, spread evenly over it.
    ///
    /// # Errors
    /// [`CliError::Read`] where it cannot be read, [`CliError::Usage`] where a part of standard input is wanted.
    pub(crate) fn open(path: &Path, wanted: Option<u64>, session: &mut Session) -> Result<Self, CliError> {
        let source = session.open(path)?;
        let total = match source.bytes {
            Some(_) => Some(count_rows(path)?),
            None => None,
        };
        if wanted.is_some() && total.is_none() {
            return Err(CliError::Usage(
                "--rows spreads rows over a file; standard input has no end to spread to".to_owned(),
            ));
        }
        let some = total.zip(wanted).filter(|(total, wanted)| wanted < total);
        Ok(Self::over(source, some, some.map(|(_, wanted)| wanted).or(total)))
    }

    fn over(source: Source, some: Option<(u64, u64)>, rows: Option<u64>) -> Self {
        let path = source.path.clone();
        Self { lines: Lines::read(source), path, line: 0, seen: 0, some, rows }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next row; `None` at the end. Empty lines are no rows.
    ///
    /// # Errors
    /// [`CliError::Read`] where the file breaks.
    pub(crate) async fn next(&mut self) -> Result<Option<NumberedLine>, CliError> {
        while let Some(line) = self.lines.next().await? {
            self.line += 1;
            if line.content.as_ref().is_ok_and(|bytes| bytes.trim_ascii().is_empty()) {
                continue;
            }
            self.seen += 1;
            let is_wanted = self.some.is_none_or(|(total, wanted)| {
                let share = |rows: u64| u128::from(rows) * u128::from(wanted) / u128::from(total);
                share(self.seen) > share(self.seen - 1)
            });
            if is_wanted {
                return Ok(Some(NumberedLine { line: self.line, content: line.content }));
            }
        }
        Ok(None)
    }
}

fn count_rows(path: &Path) -> Result<u64, CliError> {
    let read = |cause| CliError::Read { path: path.to_owned(), cause };
    let mut reader = BufReader::new(File::open(path).map_err(read)?);
    let mut rows = 0;
    let mut has_text = false;
    loop {
        let buffer = reader.fill_buf().map_err(read)?;
        if buffer.is_empty() {
            return Ok(rows + u64::from(has_text));
        }
        for byte in buffer {
            match byte {
                b'\n' => {
                    rows += u64::from(has_text);
                    has_text = false;
                }
                byte => has_text |= !byte.is_ascii_whitespace(),
            }
        }
        let taken = buffer.len();
        reader.consume(taken);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    async fn lines_of(text: &str, some: Option<(u64, u64)>) -> Vec<u64> {
        let reader = Box::new(BufReader::new(Cursor::new(text.to_owned())));
        let source = Source { reader, bytes: None, path: PathBuf::from("rows") };
        let mut rows = RowSource::over(source, some, None);
        let mut lines = Vec::new();
        while let Some(row) = rows.next().await.unwrap() {
            lines.push(row.line);
        }
        lines
    }

    #[tokio::test]
    async fn some_rows_are_spread_evenly_and_lines_count_the_empty_ones() {
        assert_eq!(lines_of("a\n\nb\nc\n", None).await, [1, 3, 4]);
        let ten = "a\n".repeat(10);
        assert_eq!(lines_of(&ten, Some((10, 3))).await, [4, 7, 10]);
        assert_eq!(lines_of(&ten, Some((10, 10))).await.len(), 10);
    }

    #[test]
    fn rows_are_counted_as_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        for (text, rows) in [("", 0), ("a", 1), ("a\n", 1), ("a\n \r\n\nb\r\nc", 3)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(count_rows(&path).unwrap(), rows, "{text:?}");
        }
    }
}
