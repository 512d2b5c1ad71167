//! Rows as they come, applied to the heads that read them; a task is answered with the last of its rows.

use std::sync::Arc;

use super::super::Timing;
use super::plan::Part;
use super::{TaskAnswer, TaskOutcome};
use crate::batcher::Done;
use crate::error::EngineError;
use crate::head::Head;
use crate::head_matrix::HeadMatrix;
use crate::model::{RowOutput, Scores};
use crate::ood;
use crate::prediction::predict;
use crate::scoring::{products, score};
use crate::tokens::Tokens;

/// A row's tokens and what became of it.
pub(super) type Computed = Result<(Arc<Tokens>, Done), EngineError>;

/// Something of a row, with the row's place in the plan.
pub(super) type Placed<T> = (usize, T);

/// The tasks that are not answered yet, and what they have so far.
pub(super) struct Answering {
    /// By the task's place in the ask; `None` once its outcome is known.
    tasks: Vec<Option<OpenTask>>,
    /// For each row, the tasks that read it and which of their rows it is.
    readers: Vec<Vec<(usize, usize)>>,
}

/// A task with rows outstanding.
struct OpenTask {
    part: Part,
    rows: Vec<Option<Read>>,
    missing: usize,
    timing: Timing,
}

/// A row as a head has read it.
struct Read {
    tokens: Arc<Tokens>,
    scores: Scores,
    output: RowOutput,
}

impl Answering {
    /// The tasks of `parts`, which read `n_rows` rows between them; and the outcomes of those that cannot be asked.
    pub(super) fn new(parts: Vec<Result<Part, EngineError>>, n_rows: usize) -> (Self, Vec<TaskOutcome>) {
        let mut answering = Self { tasks: Vec::with_capacity(parts.len()), readers: vec![Vec::new(); n_rows] };
        let mut refused = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            let part = match part {
                Ok(part) => part,
                Err(error) => {
                    answering.tasks.push(None);
                    refused.push(TaskOutcome { index, answer: Err(error), timing: Timing::default() });
                    continue;
                }
            };
            for (position, row) in part.rows.iter().enumerate() {
                answering.readers[*row].push((index, position));
            }
            let missing = part.rows.len();
            let rows = part.rows.iter().map(|_| None).collect();
            answering.tasks.push(Some(OpenTask { part, rows, missing, timing: Timing::default() }));
        }
        (answering, refused)
    }

    /// Products of numbers that answering `rows` costs.
    pub(super) fn products(&self, rows: &[Placed<Computed>]) -> usize {
        let of_row = |(row, computed): &Placed<Computed>| {
            let n_tokens = computed.as_ref().map_or(0, |(tokens, _)| tokens.len());
            self.heads(*row).iter().map(|head| products(head, n_tokens)).sum::<usize>()
        };
        rows.iter().map(of_row).sum()
    }

    pub(super) fn some_row_has_many_heads(&self, rows: &[Placed<Computed>]) -> bool {
        rows.iter().any(|(row, _)| self.readers[*row].len() > 1)
    }

    /// Applies to each row the heads that read it, from `matrix` where there is one. Returns the outcomes that this
    /// settles.
    pub(super) fn take_rows(&mut self, rows: Vec<Placed<Computed>>, matrix: Option<&HeadMatrix>) -> Vec<TaskOutcome> {
        let mut outcomes = Vec::new();
        for (row, computed) in rows {
            let readers = std::mem::take(&mut self.readers[row]);
            let readers: Vec<_> = readers.into_iter().filter(|(task, _)| self.tasks[*task].is_some()).collect();
            match computed {
                Err(error) => outcomes.extend(readers.iter().filter_map(|(task, _)| self.fail(*task, &error))),
                Ok((tokens, done)) => {
                    let heads: Vec<_> = readers.iter().filter_map(|(task, _)| self.head(*task)).collect();
                    let scores = match matrix {
                        Some(matrix) => matrix.score_all(&heads, &done.output),
                        None => heads.iter().map(|head| score(head, &done.output)).collect(),
                    };
                    for ((task, position), scores) in readers.into_iter().zip(scores) {
                        outcomes.extend(self.read(task, position, scores.map(|scores| (&tokens, &done, scores))));
                    }
                }
            }
        }
        outcomes
    }

    fn head(&self, task: usize) -> Option<&Arc<Head>> {
        self.tasks[task].as_ref().map(|open| &open.part.served.head)
    }

    fn heads(&self, row: usize) -> Vec<&Arc<Head>> {
        self.readers[row].iter().filter_map(|(task, _)| self.head(*task)).collect()
    }

    fn fail(&mut self, task: usize, error: &EngineError) -> Option<TaskOutcome> {
        let open = self.tasks[task].take()?;
        Some(TaskOutcome { index: task, answer: Err(error.clone()), timing: open.timing })
    }

    /// Notes what a task's head made of a row; the outcome, if that was the last one.
    fn read(
        &mut self,
        task: usize,
        position: usize,
        row: Result<(&Arc<Tokens>, &Done, Scores), EngineError>,
    ) -> Option<TaskOutcome> {
        let (tokens, done, scores) = match row {
            Ok(row) => row,
            Err(error) => return self.fail(task, &error),
        };
        let open = self.tasks[task].as_mut()?;
        open.timing.queue = open.timing.queue.max(done.queued);
        open.timing.encode = open.timing.encode.max(done.encoded);
        open.rows[position] = Some(Read { tokens: Arc::clone(tokens), scores, output: done.output.clone() });
        open.missing -= 1;
        if open.missing > 0 {
            return None;
        }
        let OpenTask { part, rows, timing, .. } = self.tasks[task].take()?;
        Some(TaskOutcome { index: task, answer: Ok(answer(part, rows)), timing })
    }
}

/// The answer of a task whose rows are all there.
fn answer(part: Part, rows: Vec<Option<Read>>) -> TaskAnswer {
    let Part { served, mode, input, .. } = part;
    let rows: Vec<Read> = rows.into_iter().flatten().collect();
    let outputs: Vec<RowOutput> = rows.iter().map(|row| row.output.clone()).collect();
    let rows: Vec<_> = rows.into_iter().map(|row| (row.tokens, row.scores)).collect();
    TaskAnswer {
        ood_score: ood::score_of_rows(&served.head, mode, outputs.iter()),
        prediction: predict(&served.head, &input, &rows),
        rows: rows.len(),
        tokens_used: rows.iter().map(|(tokens, _)| tokens.len()).sum(),
        cuts: rows.iter().enumerate().filter_map(|(row, (tokens, _))| Some((row, tokens.cut?))).collect(),
        served,
        mode,
        input,
    }
}
