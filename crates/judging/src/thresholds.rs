//! The threshold from which a label holds: where F1 is largest.

use crate::counts::Count;
use crate::softmax::sigmoid;

/// What was fitted for one label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FittedThreshold {
    /// The probability from which the label holds: half-way between the scores that it parts.
    pub threshold: f32,
    /// F1 there.
    pub f1: f64,
}

/// The threshold with the largest F1 over scores and whether the label holds; of equal ones that nearest to 0.5. `None`
/// where the label holds nowhere: every threshold is as good then.
#[must_use]
pub fn fit_threshold(scores: &[(f32, bool)]) -> Option<FittedThreshold> {
    let due = scores.iter().filter(|(_, holds)| *holds).count() as u64;
    if due == 0 {
        return None;
    }
    let mut falling = scores.to_vec();
    falling.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut count = Count { due, ..Count::default() };
    let mut best: Option<FittedThreshold> = None;
    for (place, (score, holds)) in falling.iter().enumerate() {
        count.answered += 1;
        count.right += u64::from(*holds);
        let next = falling.get(place + 1).map_or(0.0, |(next, _)| *next);
        if next == *score && place + 1 < falling.len() {
            continue;
        }
        let candidate = FittedThreshold { threshold: between(next, *score), f1: count.f1() };
        let nearer = |held: &FittedThreshold| (candidate.threshold - 0.5).abs() < (held.threshold - 0.5).abs();
        match &best {
            Some(held) if candidate.f1 < held.f1 || (candidate.f1 == held.f1 && !nearer(held)) => {}
            Some(_) | None => best = Some(candidate),
        }
    }
    best
}

/// Gives each label the threshold with the largest F1 over `rows`: a logit for each label, which is divided by
/// `temperature`, and the labels that hold, rising. Returns the labels that hold in no row; their thresholds stay.
#[must_use]
pub fn fit_thresholds(thresholds: &mut [f32], temperature: f32, rows: &[(&[f32], &[usize])]) -> Vec<usize> {
    let mut without = Vec::new();
    for (label, threshold) in thresholds.iter_mut().enumerate() {
        let score = |(logits, due): &(&[f32], &[usize])| {
            Some((sigmoid(*logits.get(label)?, temperature), due.binary_search(&label).is_ok()))
        };
        match fit_threshold(&rows.iter().filter_map(score).collect::<Vec<_>>()) {
            Some(fitted) => *threshold = fitted.threshold,
            None => without.push(label),
        }
    }
    without
}

/// The threshold that decides, under another temperature, what `threshold` decides under `from`.
#[must_use]
pub fn moved_threshold(threshold: f32, from: f32, to: f32) -> f32 {
    let threshold = f64::from(threshold);
    let logit = (threshold / (1.0 - threshold)).ln() * f64::from(from) / f64::from(to);
    // 0 and 1 are infinitely far out and stay where they are.
    (1.0 / (1.0 + (-logit).exp())) as f32
}

/// A number above `low` and at most `high`, half-way where single precision has room for it.
fn between(low: f32, high: f32) -> f32 {
    let middle = low + (high - low) / 2.0;
    if middle > low { middle } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_parts_the_scores_with_the_largest_f1() {
        let scores = [(0.9, true), (0.8, false), (0.6, true), (0.5, true), (0.2, false), (0.1, false)];
        let fitted = fit_threshold(&scores).unwrap();
        assert!((fitted.threshold - 0.35).abs() < 1e-6 && (fitted.f1 - 6.0 / 7.0).abs() < 1e-12, "{fitted:?}");
    }

    #[test]
    fn equal_scores_are_never_parted_and_a_label_that_never_holds_has_no_threshold() {
        let fitted = fit_threshold(&[(0.5, true), (0.5, false), (0.5, true)]).unwrap();
        assert_eq!((fitted.threshold, fitted.f1), (0.25, 0.8));
        assert_eq!(fit_threshold(&[(0.5, false)]), None);
        let touching = f32::from_bits(0.5_f32.to_bits() + 1);
        let fitted = fit_threshold(&[(touching, true), (0.5, false)]).unwrap();
        assert_eq!(fitted.threshold, touching);
    }

    #[test]
    fn each_label_has_its_own_and_one_that_never_holds_keeps_what_it_has() {
        let rows: [(&[f32], &[usize]); 3] = [(&[2.0, 0.5], &[0]), (&[-1.0, 0.1], &[0]), (&[-4.0, 0.2], &[])];
        let mut thresholds = [0.5, 0.75];
        assert_eq!(fit_thresholds(&mut thresholds, 2.0, &rows), [1]);
        assert_eq!(thresholds[1], 0.75);
        assert!(thresholds[0] > sigmoid(-4.0, 2.0) && thresholds[0] < sigmoid(-1.0, 2.0), "{thresholds:?}");
    }

    #[test]
    fn a_moved_threshold_decides_the_same() {
        for threshold in [0.0_f32, 0.1, 0.35, 0.5, 0.8, 1.0] {
            let moved = moved_threshold(threshold, 1.0, 2.0);
            for logit in [-40.0_f32, -3.0, -0.7, 0.0, 0.3, 1.2, 5.0, 40.0] {
                let decides = |threshold, temperature| crate::sigmoid(logit, temperature) >= threshold;
                assert_eq!(decides(threshold, 1.0), decides(moved, 2.0), "{threshold} at {logit}");
            }
        }
    }
}
