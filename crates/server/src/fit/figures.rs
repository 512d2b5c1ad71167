//! What a fitted layer gave for rows held out, judged as an evaluation judges it; and thresholds found on the same rows.

use std::collections::BTreeMap;

use fitting::{Answers, Unseen};
use judging::{ChoiceSheet, ClassSheet, Deciding, LabelSheet, NumberSheet, Sheet, fit_thresholds};

/// What was found on rows held out; nothing where none were.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Judged {
    /// By the names of an evaluation. Those that end in `_fitted` are with the temperature and thresholds that were
    /// fitted on the same rows.
    pub(crate) figures: BTreeMap<String, f64>,
    /// One for each label; empty where not asked for.
    pub(crate) thresholds: Vec<f32>,
    /// Labels that hold in no row held out: their thresholds stay at one half.
    pub(crate) without_threshold: Vec<usize>,
}

/// What is fitted beside the layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Beside {
    pub(crate) temperature: Option<f32>,
    pub(crate) thresholds: bool,
}

/// Holds `unseen` against `answers`, which are those of all examples that they may come from.
pub(crate) fn judge(answers: &Answers, outputs: usize, unseen: &[Unseen], beside: Beside) -> Judged {
    let mut judged = Judged::default();
    if unseen.is_empty() {
        return judged;
    }
    let plain = Deciding { temperature: 1.0, thresholds: vec![0.5; outputs] };
    let mut fitted = Deciding { temperature: beside.temperature.unwrap_or(1.0), ..plain.clone() };
    if beside.thresholds
        && let Answers::Labels(labels) = answers
    {
        let due: Vec<Vec<usize>> = unseen.iter().map(|unseen| held(labels, unseen.unit)).collect();
        let rows: Vec<_> =
            unseen.iter().map(|unseen| unseen.logits.as_slice()).zip(due.iter().map(Vec::as_slice)).collect();
        judged.without_threshold = fit_thresholds(&mut fitted.thresholds, fitted.temperature, &rows);
        judged.thresholds.clone_from(&fitted.thresholds);
    }
    let sheet_of = |deciding: &Deciding| sheet(answers, unseen, deciding);
    let sheet = sheet_of(&plain);
    let with_fit = (fitted != plain).then(|| sheet_of(&fitted).plain());
    for (at, (figure, value)) in sheet.names().iter().zip(sheet.plain()).enumerate() {
        let moved = with_fit.as_ref().and_then(|figures| *figures.get(at)?).filter(|moved| Some(*moved) != value);
        let named = [(figure.name.to_owned(), value), (format!("{}_fitted", figure.name), moved)];
        let known =
            named.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| value.is_finite())?)));
        judged.figures.extend(known);
    }
    judged
}

/// The sheet of answers that are decided so.
fn sheet(answers: &Answers, unseen: &[Unseen], deciding: &Deciding) -> Box<dyn Sheet> {
    // Nobody asks a fit for the figures of single labels.
    let nameless = vec![String::new(); deciding.thresholds.len()];
    match answers {
        Answers::Classes(classes) => {
            let mut sheet = ClassSheet::new(&nameless, deciding.temperature);
            let due = |unseen: &Unseen| classes.get(unseen.unit).map_or(usize::MAX, |class| *class as usize);
            unseen.iter().for_each(|unseen| sheet.push(due(unseen), &unseen.logits));
            Box::new(sheet)
        }
        Answers::Labels(labels) => {
            let mut sheet = LabelSheet::new(&nameless, deciding.clone());
            unseen.iter().for_each(|unseen| sheet.push(&held(labels, unseen.unit), &unseen.logits));
            Box::new(sheet)
        }
        Answers::Values(values) => {
            let pair = |unseen: &Unseen| Some((*values.get(unseen.unit)?, f64::from(*unseen.logits.first()?)));
            Box::new(NumberSheet::new(&unseen.iter().filter_map(pair).collect::<Vec<_>>()))
        }
        Answers::Choices(questions) => {
            let mut sheet = ChoiceSheet::new(deciding.temperature);
            let due =
                |unseen: &Unseen| questions.get(unseen.unit).map_or(usize::MAX, |question| question.right as usize);
            unseen.iter().for_each(|unseen| sheet.push(due(unseen), &unseen.logits));
            Box::new(sheet)
        }
    }
}

/// The labels that hold in a row, rising, each once.
fn held(labels: &[Vec<u32>], unit: usize) -> Vec<usize> {
    let mut held: Vec<usize> = labels.get(unit).into_iter().flatten().map(|label| *label as usize).collect();
    held.sort_unstable();
    held.dedup();
    held
}

#[cfg(test)]
mod tests {
    use fitting::Question;

    use super::*;

    const NOTHING: Beside = Beside { temperature: None, thresholds: false };

    fn unseen(logits: &[&[f32]]) -> Vec<Unseen> {
        logits.iter().enumerate().map(|(unit, logits)| Unseen { unit, logits: logits.to_vec() }).collect()
    }

    fn names(judged: &Judged) -> Vec<&str> {
        judged.figures.keys().map(String::as_str).collect()
    }

    #[test]
    fn every_kind_has_the_figures_of_an_evaluation() {
        let classes = judge(&Answers::Classes(vec![0, 1, 1]), 2, &unseen(&[&[2., 1.], &[0., 1.], &[3., 1.]]), NOTHING);
        assert!((classes.figures["accuracy"] - 2.0 / 3.0).abs() < 1e-12);
        assert!(["macro_f1", "micro_f1", "matthews"].iter().all(|name| classes.figures.contains_key(*name)));
        let labels = Answers::Labels(vec![vec![0], vec![1], vec![]]);
        let labels = judge(&labels, 2, &unseen(&[&[1., -1.], &[1., -1.], &[-1., -1.]]), NOTHING);
        assert_eq!((labels.figures["micro_f1"], labels.figures["subset_accuracy"]), (0.5, 2.0 / 3.0));
        let values = judge(&Answers::Values(vec![1.0, 2.0, 4.0]), 1, &unseen(&[&[2.], &[4.], &[9.]]), NOTHING);
        assert_eq!(values.figures["spearman"], 1.0);
        assert!(values.figures["pearson"] < 1.0);
        let questions = vec![Question { choices: 2, right: 1 }, Question { choices: 3, right: 0 }];
        let choices = judge(&Answers::Choices(questions), 1, &unseen(&[&[0., 1.], &[5., 4., 3.]]), NOTHING);
        assert_eq!(choices.figures["accuracy"], 1.0);
        assert_eq!(judge(&Answers::Classes(vec![0]), 2, &[], NOTHING), Judged::default());
    }

    #[test]
    fn a_figure_that_has_no_value_is_left_out() {
        let constant = judge(&Answers::Values(vec![1.0, 1.0]), 1, &unseen(&[&[2.], &[3.]]), NOTHING);
        assert_eq!(names(&constant), ["mean_absolute_error", "root_mean_squared_error"]);
    }

    #[test]
    fn thresholds_part_scores_at_the_temperature_and_what_they_change_has_a_name_of_its_own() {
        let answers = Answers::Labels(vec![vec![0], vec![0], vec![], vec![]]);
        let rows = unseen(&[&[-1., 0.], &[2., 0.], &[-2., 0.], &[-3., 0.]]);
        let plain = judge(&answers, 2, &rows, NOTHING);
        assert!(plain.thresholds.is_empty() && !names(&plain).contains(&"macro_f1_fitted"));
        let beside = Beside { temperature: Some(2.0), thresholds: true };
        let fitted = judge(&answers, 2, &rows, beside);
        let below = |logit: f32| judging::sigmoid(logit, 2.0);
        assert!(fitted.thresholds[0] > below(-2.0) && fitted.thresholds[0] < below(-1.0), "{:?}", fitted.thresholds);
        assert_eq!((fitted.thresholds[1], fitted.without_threshold.as_slice()), (0.5, [1].as_slice()));
        assert!(fitted.figures["macro_f1_fitted"] > fitted.figures["macro_f1"], "{:?}", fitted.figures);
        assert_eq!(fitted.figures["macro_f1"], plain.figures["macro_f1"]);
    }
}
