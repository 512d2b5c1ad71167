//! One input, many tasks: each sequence is read once, each distinct row computed once, each task answered by itself
//! and as soon as its rows are there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::path::{read, until};
use super::{Engine, Timing};
use crate::admission::Permit;
use crate::ask::{Input, Mode, Reading, Truncation};
use crate::error::EngineError;
use crate::head::Head;
use crate::live::ServedHead;
use crate::model::{Row, RowOutput, Scores};
use crate::prediction::Prediction;
use crate::rows::{self, Cost, Sequence};
use crate::task::{Selector, TaskKey};
use crate::tokens::{Cut, Tokens};

mod answering;
mod plan;
mod windows;

use answering::{Answering, Computed, Placed};
use plan::{Plan, PlannedRow, plan};

/// A question to many tasks about one input.
#[derive(Debug, Clone)]
pub struct ManyAsk {
    /// The tasks and which of their versions; answers are numbered in this order.
    pub heads: Vec<(TaskKey, Selector)>,
    /// The input of all of them. Each kind reads the fields that it has a use for.
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
    /// The fields of the input that the head's kind reads.
    pub input: Arc<Input>,
    /// The answer in the head's kind.
    pub prediction: Prediction,
    /// Rows that the head read, those that others read too included.
    pub rows: usize,
    /// Tokens of those rows, special tokens included.
    pub tokens_used: usize,
    /// What was cut: the row's position among those rows, and where.
    pub cuts: Vec<(usize, Cut)>,
    /// As in [`crate::Answered`].
    pub ood_score: Option<f32>,
}

/// What became of one task.
#[derive(Debug)]
pub struct TaskOutcome {
    /// Its place in the ask.
    pub index: usize,
    /// Its answer, or why it has none.
    pub answer: Result<TaskAnswer, EngineError>,
    /// Where its time went; `head` is that of all heads that were applied together with it.
    pub timing: Timing,
}

/// The answers to a question to many tasks.
#[derive(Debug)]
pub struct ManyAnswer {
    /// One a task, in the order of the ask.
    pub tasks: Vec<Result<TaskAnswer, EngineError>>,
    /// Distinct rows behind all of them, and where the time went.
    pub spent: Spent,
}

/// What a question to many tasks took.
#[derive(Debug)]
pub struct Spent {
    /// Distinct rows; of an input that is read in windows, those of each task.
    pub rows: usize,
    /// Where the time went; `head` is that of all heads together.
    pub timing: Timing,
    _permit: Permit,
}

impl Engine {
    /// Answers one input for every task that is named, each by itself: an unknown task, or a field that its kind needs
    /// and the input lacks, are that task's error alone. In shared mode heads of one kind read one row between them.
    ///
    /// # Errors
    /// [`EngineError`], for what concerns all: an input over a limit, load, a deadline, a worker that is down.
    pub async fn classify_many(&self, ask: ManyAsk) -> Result<ManyAnswer, EngineError> {
        let n_tasks = ask.heads.len();
        // Room for every outcome, so that nothing waits for a reader.
        let (outcomes, mut arrived) = mpsc::channel(n_tasks.clamp(1, self.limits().max_tasks.max(1)));
        let spent = self.classify_each(ask, &outcomes).await?;
        drop(outcomes);
        let absent = || Err(EngineError::Internal("a task has no outcome".to_owned()));
        let mut tasks: Vec<_> = (0..n_tasks).map(|_| absent()).collect();
        while let Some(TaskOutcome { index, answer, .. }) = arrived.recv().await {
            if let Some(task) = tasks.get_mut(index) {
                *task = answer;
            }
        }
        Ok(ManyAnswer { tasks, spent })
    }

    /// The same, with each outcome sent as soon as it is known. Ends early where nobody receives them any more; rows
    /// that were not begun then are dropped.
    ///
    /// # Errors
    /// As [`Engine::classify_many`]; some outcomes may have been sent by then.
    pub async fn classify_each(
        &self,
        ask: ManyAsk,
        outcomes: &mpsc::Sender<TaskOutcome>,
    ) -> Result<Spent, EngineError> {
        self.check_up()?;
        let ManyAsk { heads, input, mode, reading } = ask;
        if heads.is_empty() {
            let reason = "at least one task is needed".to_owned();
            return Err(EngineError::InvalidField { field: "tasks".to_owned(), reason });
        }
        let reading = match heads.first() {
            Some((key, _)) => self.on_behalf(reading, &key.tenant),
            None => reading,
        };
        over_limit("tasks", heads.len(), self.limits().max_tasks)?;
        if let Truncation::Windows(_) = reading.truncation {
            return self.classify_each_in_windows(ManyAsk { heads, input, mode, reading }, outcomes).await;
        }
        let bytes = rows::check_sizes_of_one(&input, &self.limits())?;
        let served: Vec<_> = heads.iter().map(|(key, selector)| self.find(key, selector)).collect();
        let Plan { parts, rows, readers } = plan(&input, &served, mode);
        over_limit("rows of all tasks together", rows.len(), self.limits().max_in_flight_rows)?;
        let permit = self.admit(Cost { rows: rows.len(), bytes }, reading)?;
        let mut spent = Spent { rows: rows.len(), timing: Timing::default(), _permit: permit };
        let started = Instant::now();
        let tokenizing = self.with_tokenizer(bytes, reading, move |tokenizer, limit| {
            let read_one =
                |sequence: &Sequence<'_>| read(tokenizer, sequence, limit, reading).map_err(|error| error.of_input(0));
            let read_all = |(input, reader): &(Arc<Input>, Arc<ServedHead>)| -> Vec<_> {
                rows::sequences(input, &reader.head).iter().map(read_one).collect()
            };
            Ok(readers.iter().map(read_all).collect::<Vec<_>>())
        });
        let tokens = tokenizing.await?;
        spent.timing.tokenize = started.elapsed();
        let (mut answering, refused) = Answering::new(parts, rows.len());
        if !deliver(outcomes, refused, &mut spent.timing).await {
            return Ok(spent);
        }
        let (mut ready, rows) = with_tokens(rows, &tokens);
        let (places, rows): (Vec<usize>, Vec<Row>) = rows.into_iter().unzip();
        let row_tokens: Vec<_> = rows.iter().map(|row| Arc::clone(&row.tokens)).collect();
        let (pending, taken) = self.submit(rows, reading)?;
        let mut waiting: Vec<_> = places.into_iter().zip(row_tokens).zip(pending).collect();
        loop {
            // Whatever has come by now is answered together.
            waiting.retain_mut(|((place, tokens), row)| {
                let done = row.done_by_now();
                ready.extend(done.map(|done| (*place, done.map(|done| (Arc::clone(tokens), done)))));
                !row.is_taken()
            });
            if ready.is_empty() {
                if waiting.is_empty() {
                    return Ok(spent);
                }
                let ((place, tokens), row) = waiting.remove(0);
                let done = until(reading.deadline, &taken, async { Ok(row.done().await) }).await?;
                ready.push((place, done.map(|done| (tokens, done))));
                continue;
            }
            let started = Instant::now();
            let answers;
            (answering, answers) = self.answer_rows(answering, std::mem::take(&mut ready)).await?;
            if !deliver(outcomes, timed(answers, started.elapsed()), &mut spent.timing).await {
                return Ok(spent);
            }
        }
    }

    /// The scores of many heads on one row's output, each as [`crate::score`] gives it, in order. What is live is read
    /// from one matrix, which is made anew after a change of what is live.
    #[must_use]
    pub fn score_all(&self, heads: &[Arc<Head>], output: &RowOutput) -> Vec<Result<Scores, EngineError>> {
        let heads: Vec<&Arc<Head>> = heads.iter().collect();
        self.matrix.of(&self.live).score_all(&heads, output)
    }

    /// Applies to each of `rows` the heads that read it.
    async fn answer_rows(
        &self,
        mut answering: Answering,
        rows: Vec<Placed<Computed>>,
    ) -> Result<(Answering, Vec<TaskOutcome>), EngineError> {
        let products = answering.products(&rows);
        let (live, matrix) = (Arc::clone(&self.live), Arc::clone(&self.matrix));
        self.compute(products, move || {
            // One head a row gains nothing from the matrix, which may have to be made.
            let matrix = answering.some_row_has_many_heads(&rows).then(|| matrix.of(&live));
            let answers = answering.take_rows(rows, matrix.as_deref());
            Ok((answering, answers))
        })
        .await
    }
}

fn over_limit(what: &str, actual: usize, limit: usize) -> Result<(), EngineError> {
    if actual > limit { Err(EngineError::OverLimit { what: what.to_owned(), limit, actual }) } else { Ok(()) }
}

/// The rows that have tokens, by their places, and apart from them those that have none.
fn with_tokens(
    rows: Vec<PlannedRow>,
    tokens: &[Vec<Result<Arc<Tokens>, EngineError>>],
) -> (Vec<Placed<Computed>>, Vec<Placed<Row>>) {
    let (mut refused, mut readable) = (Vec::new(), Vec::new());
    for (place, row) in rows.into_iter().enumerate() {
        let found = tokens.get(row.reader).and_then(|own| own.get(row.place)).cloned();
        match found.unwrap_or_else(|| Err(EngineError::Internal("a row has no sequence".to_owned()))) {
            Ok(tokens) => readable.push((
                place,
                Row { tokens, task_embedding: row.task_embedding, adapter: row.adapter, reads: row.reads },
            )),
            Err(error) => refused.push((place, Err(error))),
        }
    }
    (refused, readable)
}

fn timed(mut outcomes: Vec<TaskOutcome>, head: Duration) -> Vec<TaskOutcome> {
    outcomes.iter_mut().for_each(|outcome| outcome.timing.head = head);
    outcomes
}

/// Sends `outcomes`; false where nobody receives them any more. All of them were made in the same stretch of time.
async fn deliver(outcomes: &mpsc::Sender<TaskOutcome>, made: Vec<TaskOutcome>, total: &mut Timing) -> bool {
    total.head += made.first().map_or(Duration::ZERO, |outcome| outcome.timing.head);
    for mut outcome in made {
        total.queue = total.queue.max(outcome.timing.queue);
        total.encode = total.encode.max(outcome.timing.encode);
        outcome.timing.tokenize = total.tokenize;
        if outcomes.send(outcome).await.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
