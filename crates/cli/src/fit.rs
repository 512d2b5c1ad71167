//! `headwater fit`: labelled rows to the server, a version of a task back, and how far it is on the way.

mod report;
mod sending;

use std::path::{Path, PathBuf};

use api::rpc::StatusExt;
use api::v1::fit_head_request::Part;
use api::v1::fit_head_response::Event;
use api::v1::{BadRows, ClassWeights, FitHeadRequest, FitPlan, GetTaskRequest, RowUse, TaskKind};
use clap::{Args, ValueEnum};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::error::CliError;
use crate::labelled_lines::{LabelledLines, Places};
use crate::lines::Lines;
use crate::progress::StageBar;
use crate::session::{Outcome, Session};
use crate::tasks::Kind;
use report::{Report, Skipped};

/// Messages read ahead of the network.
const AHEAD: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task to make a version of; it need not exist yet.
    task: String,
    /// Rows to fit on, `-` for standard input: JSON lines with the fields text, text_pair and choices, and label (a
    /// label's name or position, a number, or the right choice's position) or labels.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Rows to judge by, never fitted on [default: cross-validation].
    #[arg(long, value_name = "FILE")]
    validation: Option<PathBuf>,
    /// What the task answers with: classification, multi_label, regression or multiple_choice [default: as the task].
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// Label name; give one for each label, in order [default: those of the task, otherwise as rows bring them].
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Strength of regularisation to try; give one for each [default: a grid of the server's choice].
    #[arg(long = "l2", value_name = "X")]
    strengths: Vec<f64>,
    /// Folds of the cross-validation, 2 to 20 [default: 5].
    #[arg(long, value_name = "N")]
    folds: Option<u32>,
    /// How classes weigh.
    #[arg(long, value_enum, value_name = "WAY", default_value = "none")]
    class_weights: Weights,
    /// Seed of folds and shuffles.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Most iterations of the solver [default: 500].
    #[arg(long, value_name = "N")]
    max_iterations: Option<u32>,
    /// Also learn a task embedding by gradient through the encoder: slower, kept where rows held out do better.
    #[arg(long)]
    task_embedding: bool,
    /// What to do with a row that cannot be used.
    #[arg(long, value_enum, value_name = "WAY", default_value = "refuse")]
    bad_rows: Bad,
    /// Also fit a temperature, so that probabilities are calibrated.
    #[arg(long)]
    temperature: bool,
    /// Also fit the thresholds of a multi-label head: for each label the one with the largest F1 on rows held out.
    #[arg(long)]
    thresholds: bool,
    /// Move the alias live to the result. A task's first version becomes live in any case.
    #[arg(long)]
    live: bool,
    /// Description of the result [default: that of the task].
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Fit and report, and install nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Weights {
    /// Every row counts the same.
    None,
    /// Every class counts the same.
    Balanced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bad {
    /// End with an error at the first one.
    Refuse,
    /// Report it and go on.
    Skip,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let files = [Some(&arguments.input), arguments.validation.as_ref()];
    if files.iter().flatten().filter(|file| **file == Path::new("-")).count() > 1 {
        return Err(CliError::Usage("standard input can be one of both files".to_owned()));
    }
    let places = Places::new(files.iter().flatten().map(|file| file.display().to_string()).collect());
    let mut sources = Vec::new();
    for (file, used) in files.into_iter().flatten().zip([RowUse::Train, RowUse::Validation]) {
        sources.push((session.open(file)?, used));
    }
    let kind = kind(&arguments, session).await?;
    let skips = arguments.bad_rows == Bad::Skip;
    let sources = sources.into_iter().map(|(source, used)| (Lines::read(source), used)).collect();
    let lines = LabelledLines::new(sources, kind, places.clone());

    let mut client = session.heads().await?;
    let (sender, requests) = mpsc::channel(AHEAD);
    let plan = FitHeadRequest { part: Some(Part::Plan(plan(&arguments, kind))) };
    let mut sender = Some(sender);
    let call = session.call(tokio_stream::once(plan).chain(ReceiverStream::new(requests)));
    let reply = client.fit_head(call).await;
    let mut events = reply.map_err(|status| refused(status, &places, session))?.into_inner();
    let mut sending = std::pin::pin!(sending::all(lines, &places, skips, &mut sender));
    let mut sent = None;
    let bar = StageBar::new();
    let mut skipped = Skipped::default();
    let interrupted = tokio::signal::ctrl_c();
    let mut interrupted = std::pin::pin!(interrupted);
    let report = loop {
        tokio::select! {
            event = events.message() => match event.map_err(|status| refused(status, &places, session))? {
                Some(response) => match response.event {
                    Some(Event::Progress(progress)) => bar.show(&progress),
                    Some(Event::BadRow(bad)) => skipped.add(&places, bad.line, &bad.field, &bad.reason),
                    Some(Event::Report(report)) => break report,
                    None => {}
                },
                None => return Err(session.failed(ended_early())),
            },
            // A file that fails ends the call here, before the server could take what it has for everything.
            result = &mut sending, if sent.is_none() => sent = Some(result?),
            _ = &mut interrupted => return Err(CliError::Interrupted("the fit was cancelled and nothing is installed")),
        }
    };
    bar.finish();
    if let Some(sent) = sent {
        skipped.extend(sent.skipped);
    }
    let outcome = Outcome::of_failures(skipped.total());
    Report { task: &arguments.task, report, skipped }.print(&mut session.printer)?;
    Ok(outcome)
}

/// The kind asked for, or else that of the task.
async fn kind(arguments: &Arguments, session: &mut Session) -> Result<TaskKind, CliError> {
    if let Some(kind) = arguments.kind {
        return Ok(kind.into());
    }
    let mut catalog = session.catalog().await?;
    let request = GetTaskRequest { task: arguments.task.clone(), ..GetTaskRequest::default() };
    match catalog.get_task(session.call(request)).await {
        Ok(reply) => Ok(reply.into_inner().task.unwrap_or_default().kind()),
        Err(status) if status.code() == Code::NotFound => {
            let message = format!("the task {:?} does not exist yet: --kind says what it answers with", arguments.task);
            Err(CliError::Usage(message))
        }
        Err(status) => Err(session.failed(status)),
    }
}

fn plan(arguments: &Arguments, kind: TaskKind) -> FitPlan {
    let class_weights = match arguments.class_weights {
        Weights::None => ClassWeights::None,
        Weights::Balanced => ClassWeights::Balanced,
    };
    let bad_rows = match arguments.bad_rows {
        Bad::Refuse => BadRows::Refuse,
        Bad::Skip => BadRows::Skip,
    };
    FitPlan {
        task: arguments.task.clone(),
        kind: kind.into(),
        labels: arguments.labels.clone(),
        l2_strengths: arguments.strengths.clone(),
        folds: arguments.folds.unwrap_or_default(),
        class_weights: class_weights.into(),
        seed: arguments.seed,
        max_iterations: arguments.max_iterations.unwrap_or_default(),
        task_embedding: arguments.task_embedding,
        bad_rows: bad_rows.into(),
        fit_temperature: arguments.temperature,
        fit_thresholds: arguments.thresholds,
        make_live: arguments.live,
        description: arguments.description.clone(),
        dry_run: arguments.dry_run,
    }
}

/// A refusal that names a row names its line and file.
fn refused(status: Status, places: &Places, session: &Session) -> CliError {
    let details = status.get_error_details();
    let line = details.error_info().and_then(|info| info.metadata.get("line")?.parse().ok());
    match line {
        Some(line) => {
            let message = status.message();
            let reason = message.split_once(": ").map_or(message, |(_, reason)| reason);
            let status = Status::new(status.code(), format!("{}: {reason}", places.of(line)));
            session.failed(status)
        }
        None => session.failed(status),
    }
}

fn ended_early() -> Status {
    Status::internal("the server ended the call without a report")
}
