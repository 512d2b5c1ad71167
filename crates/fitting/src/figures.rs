//! What people want to know of a layer on rows held out: a few figures for each sort of answer.

use std::collections::BTreeMap;

use crate::examples::{Answers, Examples};

/// Figures by name.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// Counts answers as they come.
pub(crate) struct Tally<'a> {
    examples: &'a Examples,
    units: usize,
    right: usize,
    /// Labels that were given and hold, given and do not hold, not given and hold.
    labels: [usize; 3],
    /// The right number and the one given.
    numbers: Vec<(f64, f64)>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(examples: &'a Examples) -> Self {
        Self { examples, units: 0, right: 0, labels: [0; 3], numbers: Vec::new() }
    }

    /// Counts `units`, whose logits are rows of `stride` numbers.
    pub(crate) fn count(&mut self, units: &[usize], logits: &[f64], stride: usize) {
        let mut rows = logits.chunks_exact(stride).map(|row| &row[..self.examples.outputs()]);
        for unit in units {
            self.units += 1;
            match self.examples.answers() {
                Answers::Classes(classes) => {
                    let best = best(rows.next().unwrap_or_default().iter().copied());
                    self.right += usize::from(best == classes[*unit] as usize);
                }
                Answers::Labels(labels) => {
                    let mut exact = true;
                    for (label, logit) in rows.next().unwrap_or_default().iter().enumerate() {
                        let holds = labels[*unit].contains(&(label as u32));
                        match (*logit >= 0.0, holds) {
                            (true, true) => self.labels[0] += 1,
                            (true, false) => self.labels[1] += 1,
                            (false, true) => self.labels[2] += 1,
                            (false, false) => {}
                        }
                        exact &= (*logit >= 0.0) == holds;
                    }
                    self.right += usize::from(exact);
                }
                Answers::Values(values) => {
                    let given = rows.next().and_then(|row| row.first()).copied().unwrap_or_default();
                    self.numbers.push((values[*unit], given));
                }
                Answers::Choices(questions) => {
                    let choices = rows.by_ref().take(questions[*unit].choices as usize);
                    let best = best(choices.map(|row| row[0]));
                    self.right += usize::from(best == questions[*unit].right as usize);
                }
            }
        }
    }

    /// The figures of everything counted.
    pub(crate) fn figures(&self) -> Figures {
        let share = self.right as f64 / self.units.max(1) as f64;
        match self.examples.answers() {
            Answers::Classes(_) | Answers::Choices(_) => Figures::from([("accuracy", share)]),
            Answers::Labels(_) => {
                let [hits, extra, missed] = self.labels.map(|count| count as f64);
                let due = 2.0 * hits + extra + missed;
                let micro_f1 = if due > 0.0 { 2.0 * hits / due } else { 1.0 };
                Figures::from([("exact_match", share), ("micro_f1", micro_f1)])
            }
            Answers::Values(_) => {
                let mut figures = Figures::from([("mean_squared_error", mean_squared_error(&self.numbers))]);
                figures.extend(pearson(&self.numbers).map(|pearson| ("pearson", pearson)));
                figures.extend(r_squared(&self.numbers).map(|r_squared| ("r_squared", r_squared)));
                figures
            }
        }
    }
}

/// The mean of each figure over several rounds, of the rounds that have it.
pub(crate) fn mean(rounds: &[Figures]) -> Figures {
    let mut sums: BTreeMap<&'static str, (f64, f64)> = BTreeMap::new();
    for (name, figure) in rounds.iter().flatten() {
        let (sum, count) = sums.entry(name).or_default();
        *sum += figure;
        *count += 1.0;
    }
    sums.into_iter().map(|(name, (sum, count))| (name, sum / count)).collect()
}

/// Where the largest number lies; the first of equal ones.
fn best(numbers: impl Iterator<Item = f64>) -> usize {
    let larger = |best: (usize, f64), (at, number): (usize, f64)| if number > best.1 { (at, number) } else { best };
    numbers.enumerate().fold((0, f64::NEG_INFINITY), larger).0
}

fn mean_squared_error(numbers: &[(f64, f64)]) -> f64 {
    numbers.iter().map(|(right, given)| (right - given).powi(2)).sum::<f64>() / numbers.len().max(1) as f64
}

/// Correlation; `None` where either side does not vary.
fn pearson(numbers: &[(f64, f64)]) -> Option<f64> {
    let n = numbers.len().max(1) as f64;
    let mean = |side: fn(&(f64, f64)) -> f64| numbers.iter().map(side).sum::<f64>() / n;
    let (one, other) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |product: &dyn Fn(f64, f64) -> f64| numbers.iter().map(|(x, y)| product(x - one, y - other)).sum::<f64>();
    let variation = (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt();
    (variation > 0.0).then(|| sum(&|x, y| x * y) / variation)
}

/// Share of the variation that is explained; `None` where there is none.
fn r_squared(numbers: &[(f64, f64)]) -> Option<f64> {
    let mean = numbers.iter().map(|(right, _)| right).sum::<f64>() / numbers.len().max(1) as f64;
    let variation: f64 = numbers.iter().map(|(right, _)| (right - mean).powi(2)).sum();
    let missed: f64 = numbers.iter().map(|(right, given)| (right - given).powi(2)).sum();
    (variation > 0.0).then(|| 1.0 - missed / variation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::Question;

    fn tallied(rows: usize, outputs: usize, answers: Answers, logits: &[f64], stride: usize) -> Figures {
        let examples = Examples::new(1, outputs, vec![0.0; rows], answers).unwrap();
        let units: Vec<usize> = (0..examples.len()).collect();
        let mut tally = Tally::new(&examples);
        tally.count(&units, logits, stride);
        tally.figures()
    }

    #[test]
    fn padding_is_no_answer() {
        let classes = Answers::Classes(vec![0, 1, 1]);
        let figures = tallied(3, 2, classes, &[2., 1., 9., 9., -2., -1., 0., 0., 3., 1., 0., 0.], 4);
        assert_eq!(figures, Figures::from([("accuracy", 2.0 / 3.0)]));
    }

    #[test]
    fn labels_count_one_by_one_and_together() {
        let labels = Answers::Labels(vec![vec![0], vec![1], vec![]]);
        let figures = tallied(3, 2, labels, &[1., -1., 1., -1., -1., -1.], 2);
        assert_eq!(figures, Figures::from([("exact_match", 2.0 / 3.0), ("micro_f1", 0.5)]));
    }

    #[test]
    fn questions_of_different_widths_keep_their_rows() {
        let questions = vec![Question { choices: 2, right: 1 }, Question { choices: 3, right: 0 }];
        let figures = tallied(5, 1, Answers::Choices(questions), &[0., 1., 5., 4., 3.], 1);
        assert_eq!(figures["accuracy"], 1.0);
    }

    #[test]
    fn numbers_are_held_against_the_right_ones() {
        let values = Answers::Values(vec![1.0, 2.0, 3.0]);
        let figures = tallied(3, 1, values, &[2.0, 4.0, 6.0], 1);
        assert!((figures["pearson"] - 1.0).abs() < 1e-12);
        assert!((figures["mean_squared_error"] - 14.0 / 3.0).abs() < 1e-12);
        assert!((figures["r_squared"] - (1.0 - 14.0 / 2.0)).abs() < 1e-12);
        let still = tallied(2, 1, Answers::Values(vec![1.0, 1.0]), &[1.0, 2.0], 1);
        assert_eq!(still.keys().copied().collect::<Vec<_>>(), ["mean_squared_error"]);
    }

    #[test]
    fn a_figure_that_a_round_lacks_is_the_mean_of_the_others() {
        let rounds = [Figures::from([("a", 1.0), ("b", 4.0)]), Figures::from([("a", 3.0)])];
        assert_eq!(mean(&rounds), Figures::from([("a", 2.0), ("b", 4.0)]));
    }
}
