//! Lines of a file or of standard input, read by a thread of their own and never further ahead than needed.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::thread;

use tokio::sync::mpsc;

use crate::answer::Failure;
use crate::error::CliError;

/// The longest line read whole; the largest message fits several times, escapes included.
const MAX_LINE_BYTES: usize = 32 << 20;
/// What some editors put before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Lines read ahead of the network.
const AHEAD: usize = 64;

/// Where lines come from.
pub(crate) struct Source {
    pub(crate) reader: Box<dyn BufRead + Send>,
    /// Size of the file, where it is one.
    pub(crate) bytes: Option<u64>,
    pub(crate) path: PathBuf,
}

/// One line without its end.
pub(crate) struct Line {
    /// The bytes, or why there are none.
    pub(crate) content: Result<Vec<u8>, Failure>,
    /// How much of the source it took.
    pub(crate) source_bytes: u64,
}

/// Lines as they are read.
pub(crate) struct Lines {
    received: mpsc::Receiver<io::Result<Line>>,
    path: PathBuf,
}

impl Lines {
    /// Starts to read `source`. The thread ends with the source, or when the lines are no longer wanted.
    pub(crate) fn read(source: Source) -> Self {
        let (sender, received) = mpsc::channel(AHEAD);
        let Source { mut reader, path, .. } = source;
        thread::spawn(move || {
            // A source that cannot be read says so with its first line.
            if reader.fill_buf().is_ok_and(|beginning| beginning.starts_with(BYTE_ORDER_MARK)) {
                reader.consume(BYTE_ORDER_MARK.len());
            }
            while let Some(line) = next_line(&mut reader, MAX_LINE_BYTES).transpose() {
                let broken = line.is_err();
                if sender.blocking_send(line).is_err() || broken {
                    break;
                }
            }
        });
        Self { received, path }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// [`CliError::Read`] where the source breaks.
    pub(crate) async fn next(&mut self) -> Result<Option<Line>, CliError> {
        let line = self.received.recv().await.transpose();
        line.map_err(|cause| CliError::Read { path: self.path.clone(), cause })
    }
}

fn next_line(reader: &mut dyn BufRead, limit: usize) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let mut taken = reader.take(limit as u64 + 1).read_until(b'\n', &mut bytes)?;
    if taken == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.len() > limit {
        taken += skip_line(reader)?;
        let failure = Failure::invalid(&format!("the line is longer than {limit} bytes"));
        return Ok(Some(Line { content: Err(failure), source_bytes: taken as u64 }));
    }
    Ok(Some(Line { content: Ok(bytes), source_bytes: taken as u64 }))
}

fn skip_line(reader: &mut dyn BufRead) -> io::Result<usize> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |at| at + 1);
        reader.consume(taken);
        skipped += taken;
        if end.is_some() || taken == 0 {
            return Ok(skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut text: &[u8], limit: usize) -> Vec<Result<Vec<u8>, String>> {
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut text, limit).unwrap() {
            lines.push(line.content.map_err(|failure| failure.message));
        }
        lines
    }

    #[test]
    fn an_empty_line_is_a_line_and_the_end_of_the_last_one_is_not() {
        assert_eq!(lines(b"a\n\nb\n", 9), [Ok(b"a".to_vec()), Ok(vec![]), Ok(b"b".to_vec())]);
        assert_eq!(lines(b"a\nb", 9), [Ok(b"a".to_vec()), Ok(b"b".to_vec())]);
        assert_eq!(lines(b"", 9), []);
    }

    #[test]
    fn a_line_beyond_the_limit_fails_alone() {
        let expected = [Ok(b"ab".to_vec()), Err("the line is longer than 3 bytes".into()), Ok(b"abc".to_vec())];
        assert_eq!(lines(b"ab\nabcdefgh\nabc\n", 3), expected);
    }

    #[test]
    fn lines_account_for_every_byte_of_the_source() {
        let text = b"ab\nabcdefgh\nabc";
        let mut rest = &text[..];
        let mut taken = 0;
        while let Some(line) = next_line(&mut rest, 3).unwrap() {
            taken += line.source_bytes;
        }
        assert_eq!(taken, text.len() as u64);
    }
}
