//! Labelled vectors: what a fit learns from, and what it is judged by.

use std::ops::Range;

use crate::error::FitError;

/// One question of a multiple choice: its vectors lie one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// How many choices it has; each is one vector.
    pub choices: u32,
    /// The right one, from 0.
    pub right: u32,
}

/// The right answers, one for each vector, or one for each question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// One class of several: softmax over the outputs.
    Classes(Vec<u32>),
    /// Any number of labels: a sigmoid for each output.
    Labels(Vec<Vec<u32>>),
    /// A number: least squares.
    Values(Vec<f64>),
    /// The right one of several vectors: softmax over a question's vectors, which share one weight.
    Choices(Vec<Question>),
}

/// Vectors and their right answers, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    width: usize,
    outputs: usize,
    vectors: Vec<f32>,
    answers: Answers,
    /// Where each question begins, and where the last ends; empty for other answers.
    starts: Vec<usize>,
}

impl Examples {
    /// `vectors` is row-major `[rows, width]`; `outputs` is how many numbers a head gives for one vector.
    ///
    /// # Errors
    /// [`FitError`] where vectors, answers and outputs do not belong together.
    pub fn new(width: usize, outputs: usize, vectors: Vec<f32>, answers: Answers) -> Result<Self, FitError> {
        let shape = |reason: String| Err(FitError::Shape(reason));
        if width == 0 || !vectors.len().is_multiple_of(width) {
            return shape(format!("{} numbers are no rows of {width}", vectors.len()));
        }
        let rows = vectors.len() / width;
        let mut starts = Vec::new();
        let answered = match &answers {
            Answers::Classes(classes) => classes.len(),
            Answers::Labels(labels) => labels.len(),
            Answers::Values(values) => values.len(),
            Answers::Choices(questions) => {
                let mut end = 0;
                starts.push(end);
                for question in questions {
                    end += question.choices as usize;
                    starts.push(end);
                }
                end
            }
        };
        if answered != rows {
            return shape(format!("{rows} vectors and answers for {answered}"));
        }
        let single = matches!(answers, Answers::Values(_) | Answers::Choices(_));
        if outputs == 0 || (single && outputs != 1) {
            return shape(format!("{outputs} outputs do not suit these answers"));
        }
        if let Some(row) = vectors.chunks_exact(width).position(|row| row.iter().any(|number| !number.is_finite())) {
            return Err(FitError::NotFinite { row });
        }
        check(&answers, outputs)?;
        Ok(Self { width, outputs, vectors, answers, starts })
    }

    /// Numbers of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Numbers that a head gives for one vector.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The right answers.
    #[must_use]
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// The right answers alone.
    #[must_use]
    pub fn into_answers(self) -> Answers {
        self.answers
    }

    /// How many answers there are: vectors, or questions.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.answers {
            Answers::Classes(classes) => classes.len(),
            Answers::Labels(labels) => labels.len(),
            Answers::Values(values) => values.len(),
            Answers::Choices(questions) => questions.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vectors of answer `unit`.
    pub(crate) fn rows_of(&self, unit: usize) -> Range<usize> {
        match self.starts.get(unit..unit + 2) {
            Some(&[start, end]) => start..end,
            _ => unit..unit + 1,
        }
    }

    pub(crate) fn vector(&self, row: usize) -> &[f32] {
        &self.vectors[row * self.width..(row + 1) * self.width]
    }

    /// Whether both have vectors of one width and answers of one sort.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.width == other.width
            && self.outputs == other.outputs
            && std::mem::discriminant(&self.answers) == std::mem::discriminant(&other.answers)
    }
}

fn check(answers: &Answers, outputs: usize) -> Result<(), FitError> {
    let beyond = |found: u32, outputs: usize| found as usize >= outputs;
    match answers {
        Answers::Classes(classes) => match classes.iter().position(|class| beyond(*class, outputs)) {
            Some(row) => Err(FitError::NoSuchAnswer { row, found: classes[row], outputs }),
            None => Ok(()),
        },
        Answers::Labels(labels) => labels.iter().enumerate().try_for_each(|(row, labels)| {
            match labels.iter().find(|label| beyond(**label, outputs)) {
                Some(found) => Err(FitError::NoSuchAnswer { row, found: *found, outputs }),
                None => Ok(()),
            }
        }),
        Answers::Values(values) => match values.iter().position(|value| !value.is_finite()) {
            Some(row) => Err(FitError::NotFinite { row }),
            None => Ok(()),
        },
        Answers::Choices(questions) => questions.iter().enumerate().try_for_each(|(row, question)| {
            let outputs = question.choices as usize;
            if beyond(question.right, outputs) {
                Err(FitError::NoSuchAnswer { row, found: question.right, outputs })
            } else {
                Ok(())
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_do_not_belong_to_the_vectors_are_refused() {
        let refused = |outputs, vectors: Vec<f32>, answers| Examples::new(2, outputs, vectors, answers).unwrap_err();
        assert!(matches!(refused(2, vec![0.0; 3], Answers::Classes(vec![0])), FitError::Shape(_)));
        assert!(matches!(refused(2, vec![0.0; 4], Answers::Classes(vec![0])), FitError::Shape(_)));
        assert!(matches!(refused(2, vec![0.0; 2], Answers::Values(vec![0.0])), FitError::Shape(_)));
        let beyond = FitError::NoSuchAnswer { row: 1, found: 2, outputs: 2 };
        assert_eq!(refused(2, vec![0.0; 4], Answers::Classes(vec![1, 2])), beyond);
        assert_eq!(refused(2, vec![0.0; 4], Answers::Labels(vec![vec![], vec![0, 2]])), beyond);
        let choices = Answers::Choices(vec![Question { choices: 2, right: 2 }]);
        assert_eq!(refused(1, vec![0.0; 4], choices), FitError::NoSuchAnswer { row: 0, found: 2, outputs: 2 });
        assert_eq!(refused(1, vec![0.0, f32::NAN], Answers::Values(vec![0.0])), FitError::NotFinite { row: 0 });
        assert_eq!(refused(1, vec![0.0; 2], Answers::Values(vec![f64::INFINITY])), FitError::NotFinite { row: 0 });
    }

    #[test]
    fn a_question_has_its_own_vectors() {
        let questions = vec![Question { choices: 2, right: 0 }, Question { choices: 3, right: 2 }];
        let examples = Examples::new(1, 1, vec![0.0; 5], Answers::Choices(questions)).unwrap();
        assert_eq!((examples.len(), examples.rows_of(0), examples.rows_of(1)), (2, 0..2, 2..5));
        let classes = Examples::new(1, 1, vec![0.0; 2], Answers::Classes(vec![0, 0])).unwrap();
        assert_eq!(classes.rows_of(1), 1..2);
    }
}
