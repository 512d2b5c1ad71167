//! What a fit shall do: the plan of the caller, completed by what is known of the task.

use std::sync::Arc;

use api::v1;
use engine::{
    About, Head, HeadKind, HeadParts, Lane, MAX_LABELS, ModelInfo, Priority, Reading, Selector, ServedHead, TaskKey,
};
use fitting::{DEFAULT_STRENGTHS, Settings};
use tonic::Status;

use crate::caller::Caller;
use crate::from_proto;
use crate::serving::Serving;
use crate::status::{self, invalid_field};

const DEFAULT_FOLDS: usize = 5;
const MOST_FOLDS: u32 = 20;
const DEFAULT_ITERATIONS: usize = 500;
const MOST_ITERATIONS: u32 = 100_000;
const MOST_STRENGTHS: usize = 64;
const MOST_DESCRIPTION_BYTES: usize = 4_096;

/// A checked plan.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) key: TaskKey,
    pub(crate) kind: HeadKind,
    /// Empty: rows bring them.
    pub(crate) labels: Vec<String>,
    pub(crate) settings: Settings,
    /// Whether thresholds are fitted on rows held out.
    pub(crate) thresholds: bool,
    pub(crate) task_embedding: bool,
    pub(crate) skips_bad_rows: bool,
    pub(crate) make_live: bool,
    pub(crate) dry_run: bool,
    pub(crate) prompt: Option<String>,
    pub(crate) about: About,
    /// Whose tokens and share of the encoder the rows take.
    lane: Lane,
}

impl Plan {
    /// # Errors
    /// INVALID_ARGUMENT naming the field.
    pub(crate) fn parse(plan: v1::FitPlan, serving: &Serving, caller: &Caller) -> Result<Self, Status> {
        let key = from_proto::task_key("plan.task", &plan.task, caller)?;
        let known = known(serving, &key);
        let kind = kind(plan.kind, known.as_deref())?;
        let known_parts = known.as_ref().map(|known| known.head.parts());
        let about = known_parts.map(|parts| &parts.about);
        check_description(&plan.description)?;
        if plan.fit_thresholds && kind != HeadKind::MultiLabel {
            let reason = format!("a {kind} task has no thresholds: only multi_label has");
            return Err(invalid_field("plan.fit_thresholds", &reason));
        }
        let description = match plan.description {
            description if description.is_empty() => about.map(|about| about.description.clone()).unwrap_or_default(),
            description => description,
        };
        let labels = labels(plan.labels, kind, known_parts)?;
        Ok(Self {
            kind,
            labels,
            settings: Settings {
                strengths: strengths(plan.l2_strengths)?,
                folds: folds(plan.folds)?,
                balanced: is_balanced(plan.class_weights)?,
                seed: plan.seed,
                max_iterations: iterations(plan.max_iterations)?,
                temperature: plan.fit_temperature,
                hold_out: plan.fit_thresholds,
                ..Settings::default()
            },
            thresholds: plan.fit_thresholds,
            task_embedding: plan.task_embedding,
            skips_bad_rows: skips(plan.bad_rows)?,
            make_live: plan.make_live,
            dry_run: plan.dry_run,
            prompt: known_parts.and_then(|parts| parts.prompt.clone()),
            about: About {
                description,
                tags: about.map(|about| about.tags.clone()).unwrap_or_default(),
                licence: about.map(|about| about.licence.clone()).unwrap_or_default(),
                source: "fitted by the server".to_owned(),
                ..About::default()
            },
            lane: caller.lane(),
            key,
        })
    }

    /// How rows are read: whole as far as the encoder goes, at the caller's cost, behind whoever waits.
    pub(crate) fn reading(&self) -> Reading {
        Reading { priority: Priority::Background, lane: Some(self.lane), ..Reading::default() }
    }

    /// A head that reads inputs as the fitted one will. Its numbers mean nothing.
    pub(crate) fn reader(&self, info: &ModelInfo, task_embedding: Option<Arc<[f32]>>) -> Result<Arc<Head>, Status> {
        let parts = HeadParts {
            weight: vec![0.0; info.hidden].into(),
            bias: vec![0.0].into(),
            task_embedding_by_default: task_embedding.is_some(),
            task_embedding,
            prompt: self.prompt.clone(),
            ..HeadParts::default()
        };
        let head = Head::new(self.kind, info.hidden, parts);
        head.map(Arc::new).map_err(|error| status::internal("internal error", &error.to_string()))
    }
}

/// The version that answers for the task now, or else its newest.
fn known(serving: &Serving, key: &TaskKey) -> Option<Arc<ServedHead>> {
    let task = serving.engine().live().find(key)?;
    let live = task.select(&Selector::Alias(engine::Alias::live()));
    live.or_else(|| task.versions.last_key_value().map(|(_, newest)| Arc::clone(newest)))
}

fn kind(number: i32, known: Option<&ServedHead>) -> Result<HeadKind, Status> {
    let known = known.map(|known| known.head.kind());
    let wanted = match v1::TaskKind::try_from(number) {
        Ok(v1::TaskKind::Unspecified) => None,
        _ => Some(from_proto::kind("plan.kind", number)?),
    };
    let kind = match (wanted, known) {
        (Some(wanted), Some(known)) if wanted != known => {
            return Err(invalid_field("plan.kind", &format!("{wanted}, and the task is a {known}")));
        }
        (Some(kind), _) | (None, Some(kind)) => kind,
        (None, None) => return Err(invalid_field("plan.kind", "is needed: the task does not exist yet")),
    };
    match kind {
        HeadKind::Classification | HeadKind::MultiLabel | HeadKind::Regression | HeadKind::MultipleChoice => Ok(kind),
        HeadKind::TokenClassification | HeadKind::Reward => Err(invalid_field(
            "plan.kind",
            &format!(
                "a {kind} head cannot be fitted here: only classification, multi_label, regression and multiple_choice"
            ),
        )),
    }
}

fn labels(given: Vec<String>, kind: HeadKind, known: Option<&HeadParts>) -> Result<Vec<String>, Status> {
    let has_labels = matches!(kind, HeadKind::Classification | HeadKind::MultiLabel);
    if !has_labels {
        return if given.is_empty() {
            Ok(given)
        } else {
            Err(invalid_field("plan.labels", &format!("a {kind} task has no labels")))
        };
    }
    if given.is_empty() {
        return Ok(known.map(|parts| parts.labels.clone()).unwrap_or_default());
    }
    if given.len() > MAX_LABELS {
        return Err(invalid_field("plan.labels", &format!("{} labels, the limit is {MAX_LABELS}", given.len())));
    }
    // What a head checks of its labels, before any row is read.
    let parts = HeadParts {
        weight: vec![0.0; given.len()].into(),
        bias: vec![0.0; given.len()].into(),
        labels: given.clone(),
        ..HeadParts::default()
    };
    Head::new(kind, 1, parts).map_err(|error| invalid_field("plan.labels", &error.to_string()))?;
    Ok(given)
}

fn strengths(given: Vec<f64>) -> Result<Vec<f64>, Status> {
    if given.is_empty() {
        return Ok(DEFAULT_STRENGTHS.to_vec());
    }
    if given.len() > MOST_STRENGTHS {
        let reason = format!("{} strengths, the limit is {MOST_STRENGTHS}", given.len());
        return Err(invalid_field("plan.l2_strengths", &reason));
    }
    match given.iter().find(|strength| !(strength.is_finite() && **strength > 0.0)) {
        Some(strength) => Err(invalid_field("plan.l2_strengths", &format!("{strength} is no number above 0"))),
        None => Ok(given),
    }
}

fn folds(given: u32) -> Result<usize, Status> {
    match given {
        0 => Ok(DEFAULT_FOLDS),
        2..=MOST_FOLDS => Ok(given as usize),
        _ => Err(invalid_field("plan.folds", &format!("{given}, it must be 2 to {MOST_FOLDS}"))),
    }
}

fn iterations(given: u32) -> Result<usize, Status> {
    match given {
        0 => Ok(DEFAULT_ITERATIONS),
        1..=MOST_ITERATIONS => Ok(given as usize),
        _ => Err(invalid_field("plan.max_iterations", &format!("{given}, the limit is {MOST_ITERATIONS}"))),
    }
}

fn is_balanced(number: i32) -> Result<bool, Status> {
    match v1::ClassWeights::try_from(number) {
        Ok(v1::ClassWeights::Unspecified | v1::ClassWeights::None) => Ok(false),
        Ok(v1::ClassWeights::Balanced) => Ok(true),
        Err(_) => Err(invalid_field("plan.class_weights", &format!("{number} is not a value of this enum"))),
    }
}

fn skips(number: i32) -> Result<bool, Status> {
    match v1::BadRows::try_from(number) {
        Ok(v1::BadRows::Unspecified | v1::BadRows::Refuse) => Ok(false),
        Ok(v1::BadRows::Skip) => Ok(true),
        Err(_) => Err(invalid_field("plan.bad_rows", &format!("{number} is not a value of this enum"))),
    }
}

fn check_description(description: &str) -> Result<(), Status> {
    if description.len() > MOST_DESCRIPTION_BYTES {
        let reason = format!("{} bytes, the limit is {MOST_DESCRIPTION_BYTES}", description.len());
        return Err(invalid_field("plan.description", &reason));
    }
    if description.chars().any(|character| character.is_control() && character != '\n' && character != '\t') {
        return Err(invalid_field("plan.description", "holds a control character"));
    }
    Ok(())
}
