//! The command line against a server of its own that answers by rule.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod rule_server;

mod an_export_that_breaks_leaves_nothing;
mod exit_statuses_tell_what_went_wrong;
mod rows_of_a_file_keep_their_order;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser;
use cli::{Arguments, Streams};

/// What one run wrote, and how it ended.
struct Run {
    status: i32,
    output: String,
    errors: String,
}

/// Runs `headwater` with these arguments and this standard input.
async fn headwater(arguments: &[&str], input: &str) -> Run {
    let (output, errors) = (Shared::default(), Shared::default());
    let streams = Streams {
        input: Box::new(io::Cursor::new(input.to_owned())),
        output: Box::new(output.clone()),
        output_is_terminal: false,
        errors: Box::new(errors.clone()),
    };
    let arguments = Arguments::try_parse_from(std::iter::once(&"headwater").chain(arguments)).unwrap();
    let status = cli::run(arguments, streams).await;
    Run { status, output: output.text(), errors: errors.text() }
}

/// A writer that the test can read; the run holds the other end.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
