//! FitHead: a plan and labelled rows in, a version of a task out, and word of it on the way.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api::v1;
use api::v1::fit_head_request::Part;
use engine::ModelInfo;
use fitting::{FitError, Step};
use futures_util::FutureExt;
use registry::{Digest, Install};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use self::events::{Events, PAUSE, Teller};
use self::examples::Collected;
use self::fitted_head::Story;
use self::intake::Intake;
use self::label_book::Labels;
use self::plan::Plan;
use self::solving::{Solved, Solving, Work};
use crate::caller::Caller;
use crate::install::{self, Placed};
use crate::places::LongWork;
use crate::serving::Serving;
use crate::status;

mod embedding;
mod events;
mod examples;
mod figures;
mod fitted_head;
mod intake;
mod label_book;
mod labelled_rows;
mod lessons;
mod plan;
mod solving;

/// Messages that wait for a caller who reads slowly.
const MESSAGES_WAITING: usize = 64;

/// Fits on a task of its own and tells the channel it returns. The work ends with a report, with an error, when the
/// caller goes away, or when the server drains; without a report nothing is installed.
pub(crate) fn start(
    serving: Arc<Serving>,
    messages: Streaming<v1::FitHeadRequest>,
    caller: Caller,
) -> mpsc::Receiver<Result<v1::FitHeadResponse, Status>> {
    let (events, receiver) = mpsc::channel(MESSAGES_WAITING);
    tokio::spawn(async move {
        let fitting = AssertUnwindSafe(fit((&serving, &caller), messages, events.clone())).catch_unwind();
        let end = tokio::select! {
            end = fitting => end.unwrap_or_else(|_| Err(status::internal("internal error", "a fit panicked"))),
            () = events.closed() => return,
            () = serving.draining() => Err(status::of_engine(engine::EngineError::Draining)),
        };
        if let Err(status) = end {
            // A caller who has left hears nothing.
            let _ = events.send(Err(status)).await;
        }
    });
    receiver
}

async fn fit(
    (serving, caller): (&Serving, &Caller),
    mut messages: Streaming<v1::FitHeadRequest>,
    events: Events,
) -> Result<(), Status> {
    let mut teller = Teller::new(events);
    let plan = match messages.message().await.map_err(status::correct_transport)?.and_then(|message| message.part) {
        Some(Part::Plan(plan)) => Plan::parse(plan, serving, caller)?,
        Some(Part::Rows(_)) | None => {
            return Err(status::invalid_field("plan", "the first message must be the plan"));
        }
    };
    let _place = serving.place(LongWork::Fit, caller.tenant())?;
    let info = serving.engine().info().ok_or_else(|| status::of_engine(engine::EngineError::Starting))?;
    if !info.has_pooler {
        let message = "this encoder has no pooler, and fitted heads read pooled vectors";
        return Err(status::failed_precondition("NO_POOLER", "encoder", message));
    }
    let reader = plan.reader(info, None)?;
    let mut intake = Intake::new(serving, &plan, reader);
    intake.receive(&mut messages, &mut teller).await?;
    let Intake { labels, collected, read, digest, skipped, cut, .. } = intake;
    if collected.train.len() == 0 {
        return Err(of_fit(FitError::TooFew("there are no rows to learn from".to_owned())));
    }
    let labels = labels.close();
    let mut story = Story {
        data_digest: digest.finish(),
        train_rows: collected.train.len() as u64,
        validation_rows: collected.validation.len() as u64,
        skipped_rows: skipped,
        cut_rows: cut,
        label_counts: collected.train.label_counts(&labels),
        ..Story::default()
    };
    let mut solved = solve(serving, collected, (&plan, info, &labels), &mut teller).await?;
    let mut embedding = None;
    if plan.task_embedding {
        let learned = embedding::learn((serving, info, &plan), &read, &labels, solved, &mut teller).await?;
        (solved, embedding) = (learned.solved, learned.embedding);
        story.embedding_steps = learned.steps;
        story.has_embedding = embedding.is_some();
    }
    story.elapsed_millis = teller.elapsed_millis();
    let head = fitted_head::head(&plan, (&solved, embedding), &labels, &story, info.hidden);
    let head = head.map_err(|error| status::internal("internal error", &error.to_string()))?;
    teller.progress(v1::Stage::Installing, 0, 1);
    let encoder = encoder_digest(info)?;
    let digest = install::check(&plan.key, &head, (info, encoder))?;
    let head = Arc::new(head);
    serving.engine().try_head(Arc::clone(&head)).await.map_err(status::of_engine)?;
    let placed = if plan.dry_run {
        None
    } else {
        let key = plan.key.clone();
        let install = Install { key, version: None, head, encoder, forced: false, aliases: Vec::new() };
        Some(install::place(serving, caller, (install, plan.make_live)).await?)
    };
    teller.report(report(&plan, &solved, &story, (digest, placed), &labels.names)).await;
    Ok(())
}

/// Fits a layer on what was collected, and tells how far the solver is.
///
/// # Errors
/// INVALID_ARGUMENT where the rows cannot be fitted.
pub(crate) async fn solve(
    serving: &Serving,
    collected: Collected,
    (plan, info, labels): (&Plan, &ModelInfo, &Labels),
    teller: &mut Teller,
) -> Result<Solved, Status> {
    let train = collected.train.into_examples(info.hidden, labels).map_err(of_fit)?;
    let validation = match collected.validation.len() {
        0 => None,
        _ => Some(collected.validation.into_examples(info.hidden, labels).map_err(of_fit)?),
    };
    let work = Work { train, validation, settings: plan.settings.clone(), thresholds: plan.thresholds };
    let solving = Solving::start(serving.shared_engine(), work);
    let mut solving = solving.map_err(|error| status::internal("internal error", &error.to_string()))?;
    let mut ticks = tokio::time::interval(PAUSE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            result = solving.result() => {
                let lost = || status::internal("internal error", "the solver's thread ended without a result");
                return result.ok_or_else(lost)?.map_err(of_fit);
            }
            _ = ticks.tick() => match solving.step() {
                Step::Searching { done, total } => teller.progress(v1::Stage::Searching, done, total),
                Step::Solving { done, total } => teller.progress(v1::Stage::Solving, done, total),
            }
        }
    }
}

fn encoder_digest(info: &ModelInfo) -> Result<Digest, Status> {
    info.encoder_digest.parse().map_err(|_| status::internal("internal error", "the encoder has no proper digest"))
}

fn of_fit(error: FitError) -> Status {
    status::invalid_field("rows", &error.to_string())
}

fn report(
    plan: &Plan,
    solved: &Solved,
    story: &Story,
    (digest, placed): (Digest, Option<Placed>),
    labels: &[String],
) -> v1::FitReport {
    let Solved { fitted, judged } = solved;
    let metric =
        |(name, value): (&String, &f64)| v1::Metric { name: name.clone(), value: *value, ..v1::Metric::default() };
    v1::FitReport {
        version: placed.as_ref().map(|placed| placed.installed.version.number()),
        head_digest: placed.as_ref().map_or(digest, |placed| placed.installed.digest).to_string(),
        live: placed.as_ref().is_some_and(|placed| placed.live),
        train_rows: story.train_rows,
        validation_rows: story.validation_rows,
        skipped_rows: story.skipped_rows,
        l2_strength: fitted.strength,
        iterations: fitted.iterations as u32,
        converged: fitted.converged,
        metrics: judged.figures.iter().map(metric).collect(),
        data_digest: story.data_digest.clone(),
        elapsed_millis: story.elapsed_millis,
        warnings: fitted_head::warnings(plan, solved, story, labels),
        temperature: fitted.temperature,
        thresholds: judged.thresholds.clone(),
    }
}
