//! What to judge, and how: the plan of an evaluation, checked.

use std::sync::Arc;

use api::v1;
use engine::{EngineError, HeadKind, Lane, Mode, ServedHead};
use judging::Resampling;
use tonic::Status;

use crate::status::invalid_field;
use crate::view::View;
use crate::{from_proto, status};

const MAX_RESAMPLES: u32 = 10_000;
const RESAMPLES: u32 = 1_000;
const COVERAGE: f64 = 0.95;
const MAX_DISAGREEMENTS: u32 = 10_000;
const DISAGREEMENTS: u32 = 100;

/// A checked plan. Its versions are those that aliases named when it came.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) first: Arc<ServedHead>,
    pub(super) second: Option<Arc<ServedHead>>,
    /// `None` leaves it to each version.
    pub(super) mode: Option<Mode>,
    pub(super) resampling: Resampling,
    /// Coverage of the intervals; `None`: no intervals.
    pub(super) coverage: Option<f64>,
    pub(super) skip_bad_rows: bool,
    pub(super) fit_temperature: bool,
    pub(super) fit_thresholds: bool,
    pub(super) store: bool,
    pub(super) max_disagreements: usize,
    /// Whose tokens and share of the encoder the rows take.
    pub(super) lane: Lane,
}

impl Plan {
    pub(super) fn parse(plan: v1::EvaluationPlan, view: &View<'_>) -> Result<Self, Status> {
        let key = view.key("plan.task", &plan.task)?;
        let task = view.live.find(&key).ok_or_else(|| status::of_engine(EngineError::NotFound))?;
        if plan.store && view.is_shared(&key) {
            return Err(invalid_field(
                "plan.store",
                "the head is the catalogue's, and nobody else adds versions to it",
            ));
        }
        let find = |version: &str| -> Result<Arc<ServedHead>, Status> {
            let selector = from_proto::selector(version)?;
            task.select(&selector).ok_or_else(|| status::of_engine(EngineError::NotFound))
        };
        let first = find(&plan.version)?;
        let second = if plan.compare_with.is_empty() { None } else { Some(find(&plan.compare_with)?) };
        if let Some(second) = &second {
            check_comparable(&first, second)?;
        }
        check_fits(&plan, first.head.kind())?;
        let resamples = plan.resamples.unwrap_or(RESAMPLES);
        if resamples > MAX_RESAMPLES {
            return Err(invalid_field("plan.resamples", &format!("{resamples}, the limit is {MAX_RESAMPLES}")));
        }
        let coverage = plan.coverage.unwrap_or(COVERAGE);
        if !(coverage > 0.0 && coverage < 1.0) {
            return Err(invalid_field("plan.coverage", &format!("{coverage} is not above 0 and below 1")));
        }
        let disagreements = plan.max_disagreements.unwrap_or(DISAGREEMENTS);
        if disagreements > MAX_DISAGREEMENTS {
            let reason = format!("{disagreements}, the limit is {MAX_DISAGREEMENTS}");
            return Err(invalid_field("plan.max_disagreements", &reason));
        }
        let skip_bad_rows = match v1::BadRows::try_from(plan.bad_rows) {
            Ok(v1::BadRows::Unspecified | v1::BadRows::Refuse) => false,
            Ok(v1::BadRows::Skip) => true,
            Err(_) => return Err(unknown_number("plan.bad_rows", plan.bad_rows)),
        };
        let mode = match v1::Mode::try_from(plan.mode) {
            Ok(v1::Mode::Unspecified) => None,
            Ok(v1::Mode::Exact) => Some(Mode::Exact),
            Ok(v1::Mode::Shared) => Some(Mode::Shared),
            Err(_) => return Err(unknown_number("plan.mode", plan.mode)),
        };
        Ok(Self {
            first,
            second,
            mode,
            resampling: Resampling { resamples: resamples as usize, seed: plan.seed },
            coverage: (resamples > 0).then_some(coverage),
            skip_bad_rows,
            fit_temperature: plan.fit_temperature,
            fit_thresholds: plan.fit_thresholds,
            store: plan.store,
            max_disagreements: disagreements as usize,
            lane: view.lane,
        })
    }

    /// Resamples for a paired test, which needs some where intervals are not wanted.
    pub(super) fn resampling_of_tests(&self) -> Resampling {
        let resamples = if self.resampling.resamples == 0 { RESAMPLES as usize } else { self.resampling.resamples };
        Resampling { resamples, ..self.resampling }
    }
}

/// Truth means the same to both versions only where both answer with the same labels.
fn check_comparable(first: &ServedHead, second: &ServedHead) -> Result<(), Status> {
    let (one, other) = (&first.head, &second.head);
    let refuse = |what: &str| {
        let reason = format!("version {} answers with {what} than version {}", second.version, first.version);
        Err(invalid_field("plan.compare_with", &reason))
    };
    if one.kind() != other.kind() {
        return refuse("another kind");
    }
    if one.parts().labels != other.parts().labels {
        return refuse("other labels");
    }
    Ok(())
}

fn check_fits(plan: &v1::EvaluationPlan, kind: HeadKind) -> Result<(), Status> {
    if plan.fit_temperature && kind == HeadKind::Regression {
        return Err(invalid_field("plan.fit_temperature", "a regression task has no probabilities"));
    }
    if plan.fit_thresholds && kind != HeadKind::MultiLabel {
        let reason = format!("a {kind} task has no thresholds: only multi_label has");
        return Err(invalid_field("plan.fit_thresholds", &reason));
    }
    if plan.store && !plan.fit_temperature && !plan.fit_thresholds {
        return Err(invalid_field("plan.store", "nothing is fitted: fit_temperature or fit_thresholds is needed"));
    }
    Ok(())
}

fn unknown_number(field: &str, number: i32) -> Status {
    invalid_field(field, &format!("{number} is not a value of this enum"))
}
