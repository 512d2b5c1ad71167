//! Regression: numbers beside numbers.

use crate::sheet::{Figure, Sheet, figure, weighted_mean};

const FIGURES: [Figure; 4] =
    [figure("pearson"), figure("spearman"), figure("mean_absolute_error"), figure("root_mean_squared_error")];

/// Answers of a regression.
#[derive(Debug, Clone)]
pub struct NumberSheet {
    due: Vec<f64>,
    answered: Vec<f64>,
    absolute_errors: Vec<f64>,
    squared_errors: Vec<f64>,
    /// Places of the rows by rising number.
    due_order: Vec<usize>,
    answered_order: Vec<usize>,
}

impl NumberSheet {
    /// The right numbers and the answers, row by row.
    #[must_use]
    pub fn new(rows: &[(f64, f64)]) -> Self {
        let (due, answered): (Vec<f64>, Vec<f64>) = rows.iter().copied().unzip();
        let errors = || rows.iter().map(|(due, answered)| answered - due);
        let absolute_errors = errors().map(f64::abs).collect();
        let squared_errors = errors().map(|error| error * error).collect();
        let (due_order, answered_order) = (order(&due), order(&answered));
        Self { due, answered, absolute_errors, squared_errors, due_order, answered_order }
    }
}

impl Sheet for NumberSheet {
    fn rows(&self) -> usize {
        self.due.len()
    }

    fn names(&self) -> &[Figure] {
        &FIGURES
    }

    fn figures(&self, weights: &[u32]) -> Vec<Option<f64>> {
        let due_ranks = ranks(&self.due, &self.due_order, weights);
        let answered_ranks = ranks(&self.answered, &self.answered_order, weights);
        vec![
            pearson(&self.due, &self.answered, weights),
            pearson(&due_ranks, &answered_ranks, weights),
            weighted_mean(&self.absolute_errors, weights),
            weighted_mean(&self.squared_errors, weights).map(f64::sqrt),
        ]
    }

    fn right(&self) -> Option<Vec<bool>> {
        None
    }
}

fn order(numbers: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
    order
}

/// The rank of every row when row `i` occurs `weights[i]` times; equal numbers share the mean of their ranks.
fn ranks(numbers: &[f64], order: &[usize], weights: &[u32]) -> Vec<f64> {
    let mut ranks = vec![0.0; numbers.len()];
    let mut before = 0.0;
    for equal in order.chunk_by(|a, b| numbers[*a] == numbers[*b]) {
        let n_equal: f64 = equal.iter().map(|row| f64::from(weights[*row])).sum();
        for row in equal {
            ranks[*row] = before + (n_equal + 1.0) / 2.0;
        }
        before += n_equal;
    }
    ranks
}

/// Correlation; `None` where either side is constant.
fn pearson(a: &[f64], b: &[f64], weights: &[u32]) -> Option<f64> {
    let (mean_a, mean_b) = (weighted_mean(a, weights)?, weighted_mean(b, weights)?);
    let (mut of_a, mut of_b, mut together) = (0.0, 0.0, 0.0);
    for ((a, b), weight) in a.iter().zip(b).zip(weights) {
        let (a, b, weight) = (a - mean_a, b - mean_b, f64::from(*weight));
        of_a += weight * a * a;
        of_b += weight * b * b;
        together += weight * a * b;
    }
    let spread = (of_a * of_b).sqrt();
    (spread > 0.0).then(|| (together / spread).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_drawn_twice_ranks_as_two_rows() {
        let numbers = [3.0, 1.0, 3.0, 2.0];
        let drawn: Vec<f64> = [3.0, 3.0, 1.0, 3.0].to_vec();
        let weighted = ranks(&numbers, &order(&numbers), &[2, 1, 1, 0]);
        let plain = ranks(&drawn, &order(&drawn), &[1; 4]);
        assert_eq!((weighted[0], weighted[1], weighted[2]), (plain[0], plain[2], plain[3]));
    }

    #[test]
    fn a_constant_correlates_with_nothing() {
        let sheet = NumberSheet::new(&[(1.0, 2.0), (2.0, 2.0)]);
        assert_eq!(sheet.plain()[..2], [None, None]);
        assert_eq!(sheet.plain()[2], Some(0.5));
    }
}
