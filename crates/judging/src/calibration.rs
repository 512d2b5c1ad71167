//! Probabilities held against truth, in bins of equal width (Guo et al. 2017).

use crate::counts::share;

/// Bins from 0 to 1; a bin holds its upper end and not its lower one.
pub const BINS: usize = 15;

/// One bin of a calibration curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Answers whose probability lies in it.
    pub answers: u64,
    /// Their mean probability; 0 of none.
    pub mean_score: f64,
    /// The share of them that is right; 0 of none.
    pub accuracy: f64,
}

/// What one row adds to one bin.
#[derive(Debug, Clone, Copy)]
struct Tally {
    row: usize,
    bin: usize,
    answers: u32,
    right: u32,
    score: f64,
}

/// The probabilities of all rows; rows come in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calibration {
    tallies: Vec<Tally>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    answers: u64,
    right: u64,
    score: f64,
}

impl Calibration {
    /// Adds an answer of `row` with this probability.
    pub(crate) fn add(&mut self, row: usize, score: f64, right: bool) {
        let bin = ((score * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let of_row = self.tallies.iter_mut().rev().take_while(|tally| tally.row == row);
        match of_row.into_iter().find(|tally| tally.bin == bin) {
            Some(tally) => {
                tally.answers += 1;
                tally.right += u32::from(right);
                tally.score += score;
            }
            None => self.tallies.push(Tally { row, bin, answers: 1, right: u32::from(right), score }),
        }
    }

    /// Expected calibration error: the mean distance of probability and accuracy over the bins, by their answers.
    pub(crate) fn error(&self, weights: &[u32]) -> Option<f64> {
        let sums = self.sums(|row| weights.get(row).copied().unwrap_or(0));
        let answers: u64 = sums.iter().map(|sum| sum.answers).sum();
        let distance: f64 = sums.iter().map(|sum| (sum.score - sum.right as f64).abs()).sum();
        (answers > 0).then(|| distance / answers as f64)
    }

    pub(crate) fn bins(&self) -> Vec<Bin> {
        let bin = |(place, sum): (usize, Sum)| Bin {
            low: place as f64 / BINS as f64,
            high: (place + 1) as f64 / BINS as f64,
            answers: sum.answers,
            mean_score: if sum.answers == 0 { 0.0 } else { sum.score / sum.answers as f64 },
            accuracy: share(sum.right, sum.answers),
        };
        self.sums(|_| 1).into_iter().enumerate().map(bin).collect()
    }

    fn sums(&self, weight: impl Fn(usize) -> u32) -> [Sum; BINS] {
        let mut sums = [Sum::default(); BINS];
        for tally in &self.tallies {
            let (weight, sum) = (weight(tally.row), &mut sums[tally.bin]);
            sum.answers += u64::from(weight) * u64::from(tally.answers);
            sum.right += u64::from(weight) * u64::from(tally.right);
            sum.score += f64::from(weight) * tally.score;
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_holds_its_upper_end_and_rows_count_as_often_as_they_are_drawn() {
        let mut calibration = Calibration::default();
        for (row, (score, right)) in [(0.0, false), (1.0, true), (0.8, false), (0.75, true)].into_iter().enumerate() {
            calibration.add(row, score, right);
        }
        let bins = calibration.bins();
        let filled: Vec<_> =
            bins.iter().enumerate().filter(|(_, bin)| bin.answers > 0).map(|(place, _)| place).collect();
        assert_eq!(filled, [0, 11, 14]);
        // 0.8 and 0.75 share a bin: |1.55 − 1| of four answers; without the third row |0.75 − 1| of three.
        assert!((calibration.error(&[1; 4]).unwrap() - 0.55 / 4.0).abs() < 1e-12);
        assert!((calibration.error(&[1, 1, 0, 1]).unwrap() - 0.25 / 3.0).abs() < 1e-12);
        assert_eq!(calibration.error(&[0; 4]), None);
    }
}
