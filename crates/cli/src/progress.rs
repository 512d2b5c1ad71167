//! A bar for long work, where a person watches and results go elsewhere.

use api::v1::{Progress, Stage};
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

    /// A bar of so many rows; `None` where their number is not known.
    pub(crate) fn of_rows(rows: Option<u64>) -> Self {
        let template = if rows.is_some() {
            "{prefix}{msg} {bar:40} {pos}/{len} {per_sec} {eta}"
        } else {
            "{prefix}{msg} {pos} {per_sec}"
        };
        let style = ProgressStyle::with_template(template).expect("the template is one of ours");
        let bar = ProgressBar::no_length().with_style(style);
        rows.into_iter().for_each(|rows| bar.set_length(rows));
        bar.set_message("rows");
        Self(bar)
    }

    /// What comes before all that it says.
    pub(crate) fn name(&self, name: &str) {
        self.0.set_prefix(format!("{name}: "));
    }

    /// So much is done.
    pub(crate) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// What is being done.
    pub(crate) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar over the stages of long work on the server: how far the present stage is, and how long all took.
pub(crate) struct StageBar(ProgressBar);

impl StageBar {
    pub(crate) fn new() -> Self {
        Self(ProgressBar::new_spinner())
    }

    /// Shows where the work is.
    pub(crate) fn show(&self, progress: &Progress) {
        let template = match progress.total {
            0 => "{spinner} {msg} {pos} {elapsed}",
            _ => "{msg:10} {bar:40} {pos}/{len} {elapsed}",
        };
        self.0.set_style(ProgressStyle::with_template(template).expect("the template is one of ours"));
        self.0.set_message(stage_name(progress.stage()));
        self.0.set_length(progress.total);
        self.0.set_position(progress.done);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// What a stage does, in a word.
fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Unspecified => "working",
        Stage::Receiving => "receiving",
        Stage::Encoding => "encoding",
        Stage::Searching => "searching",
        Stage::Solving => "solving",
        Stage::TaskEmbedding => "embedding",
        Stage::Judging => "judging",
        Stage::Installing => "installing",
        Stage::Verifying => "verifying",
        Stage::Trying => "trying",
    }
}
