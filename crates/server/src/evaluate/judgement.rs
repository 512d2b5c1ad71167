//! Answers to figures: what is fitted first, then every figure with its interval, then one version against the other.

use std::sync::Arc;

use engine::ServedHead;
use judging::{
    Bin, Deciding, Interval, LabelFigures, Resampled, Sheet, fit_temperature, fit_thresholds, mcnemar_exact,
    moved_threshold, resample, two_sided_p,
};

use super::answers::{Answer, deciding_of, logits_and_labels, sheet_of, trials_of};
use super::asking::Asked;
use super::disagreements::{Disagreement, disagreements};
use super::plan::Plan;
use super::rows::Truth;

/// Labels up to which rows are counted by truth and answer.
const MAX_CONFUSION: usize = 512;
/// Fewer rows say little, intervals included.
const FEW_ROWS: usize = 30;

/// Everything an evaluation found.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) first: Judged,
    pub(super) second: Option<Judged>,
    pub(super) comparison: Option<Compared>,
    pub(super) fitted: Option<Fitted>,
    pub(super) rows: usize,
    pub(super) skipped: u64,
    pub(super) warnings: Vec<String>,
}

/// What was found of one version.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) served: Arc<ServedHead>,
    pub(super) figures: Vec<JudgedFigure>,
    pub(super) labels: Vec<LabelFigures>,
    pub(super) confusion: Vec<Vec<u64>>,
    pub(super) calibration: Vec<Bin>,
}

/// A figure with its interval.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JudgedFigure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) interval: Option<Interval>,
}

/// How the second version stands to the first.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) test: &'static str,
    pub(super) p_value: f64,
    /// `None` where the main figure of either is not defined.
    pub(super) difference: Option<JudgedFigure>,
    pub(super) disagreements: Vec<Disagreement>,
    pub(super) disagreement_total: usize,
}

/// What was fitted on the rows.
#[derive(Debug, Clone)]
pub(super) struct Fitted {
    pub(super) temperature: Option<f32>,
    /// Empty where not asked for.
    pub(super) thresholds: Vec<f32>,
    /// How a head that keeps it would decide.
    pub(super) deciding: Deciding,
}

/// Judges what came back; `None` where `on_step`, which hears of resamples done and to do, ends it.
pub(super) fn judge(plan: &Plan, asked: Asked, on_step: &mut dyn FnMut(usize, usize) -> bool) -> Option<Judgement> {
    let mut warnings = warnings_of(&asked);
    let head = &plan.first.head;
    let first_rows = || asked.rows.iter().map(|row| (&row.truth, &row.first));
    let fitted = (plan.fit_temperature || plan.fit_thresholds).then(|| fit(plan, &asked, &mut warnings));
    let sheet = sheet_of(head, &deciding_of(head), first_rows());
    let second_rows = || asked.rows.iter().filter_map(|row| Some((&row.truth, row.second.as_ref()?)));
    let second_sheet =
        plan.second.as_ref().map(|second| (second, sheet_of(&second.head, &deciding_of(&second.head), second_rows())));

    let mut sheets: Vec<&dyn Sheet> = vec![&*sheet];
    sheets.extend(second_sheet.as_ref().map(|(_, sheet)| &**sheet));
    let tested_by_resampling = second_sheet.is_some() && sheet.right().is_none();
    let resampling = if tested_by_resampling { plan.resampling_of_tests() } else { plan.resampling };
    let total = resampling.resamples;
    let drawn = resample(&sheets, resampling, &mut |done| on_step(done, total))?;
    let coverage = plan.coverage;

    let comparison = second_sheet.as_ref().map(|(second, second_sheet)| {
        let (test, p_value) = test(&*sheet, &**second_sheet, &drawn);
        let (disagreements, disagreement_total) =
            disagreements(&asked.rows, &plan.first.head, &second.head, plan.max_disagreements);
        let difference = difference(&sheets, &drawn, coverage);
        Compared { test, p_value, difference, disagreements, disagreement_total }
    });
    let mut first = judged(&plan.first, &*sheet, (0, &drawn), coverage);
    if let Some(fitted) = &fitted {
        let with_fit = sheet_of(head, &fitted.deciding, first_rows());
        first.figures.extend(figures_that_moved(&*sheet, &*with_fit));
    }
    let second = second_sheet.as_ref().map(|(served, sheet)| judged(served, &**sheet, (1, &drawn), coverage));
    let (rows, skipped) = (asked.rows.len(), asked.skipped);
    Some(Judgement { first, second, comparison, fitted, rows, skipped, warnings })
}

fn warnings_of(asked: &Asked) -> Vec<String> {
    let rows = asked.rows.len();
    let cut = asked.rows.iter().filter(|row| row.was_cut).count();
    let mut warnings = Vec::new();
    if cut > 0 {
        warnings.push(format!("{cut} of {rows} inputs are longer than the encoder reads: their ends were cut"));
    }
    if rows < FEW_ROWS {
        warnings.push(format!("{rows} rows say little: intervals are rough below {FEW_ROWS}"));
    }
    warnings
}

fn fit(plan: &Plan, asked: &Asked, warnings: &mut Vec<String>) -> Fitted {
    let head = &plan.first.head;
    let rows = || asked.rows.iter().map(|row| (&row.truth, &row.first));
    let held = deciding_of(head);
    let temperature = if plan.fit_temperature { temperature(plan, rows(), warnings) } else { None };
    let at = temperature.unwrap_or(held.temperature);
    let mut thresholds: Vec<f32> =
        held.thresholds.iter().map(|threshold| moved_threshold(*threshold, held.temperature, at)).collect();
    let mut kept = Vec::new();
    if plan.fit_thresholds {
        kept = fit_thresholds(&mut thresholds, at, &logits_and_labels(rows()));
    }
    if !kept.is_empty() {
        let shown = kept.iter().take(10).map(|label| head.label(*label)).collect::<Vec<_>>().join(", ");
        let more = if kept.len() > 10 { ", …" } else { "" };
        warnings
            .push(format!("labels that hold in no row keep their thresholds: {shown}{more} ({} in all)", kept.len()));
    }
    let deciding = Deciding { temperature: at, thresholds };
    let fitted = if plan.fit_thresholds { deciding.thresholds.clone() } else { Vec::new() };
    Fitted { temperature, thresholds: fitted, deciding }
}

fn temperature<'a>(
    plan: &Plan,
    rows: impl Iterator<Item = (&'a Truth, &'a Answer)>,
    warnings: &mut Vec<String>,
) -> Option<f32> {
    let fitted = fit_temperature(&trials_of(plan.first.head.kind(), rows))?;
    if fitted.at_bound {
        warnings.push(format!(
            "the temperature stopped at the end of its range, {}: these rows do not bound it",
            fitted.temperature
        ));
    }
    Some(fitted.temperature)
}

fn judged(
    served: &Arc<ServedHead>,
    sheet: &dyn Sheet,
    (place, drawn): (usize, &Resampled),
    coverage: Option<f64>,
) -> Judged {
    let figures = sheet.names().iter().zip(sheet.plain()).enumerate().filter_map(|(at, (figure, value))| {
        let interval = coverage.filter(|_| figure.has_interval).and_then(|c| drawn.interval(place, at, c));
        Some(JudgedFigure { name: figure.name.to_owned(), value: value?, interval })
    });
    let labels = sheet.labels();
    let confusion = if labels.len() <= MAX_CONFUSION { sheet.confusion() } else { Vec::new() };
    Judged {
        served: Arc::clone(served),
        figures: figures.collect(),
        labels,
        confusion,
        calibration: sheet.calibration(),
    }
}

/// The figures that what was fitted changes, under names of their own.
fn figures_that_moved(held: &dyn Sheet, fitted: &dyn Sheet) -> Vec<JudgedFigure> {
    let pairs = held.names().iter().zip(held.plain().into_iter().zip(fitted.plain()));
    let moved = pairs.filter(|(_, (held, fitted))| held != fitted);
    moved
        .filter_map(|(figure, (_, value))| {
            Some(JudgedFigure { name: format!("{}_fitted", figure.name), value: value?, interval: None })
        })
        .collect()
}

/// The paired test that suits the kind: McNemar's where rows are right or wrong, the bootstrap elsewhere.
fn test(first: &dyn Sheet, second: &dyn Sheet, drawn: &Resampled) -> (&'static str, f64) {
    match (first.right(), second.right()) {
        (Some(first), Some(second)) => {
            let only = |one: &[bool], other: &[bool]| {
                one.iter().zip(other).filter(|(one, other)| **one && !**other).count() as u64
            };
            ("mcnemar_exact", mcnemar_exact(only(&first, &second), only(&second, &first)))
        }
        (Some(_) | None, _) => ("paired_bootstrap", two_sided_p(drawn.differences()).unwrap_or(1.0)),
    }
}

fn difference(sheets: &[&dyn Sheet], drawn: &Resampled, coverage: Option<f64>) -> Option<JudgedFigure> {
    let [first, second] = sheets else { return None };
    let main = |sheet: &dyn Sheet| sheet.plain().into_iter().next().flatten();
    Some(JudgedFigure {
        name: first.names().first()?.name.to_owned(),
        value: main(*second)? - main(*first)?,
        interval: coverage.and_then(|coverage| drawn.interval_of_difference(coverage)),
    })
}
