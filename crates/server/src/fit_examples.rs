//! Vectors and answers of a fit as they come in, within a bound on memory.

use std::sync::Arc;

use engine::{EngineError, HeadKind};
use fitting::{Answers, Examples, FitError, Question, memory_bytes};

use crate::label_book::Labels;
use crate::labelled_rows::Answer;

/// Rows of one use: to learn from, or to judge by.
#[derive(Debug, Default)]
pub(crate) struct Side {
    vectors: Vec<f32>,
    /// One for each row, with the vectors that it has.
    answers: Vec<(Answer, u32)>,
}

/// Everything a fit has received.
#[derive(Debug)]
pub(crate) struct Collected {
    width: usize,
    max_bytes: usize,
    pub(crate) train: Side,
    pub(crate) validation: Side,
}

impl Collected {
    /// Nothing yet: vectors of `width` numbers in at most `max_bytes`.
    pub(crate) fn new(width: usize, max_bytes: usize) -> Self {
        Self { width, max_bytes, train: Side::default(), validation: Side::default() }
    }

    /// Takes a row's vectors.
    ///
    /// # Errors
    /// [`EngineError::OverLimit`] where a fit of so many rows and `outputs` has no room.
    pub(crate) fn take(
        &mut self,
        (answer, is_validation): (Answer, bool),
        vectors: &[Arc<[f32]>],
        (outputs, folds): (usize, usize),
    ) -> Result<(), EngineError> {
        let rows = (self.train.vectors.len() + self.validation.vectors.len()) / self.width + vectors.len();
        let actual = memory_bytes(rows, self.width, outputs.max(1), folds);
        if actual > self.max_bytes {
            let what = format!("rows: the memory of a fit (fit-memory-bytes) at {rows} vectors in bytes");
            return Err(EngineError::OverLimit { what, limit: self.max_bytes, actual });
        }
        let side = if is_validation { &mut self.validation } else { &mut self.train };
        let more = vectors.len() * self.width;
        if side.vectors.capacity() - side.vectors.len() < more {
            // By a quarter, where a vector would double.
            side.vectors.reserve_exact(more.max(side.vectors.len() / 4));
        }
        vectors.iter().for_each(|vector| side.vectors.extend_from_slice(vector));
        side.answers.push((answer, vectors.len() as u32));
        Ok(())
    }
}

impl Side {
    /// Rows, or questions.
    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    /// How many rows hold each label.
    pub(crate) fn label_counts(&self, labels: &Labels) -> Vec<usize> {
        let mut counts = vec![0; labels.outputs];
        let moved = |label: u32| labels.moved.get(label as usize).map(|to| *to as usize);
        for (answer, _) in &self.answers {
            let held: &[u32] = match answer {
                Answer::Class(class) => std::slice::from_ref(class),
                Answer::Labels(labels) => labels,
                Answer::Value(_) | Answer::Choice(_) => &[],
            };
            for label in held {
                if let Some(count) = moved(*label).and_then(|label| counts.get_mut(label)) {
                    *count += 1;
                }
            }
        }
        counts
    }

    /// The rows as examples of a head for `labels`.
    ///
    /// # Errors
    /// [`FitError`], which checked rows do not meet.
    pub(crate) fn into_examples(self, kind: HeadKind, width: usize, labels: &Labels) -> Result<Examples, FitError> {
        let moved = |label: &u32| labels.moved.get(*label as usize).copied().unwrap_or(*label);
        let answers = self.answers.iter();
        let (outputs, answers) = match kind {
            HeadKind::Classification => {
                let class = |(answer, _): &(Answer, u32)| match answer {
                    Answer::Class(class) => Some(moved(class)),
                    Answer::Labels(_) | Answer::Value(_) | Answer::Choice(_) => None,
                };
                (labels.outputs, Answers::Classes(answers.filter_map(class).collect()))
            }
            HeadKind::MultiLabel => {
                let held = |(answer, _): &(Answer, u32)| match answer {
                    Answer::Labels(labels) => Some(labels.iter().map(moved).collect()),
                    Answer::Class(_) | Answer::Value(_) | Answer::Choice(_) => None,
                };
                (labels.outputs, Answers::Labels(answers.filter_map(held).collect()))
            }
            HeadKind::Regression => {
                let value = |(answer, _): &(Answer, u32)| match answer {
                    Answer::Value(value) => Some(*value),
                    Answer::Class(_) | Answer::Labels(_) | Answer::Choice(_) => None,
                };
                (1, Answers::Values(answers.filter_map(value).collect()))
            }
            HeadKind::MultipleChoice | HeadKind::TokenClassification | HeadKind::Reward => {
                let question = |(answer, choices): &(Answer, u32)| match answer {
                    Answer::Choice(right) => Some(Question { choices: *choices, right: *right }),
                    Answer::Class(_) | Answer::Labels(_) | Answer::Value(_) => None,
                };
                (1, Answers::Choices(answers.filter_map(question).collect()))
            }
        };
        Examples::new(width, outputs, self.vectors, answers)
    }
}
