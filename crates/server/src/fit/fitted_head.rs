//! From fitted numbers to a head that says how it was made, and what a person should look at.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::{About, FitRecord, Head, HeadError, HeadKind, HeadParts};

use crate::fit::label_book::Labels;
use crate::fit::plan::Plan;
use crate::fit::solving::Solved;

/// Labels that a warning names one by one.
const LABELS_NAMED: usize = 10;

/// What happened to the rows of a fit.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) data_digest: String,
    pub(crate) train_rows: u64,
    pub(crate) validation_rows: u64,
    pub(crate) skipped_rows: u64,
    /// Rows that were cut at the encoder's limit.
    pub(crate) cut_rows: u64,
    /// Training rows that hold each label.
    pub(crate) label_counts: Vec<usize>,
    pub(crate) elapsed_millis: u64,
    /// Steps by which an embedding was learned.
    pub(crate) embedding_steps: usize,
    /// Whether one did better on rows held out than none.
    pub(crate) has_embedding: bool,
}

/// The head, with figures and the record of its fit.
///
/// # Errors
/// [`HeadError`], which checked plans and finite numbers do not meet.
pub(crate) fn head(
    plan: &Plan,
    (solved, embedding): (&Solved, Option<Arc<[f32]>>),
    labels: &Labels,
    story: &Story,
    hidden: usize,
) -> Result<Head, HeadError> {
    let Solved { fitted, judged } = solved;
    let about = About { metrics: judged.figures.clone(), fit: Some(record(plan, solved, story)), ..plan.about.clone() };
    let parts = HeadParts {
        labels: labels.names.clone(),
        weight: fitted.weight.as_slice().into(),
        bias: fitted.bias.as_slice().into(),
        task_embedding_by_default: embedding.is_some(),
        task_embedding: embedding,
        thresholds: judged.thresholds.clone(),
        temperature: fitted.temperature,
        prompt: plan.prompt.clone(),
        about,
        ..HeadParts::default()
    };
    Head::new(plan.kind, hidden, parts)
}

fn record(plan: &Plan, Solved { fitted, judged }: &Solved, story: &Story) -> FitRecord {
    let settings = &plan.settings;
    FitRecord {
        data_digest: story.data_digest.clone(),
        // A clock before 1970 is no time.
        unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        elapsed_millis: story.elapsed_millis,
        train_rows: story.train_rows,
        validation_rows: story.validation_rows,
        skipped_rows: story.skipped_rows,
        solver: if plan.kind == HeadKind::Regression { "normal_equations" } else { "lbfgs" }.to_owned(),
        l2_strength: fitted.strength,
        folds: fitted.folds as u32,
        class_weights: if settings.balanced { "balanced" } else { "none" }.to_owned(),
        seed: settings.seed,
        max_iterations: settings.max_iterations as u32,
        iterations: fitted.iterations as u32,
        converged: fitted.converged,
        embedding_steps: if story.has_embedding { story.embedding_steps as u32 } else { 0 },
        figures: judged.figures.clone(),
    }
}

/// What a person should look at.
pub(crate) fn warnings(plan: &Plan, solved: &Solved, story: &Story, labels: &[String]) -> Vec<String> {
    let Solved { fitted, judged } = solved;
    let mut warnings = Vec::new();
    let mut of_labels = |with: &[usize], what: &str| {
        let name = |at: &usize| labels.get(*at).cloned().unwrap_or_else(|| at.to_string());
        if !with.is_empty() {
            let more = if with.len() > LABELS_NAMED { ", …" } else { "" };
            let named = with.iter().take(LABELS_NAMED).map(name).collect::<Vec<_>>().join(", ");
            warnings.push(format!("{} of {} labels {what}: {named}{more}", with.len(), story.label_counts.len()));
        }
    };
    let counted = |rows: usize| {
        let counts = story.label_counts.iter().enumerate();
        counts.filter(|(_, count)| **count == rows).map(|(at, _)| at).collect::<Vec<_>>()
    };
    of_labels(&counted(0), "have no training row");
    of_labels(&counted(1), "have a single training row");
    of_labels(&judged.without_threshold, "hold in no row held out and keep a threshold of 0.5");
    if story.cut_rows > 0 {
        warnings.push(format!("{} rows were cut at the encoder's limit", story.cut_rows));
    }
    if !fitted.converged {
        warnings.push(format!("the solver did not reach its tolerance within {} iterations", fitted.iterations));
    }
    let strengths = &plan.settings.strengths;
    let at_end = |end: Option<f64>| strengths.len() > 1 && end == Some(fitted.strength);
    if at_end(strengths.iter().copied().reduce(f64::min)) || at_end(strengths.iter().copied().reduce(f64::max)) {
        warnings.push(format!("the strength chosen, {}, is at an end of those tried", fitted.strength));
    }
    if plan.settings.temperature && fitted.temperature.is_none() {
        warnings.push(format!("a {} head has no temperature", plan.kind));
    }
    if plan.task_embedding && !story.has_embedding {
        let steps = story.embedding_steps;
        warnings
            .push(format!("no task embedding of {steps} steps did better on rows held out than none: there is none"));
    }
    if labels.is_empty() && !story.label_counts.is_empty() {
        warnings.push("the labels have no names: they are called LABEL_0, LABEL_1, …".to_owned());
    }
    warnings
}
