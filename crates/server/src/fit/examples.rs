//! Vectors and answers of a fit as they come in, within a bound on memory.

use std::sync::Arc;

use engine::EngineError;
use fitting::{Answers, Examples, FitError, Question, memory_bytes};

use crate::fit::label_book::Labels;
use crate::fit::labelled_rows::Answer;

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
    /// Bytes that the rows take beside their vectors.
    pub(crate) beside: usize,
    pub(crate) train: Side,
    pub(crate) validation: Side,
}

impl Collected {
    /// Nothing yet: vectors of `width` numbers in at most `max_bytes`.
    pub(crate) fn new(width: usize, max_bytes: usize) -> Self {
        Self { width, max_bytes, beside: 0, train: Side::default(), validation: Side::default() }
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
        let actual = memory_bytes(rows, self.width, outputs.max(1), folds).saturating_add(self.beside);
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
    /// [`FitError`], which checked rows meet only where there is none.
    pub(crate) fn into_examples(self, width: usize, labels: &Labels) -> Result<Examples, FitError> {
        let answers = answers(self.answers.iter().map(|(answer, vectors)| (answer, *vectors)), labels);
        let answers = answers.ok_or_else(|| FitError::TooFew("there are no rows to learn from".to_owned()))?;
        let outputs = match &answers {
            Answers::Classes(_) | Answers::Labels(_) => labels.outputs,
            Answers::Values(_) | Answers::Choices(_) => 1,
        };
        Examples::new(width, outputs, self.vectors, answers)
    }
}

/// Answers, each with the vectors that its row has, with their labels in place; `None` for no rows, or rows of several
/// kinds.
pub(crate) fn answers<'a>(rows: impl Iterator<Item = (&'a Answer, u32)>, labels: &Labels) -> Option<Answers> {
    let moved = |label: &u32| labels.moved.get(*label as usize).copied().unwrap_or(*label);
    let mut rows = rows.peekable();
    match rows.peek()?.0 {
        Answer::Class(_) => {
            let class = |(answer, _): (&Answer, u32)| {
                let Answer::Class(class) = answer else { return None };
                Some(moved(class))
            };
            rows.map(class).collect::<Option<_>>().map(Answers::Classes)
        }
        Answer::Labels(_) => {
            let held = |(answer, _): (&Answer, u32)| {
                let Answer::Labels(held) = answer else { return None };
                Some(held.iter().map(moved).collect())
            };
            rows.map(held).collect::<Option<_>>().map(Answers::Labels)
        }
        Answer::Value(_) => {
            let value = |(answer, _): (&Answer, u32)| {
                let Answer::Value(value) = answer else { return None };
                Some(*value)
            };
            rows.map(value).collect::<Option<_>>().map(Answers::Values)
        }
        Answer::Choice(_) => {
            let question = |(answer, choices): (&Answer, u32)| {
                let Answer::Choice(right) = answer else { return None };
                Some(Question { choices, right: *right })
            };
            rows.map(question).collect::<Option<_>>().map(Answers::Choices)
        }
    }
}
