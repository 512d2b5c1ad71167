//! What a fit owes beside its numbers: a sensible strength, the same result twice, an end when told, and clear refusals.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fitting::{Answers, Examples, FitError, Fitted, Question, Settings, Step, Unwatched, Watch, fit};

const WIDTH: usize = 12;

/// Numbers between -1 and 1 that follow from a seed.
fn noise(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Rows of `classes` classes; one of the first features of each tells its class apart as far as `signal` goes. The features
/// have very different sizes.
fn classes(rows: usize, classes: usize, signal: f32, seed: u32) -> Examples {
    let mut vectors = noise(seed, rows * WIDTH);
    let answers: Vec<u32> = (0..rows).map(|row| (row % classes) as u32).collect();
    for (row, class) in answers.iter().enumerate() {
        vectors[row * WIDTH + *class as usize] += signal;
        for feature in 0..WIDTH {
            vectors[row * WIDTH + feature] *= 10.0_f32.powi(feature as i32 % 4 - 2);
        }
    }
    Examples::new(WIDTH, classes, vectors, Answers::Classes(answers)).unwrap()
}

fn fitted(train: &Examples, validation: Option<&Examples>, settings: &Settings) -> Fitted {
    fit(train, validation, settings, &Unwatched).unwrap()
}

#[test]
fn few_noisy_rows_are_held_back_more_than_many_clear_ones() {
    let noisy = fitted(&classes(30, 3, 0.3, 1), None, &Settings::default());
    let clear = fitted(&classes(600, 3, 3.0, 2), None, &Settings::default());
    assert!(noisy.strength > clear.strength, "{} {}", noisy.strength, clear.strength);
    assert!(clear.held_out_loss.unwrap() < 0.1, "{:?}", clear.held_out_loss);
    assert_eq!((noisy.folds, clear.converged), (5, true));
}

#[test]
fn validation_rows_decide_where_they_are_given() {
    let (train, validation) = (classes(90, 3, 0.8, 1), classes(300, 3, 0.8, 2));
    let chosen = fitted(&train, Some(&validation), &Settings::default());
    assert_eq!(chosen.folds, 0);
    for strength in [chosen.strength * 10.0, chosen.strength / 10.0] {
        let other = Settings { strengths: vec![strength], ..Settings::default() };
        let other = fitted(&train, Some(&validation), &other);
        assert!(other.held_out_loss >= chosen.held_out_loss, "{strength}: {other:?} {chosen:?}");
    }
}

#[test]
fn the_same_settings_give_the_same_bits_and_another_seed_other_folds() {
    let train = classes(60, 3, 0.5, 3);
    let settings = Settings { temperature: true, ..Settings::default() };
    let one = fitted(&train, None, &settings);
    assert_eq!(one, fitted(&train, None, &settings));
    let other = fitted(&train, None, &Settings { seed: 1, ..settings });
    assert_ne!(one.held_out_loss.unwrap().to_bits(), other.held_out_loss.unwrap().to_bits());
}

#[test]
fn features_of_any_size_are_learnt_alike() {
    let train = classes(200, 3, 1.0, 4);
    let strengths = vec![0.01];
    let scaled = fitted(&train, Some(&train), &Settings { strengths: strengths.clone(), ..Settings::default() });
    let plain = fitted(&train, Some(&train), &Settings { strengths, standardise: false, ..Settings::default() });
    assert!(scaled.held_out_loss < plain.held_out_loss, "{:?} {:?}", scaled.held_out_loss, plain.held_out_loss);
}

#[test]
fn balanced_classes_make_rare_ones_heard() {
    let mut vectors = noise(5, 300 * WIDTH);
    let answers: Vec<u32> = (0..300).map(|row| u32::from(row % 15 == 0)).collect();
    answers.iter().enumerate().for_each(|(row, class)| vectors[row * WIDTH] += *class as f32);
    let train = Examples::new(WIDTH, 2, vectors, Answers::Classes(answers.clone())).unwrap();
    let recall = |balanced| {
        let settings = Settings { balanced, strengths: vec![0.01], ..Settings::default() };
        let fitted = fitted(&train, None, &settings);
        let logits = |row: usize, output: usize| {
            let weights = &fitted.weight[output * WIDTH..(output + 1) * WIDTH];
            let vector = noise_row(&answers, row);
            weights.iter().zip(vector).map(|(w, x)| w * x).sum::<f32>() + fitted.bias[output]
        };
        (0..300).filter(|row| answers[*row] == 1 && logits(*row, 1) > logits(*row, 0)).count()
    };
    assert!(recall(true) > recall(false) + 5, "{} {}", recall(true), recall(false));
}

fn noise_row(answers: &[u32], row: usize) -> Vec<f32> {
    let mut vector = noise(5, 300 * WIDTH)[row * WIDTH..(row + 1) * WIDTH].to_vec();
    vector[0] += answers[row] as f32;
    vector
}

fn share(of: impl Iterator<Item = bool>) -> f64 {
    let all: Vec<bool> = of.collect();
    all.iter().filter(|yes| **yes).count() as f64 / all.len() as f64
}

fn best(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|one, other| logits[*one].total_cmp(&logits[*other])).unwrap()
}

#[test]
fn every_row_is_answered_once_by_a_layer_that_has_not_learnt_it() {
    // Classes that nothing tells apart: a layer can only know what it has learnt by heart.
    let train = classes(24, 3, 0.0, 9);
    let units = |fitted: &Fitted| fitted.unseen.iter().map(|unseen| unseen.unit).collect::<Vec<_>>();
    let one_strength = || Settings { strengths: vec![1e-5], ..Settings::default() };
    let nothing = fitted(&train, None, &one_strength());
    assert_eq!((units(&nothing), nothing.held_out_loss, nothing.folds), (vec![], None, 0));
    let folds = fitted(&train, None, &Settings { hold_out: true, ..one_strength() });
    assert_eq!((units(&folds), folds.folds), ((0..24).collect(), 5));
    let right = |fitted: &Fitted| share(fitted.unseen.iter().map(|unseen| best(&unseen.logits) == unseen.unit % 3));
    assert!(right(&folds) < 0.6, "{folds:?}");
    let judged = fitted(&train, Some(&train), &one_strength());
    assert_eq!((units(&judged), judged.folds), ((0..24).collect(), 0));
    assert!(right(&judged) > 0.8, "{judged:?}");
}

#[test]
fn labels_numbers_and_questions_of_several_widths_are_learnt() {
    let vectors = noise(6, 240 * WIDTH);
    let feature = |row: usize, at: usize| vectors[row * WIDTH + at];
    let holding = |row| (0..3).filter(|label| feature(row, *label as usize) > 0.2).collect::<Vec<u32>>();
    let labels = Answers::Labels((0..240).map(holding).collect());
    let labels = Examples::new(WIDTH, 3, vectors.clone(), labels).unwrap();
    let of_labels = fitted(&labels, None, &Settings::default());
    let decided = of_labels.unseen.iter().flat_map(|unseen| {
        let holding = holding(unseen.unit);
        (0..3).map(move |label| (unseen.logits[label as usize] > 0.0) == holding.contains(&label))
    });
    assert!(share(decided) > 0.9, "{of_labels:?}");

    let values =
        Answers::Values((0..240).map(|row| f64::from(3.0 * feature(row, 1) - feature(row, 2)) + 7.0).collect());
    let values = Examples::new(WIDTH, 1, vectors.clone(), values).unwrap();
    let of_values = fitted(&values, None, &Settings::default());
    assert!(of_values.held_out_loss.unwrap() < 0.01 && (of_values.bias[0] - 7.0).abs() < 0.01, "{of_values:?}");

    let mut questions = Vec::new();
    let mut start = 0;
    while start + 4 < 240 {
        let choices = 2 + questions.len() % 3;
        let right =
            (start..start + choices).max_by(|one, other| feature(*one, 4).total_cmp(&feature(*other, 4))).unwrap();
        questions.push(Question { choices: choices as u32, right: (right - start) as u32 });
        start += choices;
    }
    let choices =
        Examples::new(WIDTH, 1, vectors[..start * WIDTH].to_vec(), Answers::Choices(questions.clone())).unwrap();
    let of_choices = fitted(&choices, None, &Settings { temperature: true, ..Settings::default() });
    let right = of_choices.unseen.iter().map(|unseen| best(&unseen.logits) == questions[unseen.unit].right as usize);
    assert!(share(right) > 0.85, "{of_choices:?}");
    assert_eq!((of_choices.bias.as_slice(), of_choices.temperature.is_some()), ([0.0].as_slice(), true));
}

/// Ends the fit after so many steps, and remembers them.
struct Impatient {
    steps_left: AtomicUsize,
    seen: Mutex<Vec<Step>>,
}

impl Watch for Impatient {
    fn is_cancelled(&self) -> bool {
        self.steps_left.load(Ordering::SeqCst) == 0
    }

    fn step(&self, step: Step) {
        self.seen.lock().unwrap().push(step);
        let left = self.steps_left.load(Ordering::SeqCst);
        self.steps_left.store(left.saturating_sub(1), Ordering::SeqCst);
    }
}

#[test]
fn a_fit_ends_when_told_and_tells_how_far_it_is() {
    let train = classes(60, 3, 0.5, 7);
    let watched = |steps| {
        let watch = Impatient { steps_left: AtomicUsize::new(steps), seen: Mutex::default() };
        let result = fit(&train, None, &Settings::default(), &watch);
        (result, watch.seen.into_inner().unwrap())
    };
    let (result, seen) = watched(3);
    assert_eq!((result, seen.len()), (Err(FitError::Cancelled), 3));
    let (result, seen) = watched(usize::MAX);
    let iterations = result.unwrap().iterations;
    assert!(seen.contains(&Step::Searching { done: 55, total: 55 }));
    assert_eq!(seen.last(), Some(&Step::Solving { done: iterations, total: 500 }));
}

#[test]
fn what_cannot_be_learnt_is_refused() {
    let one_label = Examples::new(1, 2, vec![0.0, 1.0], Answers::Classes(vec![1, 1])).unwrap();
    let none = Examples::new(1, 2, vec![], Answers::Classes(vec![])).unwrap();
    for (train, words) in [(&one_label, "same label"), (&none, "no rows")] {
        let refused = fit(train, None, &Settings::default(), &Unwatched).unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
    }
    let train = classes(6, 3, 0.5, 8);
    let other = Examples::new(WIDTH, 1, vec![0.0; WIDTH], Answers::Values(vec![0.0])).unwrap();
    assert!(matches!(fit(&train, Some(&other), &Settings::default(), &Unwatched), Err(FitError::Shape(_))));
    let wrong = [
        Settings { strengths: vec![], ..Settings::default() },
        Settings { strengths: vec![0.1, 0.0], ..Settings::default() },
        Settings { folds: 1, ..Settings::default() },
        Settings { max_iterations: 0, ..Settings::default() },
    ];
    for settings in wrong {
        assert!(matches!(fit(&train, None, &settings, &Unwatched), Err(FitError::Setting { .. })), "{settings:?}");
    }
}
