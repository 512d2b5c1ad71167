//! How alike two heads, or two vectors, are.

use std::collections::HashSet;

use crate::head::{Head, HeadKind};
use crate::scoring::dot;

/// The most rows of a weight that [`HeadDirections`] compares.
pub const MAX_COMPARED_ROWS: usize = 128;

/// The cosine of two vectors of one length; `None` where one of them is nothing but zeros, or the lengths differ.
#[must_use]
pub fn cosine(left: &[f32], right: &[f32]) -> Option<f64> {
    let lengths = f64::from(dot(left, left)).sqrt() * f64::from(dot(right, right)).sqrt();
    let comparable = left.len() == right.len() && lengths.is_finite() && lengths > 0.0;
    comparable.then(|| (f64::from(dot(left, right)) / lengths).clamp(-1.0, 1.0))
}

/// A head's labels as they are compared: letter case aside, `_` and `-` read as a space.
#[derive(Debug)]
pub struct LabelSet(HashSet<String>);

impl LabelSet {
    /// The labels of `head`.
    #[must_use]
    pub fn of(head: &Head) -> Self {
        Self(head.parts().labels.iter().map(|label| folded(label)).collect())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `label` is among them.
    #[must_use]
    pub fn holds(&self, label: &str) -> bool {
        self.0.contains(&folded(label))
    }

    /// Shared labels over all different labels of both, 0 to 1: the Jaccard index.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        let shared = self.0.intersection(&other.0).count();
        let all = self.0.len() + other.0.len() - shared;
        if all == 0 { 0.0 } else { shared as f64 / all as f64 }
    }
}

fn folded(label: &str) -> String {
    label.chars().map(|c| if c == '_' || c == '-' { ' ' } else { c }).flat_map(char::to_lowercase).collect()
}

/// The directions in which a head reads the encoder's vector, as they are compared: rows that a softmax holds against
/// each other less their mean, the longest [`MAX_COMPARED_ROWS`] of them.
#[derive(Debug)]
pub struct HeadDirections {
    reads_tokens: bool,
    hidden: usize,
    /// Row-major `[rows, hidden]`.
    rows: Vec<f32>,
    /// Frobenius norm of `rows · rowsᵀ`.
    norm: f64,
}

impl HeadDirections {
    /// Those of `head`.
    #[must_use]
    pub fn of(head: &Head) -> Self {
        let hidden = head.hidden();
        let mut rows: Vec<Vec<f32>> = head.parts().weight.chunks_exact(hidden).map(<[f32]>::to_vec).collect();
        if is_softmax_over_rows(head) {
            let n_rows = rows.len() as f32;
            let mean: Vec<f32> =
                (0..hidden).map(|at| rows.iter().filter_map(|row| row.get(at)).sum::<f32>() / n_rows).collect();
            for row in &mut rows {
                row.iter_mut().zip(&mean).for_each(|(number, mean)| *number -= mean);
            }
        }
        if rows.len() > MAX_COMPARED_ROWS {
            // A stable sort: of rows as long as each other the first stay.
            rows.sort_by(|left, right| dot(right, right).total_cmp(&dot(left, left)));
            rows.truncate(MAX_COMPARED_ROWS);
        }
        let rows = rows.concat();
        let norm = product_norm(&rows, &rows, hidden);
        Self { reads_tokens: head.kind().reads_tokens(), hidden, rows, norm }
    }

    /// `sqrt(‖A·Bᵀ‖² / (‖A·Aᵀ‖ ‖B·Bᵀ‖))`, 0 to 1: for heads of one direction each, the absolute value of their cosine.
    /// `None` where the two read different vectors, or one of them reads nothing.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> Option<f64> {
        let comparable = self.reads_tokens == other.reads_tokens && self.hidden == other.hidden;
        let scale = self.norm * other.norm;
        let usable = comparable && scale.is_finite() && scale > 0.0;
        usable.then(|| {
            let crossed = product_norm(&self.rows, &other.rows, self.hidden);
            (crossed * crossed / scale).sqrt().min(1.0)
        })
    }
}

fn is_softmax_over_rows(head: &Head) -> bool {
    match head.kind() {
        HeadKind::Classification | HeadKind::TokenClassification => head.outputs() > 1,
        HeadKind::MultiLabel | HeadKind::Regression | HeadKind::MultipleChoice | HeadKind::Reward => false,
    }
}

/// Frobenius norm of the product of `left` and the transposed `right`, both row-major `[rows, hidden]`.
fn product_norm(left: &[f32], right: &[f32], hidden: usize) -> f64 {
    let squares = left.chunks_exact(hidden).flat_map(|l| {
        right.chunks_exact(hidden).map(move |r| {
            let product = f64::from(dot(l, r));
            product * product
        })
    });
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HeadParts;

    fn head(kind: HeadKind, labels: &[&str], rows: &[[f32; 3]]) -> Head {
        let parts = HeadParts {
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            weight: rows.concat().into(),
            bias: vec![0.0; rows.len()].into(),
            ..HeadParts::default()
        };
        Head::new(kind, 3, parts).unwrap()
    }

    fn similarity(left: &Head, right: &Head) -> Option<f64> {
        HeadDirections::of(left).similarity(&HeadDirections::of(right))
    }

    fn near(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-6)
    }

    #[test]
    fn a_cosine_needs_two_directions() {
        assert!(near(cosine(&[1.0, 0.0], &[1.0, 1.0]), 0.5_f64.sqrt()));
        assert!(near(cosine(&[1.0, 2.0], &[-2.0, -4.0]), -1.0));
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), None);
    }

    #[test]
    fn labels_are_compared_without_case_and_separators() {
        let labels =
            |labels: &[&str]| LabelSet::of(&head(HeadKind::MultiLabel, labels, &vec![[1.0, 0.0, 0.0]; labels.len()]));
        let (left, right) = (labels(&["Not_Spam", "spam", "Other"]), labels(&["not spam", "SPAM"]));
        assert!((left.similarity(&right) - 2.0 / 3.0).abs() < 1e-12);
        assert!(right.holds("not-spam") && !right.holds("other"));
    }

    #[test]
    fn heads_of_one_direction_are_as_alike_as_their_cosine_whatever_its_sign() {
        let number = |row| head(HeadKind::Regression, &[], &[row]);
        let (a, b) = (number([1.0, 0.0, 0.0]), number([-1.0, 1.0, 0.0]));
        assert!(near(similarity(&a, &b), 0.5_f64.sqrt()));
        assert!(near(similarity(&a, &number([0.0, 0.0, 2.0])), 0.0));
        assert_eq!(similarity(&a, &number([0.0; 3])), None);
    }

    #[test]
    fn neither_the_order_of_labels_nor_what_they_share_counts() {
        let kind = HeadKind::Classification;
        let one = head(kind, &["a", "b", "c"], &[[1.0, 2.0, 0.0], [0.0, -1.0, 3.0], [2.0, 0.0, 1.0]]);
        let moved = head(kind, &["a", "b", "c"], &[[7.0, 2.0, -1.0], [6.0, 4.0, -2.0], [5.0, 1.0, 1.0]]);
        assert!(near(similarity(&one, &moved), 1.0), "{:?}", similarity(&one, &moved));
        let two = head(kind, &["no", "yes"], &[[0.0, 0.0, 0.0], [0.0, 4.0, 0.0]]);
        assert!(near(similarity(&two, &head(HeadKind::Regression, &[], &[[0.0, 1.0, 0.0]])), 1.0));
    }

    #[test]
    fn heads_on_tokens_and_heads_on_the_pooled_vector_are_not_compared() {
        let rows = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let (pooled, tokens) = (HeadKind::Classification, HeadKind::TokenClassification);
        assert_eq!(similarity(&head(pooled, &[], &rows), &head(tokens, &[], &rows)), None);
    }

    #[test]
    fn of_very_many_rows_the_longest_count() {
        let mut rows = vec![[0.0, 1.0, 0.0]; MAX_COMPARED_ROWS];
        rows.extend([[0.5, 0.0, 0.0]; 40]);
        let many = head(HeadKind::MultiLabel, &[], &rows);
        assert!(near(similarity(&many, &head(HeadKind::Regression, &[], &[[0.0, 3.0, 0.0]])), 1.0));
    }
}
