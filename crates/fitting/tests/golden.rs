//! Fits equal scikit-learn's on the same examples; `tests/parity/make_fitting_goldens.py` writes them.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use fitting::{Answers, Examples, Question, Settings, Unwatched, fit};
use serde::Deserialize;

/// Of any weight or bias.
const WEIGHT_TOLERANCE: f32 = 1e-3;
/// Of the loss with its regularisation.
const LOSS_TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Golden {
    classes: Vec<Case<Vec<u32>>>,
    labels: Vec<Case<Vec<Vec<u32>>>>,
    values: Vec<Case<Vec<f64>>>,
    pairs: Vec<Case<Vec<u32>>>,
    calibration: Calibration,
}

#[derive(Deserialize)]
struct Case<A> {
    vectors: Vec<Vec<f32>>,
    answers: A,
    outputs: usize,
    strength: f64,
    balanced: bool,
    weight: Vec<Vec<f32>>,
    bias: Vec<f32>,
    loss: f64,
}

#[derive(Deserialize)]
struct Calibration {
    vectors: Vec<Vec<f32>>,
    answers: Vec<u32>,
    temperature: f32,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/fixtures/fitting/golden.json")).unwrap()
}

fn examples(vectors: &[Vec<f32>], outputs: usize, answers: Answers) -> Examples {
    Examples::new(vectors[0].len(), outputs, vectors.concat(), answers).unwrap()
}

fn settings(strength: f64, balanced: bool) -> Settings {
    Settings { strengths: vec![strength], balanced, tolerance: 1e-9, standardise: false, ..Settings::default() }
}

fn assert_equal<A>(case: &Case<A>, answers: Answers) {
    let examples = examples(&case.vectors, case.outputs, answers);
    let fitted = fit(&examples, None, &settings(case.strength, case.balanced), &Unwatched).unwrap();
    assert!(fitted.converged, "after {} iterations", fitted.iterations);
    assert!((fitted.loss - case.loss).abs() < LOSS_TOLERANCE, "{} {}", fitted.loss, case.loss);
    let found = fitted.weight.iter().chain(&fitted.bias);
    let expected = case.weight.iter().flatten().chain(&case.bias);
    assert_eq!(fitted.weight.len() + fitted.bias.len(), expected.clone().count());
    for (at, (found, expected)) in found.zip(expected).enumerate() {
        assert!((found - expected).abs() < WEIGHT_TOLERANCE, "{at}: {found} {expected}");
    }
}

#[test]
fn classes_are_fitted_as_multinomial_logistic_regression() {
    for case in golden().classes {
        assert_equal(&case, Answers::Classes(case.answers.clone()));
    }
}

#[test]
fn labels_are_fitted_as_one_logistic_regression_each() {
    for case in golden().labels {
        assert_equal(&case, Answers::Labels(case.answers.clone()));
    }
}

#[test]
fn numbers_are_fitted_as_ridge_regression() {
    for case in golden().values {
        assert_equal(&case, Answers::Values(case.answers.clone()));
    }
}

#[test]
fn two_choices_are_fitted_as_logistic_regression_on_their_difference() {
    for case in golden().pairs {
        let questions = case.answers.iter().map(|right| Question { choices: 2, right: *right }).collect();
        assert_equal(&case, Answers::Choices(questions));
    }
}

#[test]
fn a_temperature_is_that_of_a_bounded_search() {
    let Golden { classes, calibration, .. } = golden();
    let case = &classes[0];
    let train = examples(&case.vectors, case.outputs, Answers::Classes(case.answers.clone()));
    let validation = examples(&calibration.vectors, case.outputs, Answers::Classes(calibration.answers.clone()));
    let settings = Settings { temperature: true, ..settings(case.strength, case.balanced) };
    let fitted = fit(&train, Some(&validation), &settings, &Unwatched).unwrap();
    let found = fitted.temperature.unwrap();
    assert!((found - calibration.temperature).abs() < 1e-3 * found, "{found} {}", calibration.temperature);
}
