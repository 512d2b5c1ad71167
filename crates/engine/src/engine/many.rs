//! One input, many tasks: each sequence is read once, each distinct row computed once, each task answered by itself.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::path::read;
use super::{Engine, Timing};
use crate::admission::Permit;
use crate::ask::{Input, Mode, Reading, Truncation};
use crate::batcher::Done;
use crate::error::EngineError;
use crate::head::Head;
use crate::head_matrix::HeadMatrix;
use crate::live::ServedHead;
use crate::model::{Reads, Row, RowOutput, Scores};
use crate::prediction::{Prediction, predict};
use crate::rows::{self, Cost, Sequence};
use crate::task::{Selector, TaskKey};
use crate::tokens::{Cut, Tokens};

mod windows;

/// A question to many tasks about one input.
#[derive(Debug, Clone)]
pub struct ManyAsk {
    /// The tasks and which of their versions; the answers come in the same order.
    pub heads: Vec<(TaskKey, Selector)>,
    /// The input of all of them.
    pub input: Input,
    /// With or without the task embeddings; `None` leaves it to each head. Without, tasks share rows.
    pub mode: Option<Mode>,
    /// How the input is to be read.
    pub reading: Reading,
}

/// The answer of one task among many.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskAnswer {
    /// The version that answered.
    pub served: Arc<ServedHead>,
    /// With or without the task embedding.
    pub mode: Mode,
    /// The answer in the head's kind.
    pub prediction: Prediction,
    /// Rows that the head read, those that others read too included.
    pub rows: usize,
    /// Tokens of those rows, special tokens included.
    pub tokens_used: usize,
    /// What was cut: the row's position among those rows, and where.
    pub cuts: Vec<(usize, Cut)>,
}

/// The answers to a question to many tasks.
#[derive(Debug)]
pub struct ManyAnswer {
    /// The input, given back.
    pub input: Input,
    /// One a task, in the order of the ask.
    pub tasks: Vec<Result<TaskAnswer, EngineError>>,
    /// Distinct rows behind all of them; of an input that is read in windows, those of each task.
    pub rows: usize,
    /// Where the time went; `head` is that of all heads together.
    pub timing: Timing,
    _permit: Permit,
}

/// Which rows answer which tasks.
#[derive(Default)]
struct Plan {
    parts: Vec<Result<Part, EngineError>>,
    rows: Vec<PlannedRow>,
    /// For each list of sequences that some head reads, one such head.
    readers: Vec<Arc<ServedHead>>,
}

/// A task that the input suits.
struct Part {
    served: Arc<ServedHead>,
    mode: Mode,
    /// Places in the plan's rows, in the order in which the head reads them.
    rows: Vec<usize>,
}

/// A row, by where its tokens will be: the sequence at `place` of those that `reader` reads.
struct PlannedRow {
    reader: usize,
    place: usize,
    task_embedding: Option<Arc<[f32]>>,
    reads: Reads,
}

/// A row's tokens and what became of it.
type Computed = Result<(Arc<Tokens>, Done), EngineError>;

impl Engine {
    /// Answers one input for every task that is named, each by itself: an unknown task, or fields that its kind does
    /// not take, are that task's error alone. In shared mode heads of one kind read one row between them.
    ///
    /// # Errors
    /// [`EngineError`], for what concerns all: an input over a limit, load, a deadline, a worker that is down.
    pub async fn classify_many(&self, ask: ManyAsk) -> Result<ManyAnswer, EngineError> {
        self.check_up()?;
        if ask.heads.is_empty() {
            let reason = "at least one task is needed".to_owned();
            return Err(EngineError::InvalidField { field: "tasks".to_owned(), reason });
        }
        if let Truncation::Windows(_) = ask.reading.truncation {
            return self.classify_many_in_windows(ask).await;
        }
        let ManyAsk { heads, input, mode, reading } = ask;
        let bytes = rows::check_sizes_of_one(&input, &self.limits)?;
        let served: Vec<_> = heads.iter().map(|(key, selector)| self.find(key, selector)).collect();
        let Plan { parts, rows, readers } = plan(&input, &served, mode);
        let permit = self.admit(Cost { rows: rows.len(), bytes })?;
        let started = Instant::now();
        let (input, tokens) = self
            .with_tokenizer(bytes, reading, move |tokenizer, limit| {
                let read_one = |sequence: &Sequence<'_>| read(tokenizer, sequence, limit, reading);
                let read_all = |reader: &Arc<ServedHead>| -> Vec<Result<Arc<Tokens>, EngineError>> {
                    rows::sequences(&input, &reader.head).iter().map(read_one).collect()
                };
                let tokens: Vec<_> = readers.iter().map(read_all).collect();
                Ok((input, tokens))
            })
            .await?;
        let mut timing = Timing { tokenize: started.elapsed(), ..Timing::default() };
        let computed = self.compute_rows(rows, &tokens, reading).await?;
        let done = || computed.iter().flatten().map(|(_, done)| done);
        timing.queue = done().map(|done| done.queued).max().unwrap_or_default();
        timing.encode = done().map(|done| done.encoded).max().unwrap_or_default();
        let (live, matrix) = (Arc::clone(&self.live), Arc::clone(&self.matrix));
        let n_rows = computed.len();
        let started = Instant::now();
        let scoring = tokio::task::spawn_blocking(move || {
            let tasks = answer_all(&matrix.of(&live), &input, parts, &computed);
            (input, tasks)
        });
        let lost = |_| EngineError::Internal("a thread that applies heads failed".to_owned());
        let (input, tasks) = scoring.await.map_err(lost)?;
        timing.head = started.elapsed();
        Ok(ManyAnswer { input, tasks, rows: n_rows, timing, _permit: permit })
    }

    /// The scores of many heads on one row's output, each as [`crate::score`] gives it, in order. What is live is read
    /// from one matrix, which is made anew after a change of what is live.
    #[must_use]
    pub fn score_all(&self, heads: &[Arc<Head>], output: &RowOutput) -> Vec<Result<Scores, EngineError>> {
        let heads: Vec<&Arc<Head>> = heads.iter().collect();
        self.matrix.of(&self.live).score_all(&heads, output)
    }

    /// Runs the rows that have tokens, and says of each what became of it.
    async fn compute_rows(
        &self,
        rows: Vec<PlannedRow>,
        tokens: &[Vec<Result<Arc<Tokens>, EngineError>>],
        reading: Reading,
    ) -> Result<Vec<Computed>, EngineError> {
        let absent = || Err(EngineError::Internal("a row has no sequence".to_owned()));
        let tokens_of = |row: &PlannedRow| tokens.get(row.reader).and_then(|own| own.get(row.place)).cloned();
        let tokens: Vec<_> = rows.iter().map(|row| tokens_of(row).unwrap_or_else(absent)).collect();
        let with_tokens = rows.into_iter().zip(&tokens).filter_map(|(row, tokens)| {
            let tokens = Arc::clone(tokens.as_ref().ok()?);
            Some(Row { tokens, task_embedding: row.task_embedding, reads: row.reads })
        });
        let mut done = self.run_each(with_tokens.collect(), reading.deadline).await?.into_iter();
        let mut next = || done.next().unwrap_or_else(|| Err(EngineError::Internal("a row has no reply".to_owned())));
        Ok(tokens.into_iter().map(|tokens| tokens.and_then(|tokens| Ok((tokens, next()?)))).collect())
    }
}

/// Checks the input for each head and gathers the distinct rows. Rows are told apart by the address of their task
/// embedding; those whose embeddings are equal at two addresses become one in the queue.
fn plan(input: &Input, found: &[Result<Arc<ServedHead>, EngineError>], mode: Option<Mode>) -> Plan {
    let mut plan = Plan::default();
    let mut distinct: Vec<Vec<Sequence<'_>>> = Vec::new();
    let mut places: HashMap<(usize, usize, usize), usize> = HashMap::new();
    for found in found {
        let served = match found {
            Ok(served) => served,
            Err(error) => {
                plan.parts.push(Err(error.clone()));
                continue;
            }
        };
        if let Err(error) = rows::check_one(input, &served.head) {
            plan.parts.push(Err(error));
            continue;
        }
        let sequences = rows::sequences(input, &served.head);
        let n_sequences = sequences.len();
        let reader = distinct.iter().position(|known| *known == sequences).unwrap_or(distinct.len());
        if reader == distinct.len() {
            distinct.push(sequences);
            plan.readers.push(Arc::clone(served));
        }
        let mode = rows::mode(mode, &served.head);
        let task_embedding = match mode {
            Mode::Exact => served.head.parts().task_embedding.clone(),
            Mode::Shared => None,
        };
        let address = task_embedding.as_ref().map_or(0, |numbers| numbers.as_ptr() as usize);
        let reads = Reads::of_kind(served.head.kind());
        let rows = (0..n_sequences).map(|place| {
            let row = *places.entry((reader, place, address)).or_insert(plan.rows.len());
            match plan.rows.get_mut(row) {
                Some(known) => known.reads = known.reads.union(reads),
                None => plan.rows.push(PlannedRow { reader, place, task_embedding: task_embedding.clone(), reads }),
            }
            row
        });
        let rows = rows.collect();
        plan.parts.push(Ok(Part { served: Arc::clone(served), mode, rows }));
    }
    plan
}

/// Applies all heads, row by row, and makes of each task's scores its answer.
fn answer_all(
    matrix: &HeadMatrix,
    input: &Input,
    parts: Vec<Result<Part, EngineError>>,
    computed: &[Computed],
) -> Vec<Result<TaskAnswer, EngineError>> {
    // For each row, the heads that read it; the scores of a row stand in the same order.
    let mut heads: Vec<Vec<&Arc<Head>>> = vec![Vec::new(); computed.len()];
    let mut wanted = Vec::with_capacity(parts.len());
    for part in parts.iter().flatten() {
        let place = |row: &usize| {
            let of_row = &mut heads[*row];
            of_row.push(&part.served.head);
            (*row, of_row.len() - 1)
        };
        wanted.push(part.rows.iter().map(place).collect::<Vec<_>>());
    }
    let score_row = |(heads, computed): (Vec<&Arc<Head>>, &Computed)| match computed {
        Ok((_, done)) => matrix.score_all(&heads, &done.output),
        Err(error) => vec![Err(error.clone()); heads.len()],
    };
    let mut scores: Vec<Vec<_>> = heads.into_iter().zip(computed).map(score_row).collect();
    let mut wanted = wanted.into_iter();
    let answer = |part: Result<Part, EngineError>| {
        let part = part?;
        let mut rows = Vec::with_capacity(part.rows.len());
        for (row, place) in wanted.next().unwrap_or_default() {
            let (tokens, _) = computed[row].as_ref().map_err(Clone::clone)?;
            let scores = std::mem::replace(&mut scores[row][place], Err(EngineError::NotFinite))?;
            rows.push((Arc::clone(tokens), scores));
        }
        let tokens_used = rows.iter().map(|(tokens, _)| tokens.len()).sum();
        let cuts = rows.iter().enumerate().filter_map(|(row, (tokens, _))| Some((row, tokens.cut?))).collect();
        let prediction = predict(&part.served.head, input, &rows);
        Ok(TaskAnswer { served: part.served, mode: part.mode, prediction, rows: rows.len(), tokens_used, cuts })
    };
    parts.into_iter().map(answer).collect()
}

#[cfg(test)]
mod tests;
