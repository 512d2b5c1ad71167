//! A bar for long work, where a person watches and results go elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

use crate::lines::Source;
use crate::output::Printer;

/// A progress bar on standard error; invisible where that is no terminal. Clones are the same bar.
#[derive(Clone)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// The bar of an input file; none where the answers themselves run over the terminal.
    pub(crate) fn of_input(source: &Source, printer: &Printer) -> Self {
        match source.bytes {
            Some(bytes) if !printer.is_terminal() => Self::of_bytes(bytes),
            _ => Self(ProgressBar::hidden()),
        }
    }

    /// A bar of so many bytes.
    pub(crate) fn of_bytes(bytes: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .expect("the template is one of ours");
        Self(ProgressBar::new(bytes).with_style(style))
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
