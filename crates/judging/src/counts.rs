//! How often a label was answered, was due, and was both; and the figures that follow.

use crate::sheet::LabelFigures;

/// Counts of one label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) right: u64,
    pub(crate) answered: u64,
    pub(crate) due: u64,
}

impl Count {
    pub(crate) fn precision(self) -> f64 {
        share(self.right, self.answered)
    }

    pub(crate) fn recall(self) -> f64 {
        share(self.right, self.due)
    }

    pub(crate) fn f1(self) -> f64 {
        share(2 * self.right, self.answered + self.due)
    }

    /// Whether the label occurs at all, as answer or as truth.
    pub(crate) fn occurs(self) -> bool {
        self.answered + self.due > 0
    }

    /// Counts `other` so many times more.
    pub(crate) fn add(&mut self, other: Self, times: u32) {
        let times = u64::from(times);
        self.right += other.right * times;
        self.answered += other.answered * times;
        self.due += other.due * times;
    }

    pub(crate) fn figures(self, label: &str) -> LabelFigures {
        LabelFigures {
            label: label.to_owned(),
            support: self.due,
            precision: self.precision(),
            recall: self.recall(),
            f1: self.f1(),
        }
    }
}

/// `part` of `whole`; 0 of nothing.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// F1 of all labels taken together.
pub(crate) fn micro_f1(counts: &[Count]) -> f64 {
    let mut all = Count::default();
    counts.iter().for_each(|count| all.add(*count, 1));
    all.f1()
}

/// Mean F1 of the labels, each counting the same; 0 of none.
pub(crate) fn macro_f1(counts: impl Iterator<Item = Count>) -> f64 {
    let (sum, n_labels) = counts.fold((0.0, 0_u32), |(sum, n), count| (sum + count.f1(), n + 1));
    if n_labels == 0 { 0.0 } else { sum / f64::from(n_labels) }
}

/// Mean F1 of the labels, each counting as often as it is due.
pub(crate) fn weighted_f1(counts: &[Count]) -> f64 {
    let due: u64 = counts.iter().map(|count| count.due).sum();
    let sum: f64 = counts.iter().map(|count| count.f1() * count.due as f64).sum();
    if due == 0 { 0.0 } else { sum / due as f64 }
}
