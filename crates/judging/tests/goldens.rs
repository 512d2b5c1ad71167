//! Figures against scikit-learn's, SciPy's and seqeval's on the same answers (`tests/parity/make_judging_goldens.py`).

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use judging::{
    ChoiceSheet, ClassSheet, Deciding, LabelSheet, NumberSheet, Resampling, Sheet, SpanSheet, Trial, fit_temperature,
    fit_threshold, mcnemar_exact, resample, sigmoid,
};
use serde_json::Value;

/// Far below what anybody reads, far above what summing in another order changes.
const TOLERANCE: f64 = 1e-9;
/// Logits of the goldens pass through single precision here.
const OF_PROBABILITIES: f64 = 1e-6;
/// Two bootstraps of some thousand resamples each agree so well, a step of the accuracy of 120 rows included.
const OF_INTERVALS: f64 = 0.009;

fn golden(name: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/judging/goldens.json");
    let goldens: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    goldens[name].clone()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn logits(list: &Value) -> Vec<f32> {
    numbers(list).into_iter().map(|number| number as f32).collect()
}

fn places(list: &Value) -> Vec<usize> {
    numbers(list).into_iter().map(|number| number as usize).collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn rows(golden: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    golden["due"].as_array().unwrap().iter().zip(golden["logits"].as_array().unwrap())
}

fn close(found: f64, wanted: f64, tolerance: f64, what: &str) {
    assert!((found - wanted).abs() <= tolerance, "{what}: {found}, the reference has {wanted}");
}

/// Every figure of the golden, and none that the golden lacks but the calibration error.
fn assert_figures(sheet: &dyn Sheet, golden: &Value) {
    let wanted = golden["figures"].as_object().unwrap();
    let mut seen = 0;
    for (figure, found) in sheet.names().iter().zip(sheet.plain()) {
        let (wanted, tolerance) = match figure.name {
            "expected_calibration_error" => (golden["calibration"]["error"].as_f64().unwrap(), OF_PROBABILITIES),
            "log_loss" => (wanted["log_loss"].as_f64().unwrap(), OF_PROBABILITIES),
            name => (wanted[name].as_f64().unwrap(), TOLERANCE),
        };
        seen += usize::from(figure.name != "expected_calibration_error");
        close(found.unwrap(), wanted, tolerance, figure.name);
    }
    assert_eq!(seen, wanted.len(), "a figure of the reference is missing");
}

fn assert_labels(sheet: &dyn Sheet, golden: &Value) {
    let wanted = golden.as_array().unwrap();
    let found = sheet.labels();
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.support, wanted["support"].as_u64().unwrap(), "{}", found.label);
        close(found.precision, wanted["precision"].as_f64().unwrap(), TOLERANCE, &found.label);
        close(found.recall, wanted["recall"].as_f64().unwrap(), TOLERANCE, &found.label);
        close(found.f1, wanted["f1"].as_f64().unwrap(), TOLERANCE, &found.label);
    }
}

/// The bins of scikit-learn's curve, which leaves empty ones out.
fn assert_calibration(sheet: &dyn Sheet, golden: &Value) {
    let bins = sheet.calibration();
    let answers: Vec<u64> = bins.iter().map(|bin| bin.answers).collect();
    assert_eq!(answers, places(&golden["answers"]).iter().map(|n| *n as u64).collect::<Vec<_>>());
    let filled: Vec<_> = bins.iter().filter(|bin| bin.answers > 0).collect();
    let curve = numbers(&golden["accuracy"]).into_iter().zip(numbers(&golden["mean_score"]));
    for (bin, (accuracy, mean_score)) in filled.iter().zip(curve) {
        close(bin.accuracy, accuracy, TOLERANCE, "accuracy of a bin");
        close(bin.mean_score, mean_score, OF_PROBABILITIES, "score of a bin");
        assert!(bin.low < bin.mean_score && bin.mean_score <= bin.high);
    }
}

fn assert_intervals(sheet: &dyn Sheet, golden: &Value) {
    let drawn = resample(&[sheet], Resampling { resamples: 4_000, seed: 3 }, &mut |_| true).unwrap();
    for (name, wanted) in golden.as_object().unwrap() {
        let place = sheet.names().iter().position(|figure| figure.name == name).unwrap();
        let found = drawn.interval(0, place, 0.95).unwrap();
        close(found.low, wanted[0].as_f64().unwrap(), OF_INTERVALS, name);
        close(found.high, wanted[1].as_f64().unwrap(), OF_INTERVALS, name);
    }
}

#[test]
fn classification_is_judged_as_scikit_learn_judges_it() {
    let golden = golden("classes");
    let mut sheet = ClassSheet::new(&texts(&golden["labels"]), 1.0);
    rows(&golden).for_each(|(due, row)| sheet.push(due.as_u64().unwrap() as usize, &logits(row)));
    assert_figures(&sheet, &golden);
    assert_labels(&sheet, &golden["per_label"]);
    assert_calibration(&sheet, &golden["calibration"]);
    assert_intervals(&sheet, &golden["intervals"]);
    let confusion: Vec<Vec<u64>> = golden["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| places(row).into_iter().map(|count| count as u64).collect())
        .collect();
    assert_eq!(sheet.confusion(), confusion);
}

#[test]
fn label_sets_are_judged_as_scikit_learn_judges_them() {
    let golden = golden("label_sets");
    let deciding = Deciding { temperature: 1.0, thresholds: logits(&golden["thresholds"]) };
    let mut sheet = LabelSheet::new(&texts(&golden["labels"]), deciding);
    rows(&golden).for_each(|(due, row)| sheet.push(&places(due), &logits(row)));
    assert_figures(&sheet, &golden);
    assert_labels(&sheet, &golden["per_label"]);
    assert_calibration(&sheet, &golden["calibration"]);
}

#[test]
fn numbers_are_judged_as_scipy_judges_them_ties_included() {
    let golden = golden("numbers");
    let pairs: Vec<_> = numbers(&golden["due"]).into_iter().zip(numbers(&golden["answered"])).collect();
    let sheet = NumberSheet::new(&pairs);
    assert_figures(&sheet, &golden);
    assert_intervals(&sheet, &golden["intervals"]);
}

#[test]
fn choices_of_any_number_are_judged() {
    let golden = golden("choices");
    let mut sheet = ChoiceSheet::new(1.0);
    rows(&golden).for_each(|(due, row)| sheet.push(due.as_u64().unwrap() as usize, &logits(row)));
    assert_figures(&sheet, &golden);
    assert_calibration(&sheet, &golden["calibration"]);
}

#[test]
fn spans_are_judged_as_seqeval_judges_them_whatever_the_order_of_tags() {
    for name in ["iob2", "iobes"] {
        let golden = golden(name);
        let mut sheet = SpanSheet::new(&texts(&golden["labels"]), 1.0);
        for (due, row) in rows(&golden) {
            let of_words: Vec<Vec<f32>> = row.as_array().unwrap().iter().map(logits).collect();
            let words: Vec<_> =
                places(due).into_iter().zip(of_words.iter().map(|word| Some(word.as_slice()))).collect();
            sheet.push(&words);
        }
        assert_figures(&sheet, &golden);
        assert_labels(&sheet, &golden["per_kind"]);
        assert_calibration(&sheet, &golden["calibration"]);
        let kinds: Vec<String> = sheet.labels().into_iter().map(|figures| figures.label).collect();
        assert_eq!(kinds, texts(&golden["kinds"]));
    }
}

#[test]
fn a_word_that_was_not_read_is_a_missed_entity() {
    let labels = ["O", "B-PER", "I-PER"].map(str::to_owned);
    let (outside, begin): (&[f32], &[f32]) = (&[5.0, 0.0, 0.0], &[0.0, 5.0, 0.0]);
    let mut sheet = SpanSheet::new(&labels, 1.0);
    sheet.push(&[(1, Some(begin)), (0, Some(outside)), (1, None), (0, None)]);
    let person = &sheet.labels()[0];
    assert_eq!((person.support, person.precision, person.recall), (2, 1.0, 0.5));
    assert_eq!(sheet.plain()[2], Some(0.75));
}

#[test]
fn temperatures_are_those_of_a_general_minimiser() {
    let golden = golden("classes");
    let rows_of_classes: Vec<_> =
        rows(&golden).map(|(due, row)| (due.as_u64().unwrap() as usize, logits(row))).collect();
    let trials: Vec<_> = rows_of_classes.iter().map(|(due, logits)| Trial::OneOf { logits, due: *due }).collect();
    let fitted = fit_temperature(&trials).unwrap();
    close(f64::from(fitted.temperature), golden["temperature"].as_f64().unwrap().exp(), 1e-5, "softmax");
    assert!(!fitted.at_bound);
    let golden = crate::golden("label_sets");
    let rows_of_sets: Vec<_> = rows(&golden).map(|(due, row)| (places(due), logits(row))).collect();
    let trials: Vec<_> = rows_of_sets.iter().map(|(due, logits)| Trial::Each { logits, due }).collect();
    let fitted = fit_temperature(&trials).unwrap();
    close(f64::from(fitted.temperature), golden["temperature"].as_f64().unwrap().exp(), 1e-5, "sigmoid");
}

#[test]
fn thresholds_reach_the_best_f1_there_is() {
    let golden = golden("label_sets");
    for (label, best) in numbers(&golden["best_f1"]).into_iter().enumerate() {
        let scores: Vec<_> =
            rows(&golden).map(|(due, row)| (sigmoid(logits(row)[label], 1.0), places(due).contains(&label))).collect();
        let fitted = fit_threshold(&scores).unwrap();
        close(fitted.f1, best, TOLERANCE, "best F1");
        let right = scores.iter().filter(|(score, holds)| *score >= fitted.threshold && *holds).count();
        let answered = scores.iter().filter(|(score, _)| *score >= fitted.threshold).count();
        let due = scores.iter().filter(|(_, holds)| *holds).count();
        close(2.0 * right as f64 / (answered + due) as f64, best, TOLERANCE, "F1 at the threshold");
    }
}

#[test]
fn mcnemar_is_the_binomial_test() {
    for case in golden("mcnemar").as_array().unwrap() {
        let split = places(&case["split"]);
        let found = mcnemar_exact(split[0] as u64, split[1] as u64);
        close(found, case["p"].as_f64().unwrap(), 1e-12, "p");
    }
}
