//! `headwater evaluate`: heads judged on labelled rows, one task at a time or all of them.

mod source;
mod call;
mod fields;
mod text;
mod all;
mod summary;
mod markdown;
mod html;
mod plots;

use std::path::PathBuf;

use api::v1::{BadRows, EvaluationPlan, GetTaskRequest, Mode, Task};
use clap::{Args, ValueEnum};
use tonic::{Code, Status};

use crate::config::Format;
use crate::error::CliError;
use crate::labelled::Labelling;
use crate::progress::Bar;
use crate::session::{Outcome, Session};
use call::Job;
use source::RowSource;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2. With --all a pattern for names, such as 'tweet_eval/*' [default: all].
    #[arg(required_unless_present = "all")]
    task: Option<String>,
    /// Labelled rows, `-` for standard input: JSON lines with the fields text, text_pair, choices, tokens, and label or
    /// labels by name or position.
    #[arg(long, value_name = "FILE", required_unless_present = "all", conflicts_with = "all")]
    input: Option<PathBuf>,
    /// Judge every task that has rows in the folder of --data.
    #[arg(long, requires = "data")]
    all: bool,
    /// Folder with TASK.jsonl for each task, __ for each / in its name, and perhaps tasks.json with what positions count
    /// in, there or one level up.
    #[arg(long, value_name = "DIR", requires = "all")]
    data: Option<PathBuf>,
    /// Write evaluation.md, evaluation.json and evaluation.html into this folder.
    #[arg(long, value_name = "DIR", requires = "all")]
    out: Option<PathBuf>,
    /// Version number or alias [default: live].
    #[arg(long, default_value = "", hide_default_value = true, conflicts_with = "all")]
    version: String,
    /// Hold this version against it on the same rows.
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true, conflicts_with = "all")]
    compare_with: String,
    /// Fit a temperature on these rows.
    #[arg(long, conflicts_with = "all")]
    fit_temperature: bool,
    /// Fit the thresholds of a multi-label head on these rows.
    #[arg(long, conflicts_with = "all")]
    fit_thresholds: bool,
    /// Keep what was fitted as a new version with the same weights.
    #[arg(long, conflicts_with = "all")]
    store: bool,
    /// Judge by so many rows at most, spread evenly over the file.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// What to do with rows that cannot be used [default: refuse; with --all skip].
    #[arg(long, value_enum, value_name = "WAY")]
    bad_rows: Option<BadRowsWay>,
    /// Resamples behind the intervals; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    resamples: u32,
    /// Coverage of the intervals.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    coverage: f64,
    /// Seed of the resamples.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Whether the task's embedding goes through the encoder [default: as the head says].
    #[arg(long, value_enum, value_name = "STATE")]
    task_embedding: Option<Switch>,
    /// Disagreements to list.
    #[arg(long, value_name = "N", default_value_t = 20)]
    disagreements: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BadRowsWay {
    /// Stop at the first one.
    Refuse,
    /// List them and go on.
    Skip,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    match (&arguments.task, &arguments.input) {
        (Some(task), Some(input)) if !arguments.all => {
            let (task, input) = (task.clone(), input.clone());
            one(&arguments, &task, input, session).await
        }
        (_, _) => all::run(&arguments, session).await,
    }
}

async fn one(arguments: &Arguments, task: &str, input: PathBuf, session: &mut Session) -> Result<Outcome, CliError> {
    let task = describe(task, &arguments.version, session).await?;
    let source = RowSource::open(&input, arguments.rows, session)?;
    let bar = Bar::of_rows(source.rows);
    let labelling = Labelling { kind: task.kind(), names: None };
    let job = Job { plan: arguments.plan(&task.name), source, labelling, skip_bad_rows: arguments.skips_bad_rows() };
    let finished = call::evaluate(job, session, &bar).await;
    bar.finish();
    let finished = finished?;
    match session.printer.format() {
        Format::Json => session.printer.json(&fields::object(&task, &finished))?,
        Format::Table => text::print(&task, &finished, arguments.coverage, &mut session.printer)?,
    }
    Ok(Outcome::of_failures(finished.bad_rows.len() as u64))
}

/// What the catalogue says of a version.
async fn describe(task: &str, version: &str, session: &mut Session) -> Result<Task, CliError> {
    let mut client = session.catalog().await?;
    let request = session.call(GetTaskRequest { task: task.to_owned(), version: version.to_owned() });
    let reply = client.get_task(request).await.map_err(|status| session.failed(status))?;
    reply.into_inner().task.ok_or_else(|| session.failed(Status::new(Code::Internal, "the reply has no task")))
}

impl Arguments {
    fn plan(&self, task: &str) -> EvaluationPlan {
        let mode = self.task_embedding.map(|switch| match switch {
            Switch::On => Mode::Exact,
            Switch::Off => Mode::Shared,
        });
        let bad_rows = if self.skips_bad_rows() { BadRows::Skip } else { BadRows::Refuse };
        EvaluationPlan {
            task: task.to_owned(),
            version: self.version.clone(),
            compare_with: self.compare_with.clone(),
            mode: mode.unwrap_or_default().into(),
            resamples: Some(self.resamples),
            coverage: Some(self.coverage),
            seed: self.seed,
            bad_rows: bad_rows.into(),
            fit_temperature: self.fit_temperature,
            fit_thresholds: self.fit_thresholds,
            store: self.store,
            max_disagreements: Some(self.disagreements),
        }
    }

    fn skips_bad_rows(&self) -> bool {
        match self.bad_rows {
            Some(BadRowsWay::Skip) => true,
            Some(BadRowsWay::Refuse) => false,
            // One row in a folder of many is no reason to leave its task out.
            None => self.all,
        }
    }
}
