//! Token classification: labels of words, and the entities that they make.

use std::collections::HashSet;

use crate::calibration::{Bin, Calibration};
use crate::counts::{Count, macro_f1, micro_f1, share};
use crate::entities::{Entity, Scheme, Tag, lenient, strict};
use crate::sheet::{Figure, LabelFigures, Sheet, figure, weighted_mean, without_interval};
use crate::softmax::softmax_answer;

const FIGURES: [Figure; 6] = [
    figure("span_f1"),
    figure("span_macro_f1"),
    figure("word_accuracy"),
    figure("log_loss"),
    without_interval("expected_calibration_error"),
    figure("span_f1_strict"),
];

/// The words of one row: the right label of each, and its logits, `None` for a word that was not read.
pub type Words<'a> = &'a [(usize, Option<&'a [f32]>)];

/// Spans of one type in one row.
#[derive(Debug, Clone, Copy)]
struct Tally {
    row: usize,
    kind: usize,
    count: Count,
}

/// Answers of a token classification.
#[derive(Debug, Clone)]
pub struct SpanSheet {
    scheme: Scheme,
    temperature: f32,
    lenient: Vec<Tally>,
    strict: Vec<Tally>,
    /// Words of each row, and those with the right label.
    words: Vec<(u64, u64)>,
    /// Sum of the losses of the words that were read, and their number.
    losses: Vec<f64>,
    read: Vec<u64>,
    calibration: Calibration,
}

impl SpanSheet {
    /// An empty sheet for these labels, whose logits are divided by `temperature`.
    #[must_use]
    pub fn new(labels: &[String], temperature: f32) -> Self {
        Self {
            scheme: Scheme::of_labels(labels),
            temperature,
            lenient: Vec::new(),
            strict: Vec::new(),
            words: Vec::new(),
            losses: Vec::new(),
            read: Vec::new(),
            calibration: Calibration::default(),
        }
    }

    /// Adds a row. A word that was not read counts as answered with no entity.
    pub fn push(&mut self, words: Words<'_>) {
        let row = self.words.len();
        let mut loss = (0.0, 0);
        let mut right = 0;
        let mut answered = Vec::with_capacity(words.len());
        for (due, logits) in words {
            let Some(logits) = logits else {
                answered.push(Tag::OUTSIDE);
                right += u64::from(self.scheme.tag(*due) == Tag::OUTSIDE);
                continue;
            };
            let answer = softmax_answer(logits, self.temperature, *due);
            self.calibration.add(row, answer.score, answer.best == *due);
            loss = (loss.0 + answer.loss, loss.1 + 1);
            right += u64::from(answer.best == *due);
            answered.push(self.scheme.tag(answer.best));
        }
        let due: Vec<Tag> = words.iter().map(|(due, _)| self.scheme.tag(*due)).collect();
        tally(&mut self.lenient, row, &lenient(&due), &lenient(&answered));
        tally(&mut self.strict, row, &strict(&due), &strict(&answered));
        self.words.push((words.len() as u64, right));
        self.losses.push(loss.0);
        self.read.push(loss.1);
    }

    fn counts(&self, tallies: &[Tally], weight: impl Fn(usize) -> u32) -> Vec<Count> {
        let mut counts = vec![Count::default(); self.scheme.kinds.len()];
        for tally in tallies {
            counts[tally.kind].add(tally.count, weight(tally.row));
        }
        counts
    }
}

fn tally(tallies: &mut Vec<Tally>, row: usize, due: &[Entity], answered: &[Entity]) {
    let due_set: HashSet<&Entity> = due.iter().collect();
    let start = tallies.len();
    let mut count = |kind: usize, add: fn(&mut Count)| {
        let known = tallies.iter_mut().skip(start).find(|tally| tally.kind == kind);
        match known {
            Some(tally) => add(&mut tally.count),
            None => {
                let mut count = Count::default();
                add(&mut count);
                tallies.push(Tally { row, kind, count });
            }
        }
    };
    due.iter().for_each(|entity| count(entity.kind, |count| count.due += 1));
    for entity in answered {
        count(entity.kind, |count| count.answered += 1);
        if due_set.contains(entity) {
            count(entity.kind, |count| count.right += 1);
        }
    }
}

impl Sheet for SpanSheet {
    fn rows(&self) -> usize {
        self.words.len()
    }

    fn names(&self) -> &[Figure] {
        if self.scheme.is_iob2 { &FIGURES } else { &FIGURES[..FIGURES.len() - 1] }
    }

    /// The macro average is over entity types that occur as truth or as answer among the rows, as seqeval has it.
    fn figures(&self, weights: &[u32]) -> Vec<Option<f64>> {
        let weight = |row: usize| weights.get(row).copied().unwrap_or(0);
        let counts = self.counts(&self.lenient, weight);
        let weighted = |pairs: &[(u64, u64)], part: fn(&(u64, u64)) -> u64| -> u64 {
            pairs.iter().zip(weights).map(|(pair, weight)| part(pair) * u64::from(*weight)).sum()
        };
        let (words, right) = (weighted(&self.words, |pair| pair.0), weighted(&self.words, |pair| pair.1));
        if words == 0 {
            return vec![None; self.names().len()];
        }
        let read: u64 = self.read.iter().zip(weights).map(|(read, weight)| read * u64::from(*weight)).sum();
        let rows: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let loss =
            weighted_mean(&self.losses, weights).filter(|_| read > 0).map(|mean| mean * rows as f64 / read as f64);
        let mut figures = vec![
            Some(micro_f1(&counts)),
            Some(macro_f1(counts.iter().copied().filter(|count| count.occurs()))),
            Some(share(right, words)),
            loss,
            self.calibration.error(weights),
        ];
        if self.scheme.is_iob2 {
            figures.push(Some(micro_f1(&self.counts(&self.strict, weight))));
        }
        figures
    }

    fn right(&self) -> Option<Vec<bool>> {
        None
    }

    fn labels(&self) -> Vec<LabelFigures> {
        let counts = self.counts(&self.lenient, |_| 1);
        counts.iter().zip(&self.scheme.kinds).map(|(count, kind)| count.figures(kind)).collect()
    }

    fn calibration(&self) -> Vec<Bin> {
        self.calibration.bins()
    }
}
