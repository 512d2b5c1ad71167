//! One task, one or more inputs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::path::read;
use super::{Engine, Timing};
use crate::admission::Permit;
use crate::ask::{Ask, Input, Mode};
use crate::batcher::Done;
use crate::error::EngineError;
use crate::head::Head;
use crate::live::ServedHead;
use crate::model::{Reads, Row};
use crate::prediction::{Prediction, predict};
use crate::rows;
use crate::scoring::{products, score};
use crate::tokens::{Cut, Tokens};

/// The answer to one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The input, given back.
    pub input: Input,
    /// The answer in the head's kind.
    pub prediction: Prediction,
    /// Rows the input became.
    pub rows: usize,
    /// Tokens of all its rows, special tokens included.
    pub tokens_used: usize,
    /// What was cut: the row's position among the input's rows, and where.
    pub cuts: Vec<(usize, Cut)>,
    /// Where the time went.
    pub timing: Timing,
}

/// The answers to an ask, in the order of its inputs.
#[derive(Debug)]
pub struct Answer {
    /// The version that answered, the same for every input.
    pub served: Arc<ServedHead>,
    /// With or without the task embedding.
    pub mode: Mode,
    /// One an input.
    pub inputs: Vec<Answered>,
    _permit: Permit,
}

impl Engine {
    /// Answers every input of `ask` with one version of one head, or none of them.
    ///
    /// # Errors
    /// [`EngineError`], for the first input that has no answer.
    pub async fn classify(&self, ask: Ask) -> Result<Answer, EngineError> {
        self.check_up()?;
        let served = self.find(&ask.key, &ask.selector)?;
        let mode = rows::mode(ask.mode, &served.head);
        let cost = rows::check(&ask, &served.head, &self.limits)?;
        let permit =
            self.admission.admit(cost.rows, cost.bytes).inspect_err(|_| self.counters.overloaded_asks.add(1))?;
        let head = Arc::clone(&served.head);
        let reading = ask.reading;
        let inputs = ask.inputs;
        let started = Instant::now();
        let (inputs, tokens) = self
            .with_tokenizer(cost.bytes, reading, move |tokenizer, limit| {
                let rows_of = |(index, input): (usize, &Input)| -> Result<Vec<_>, EngineError> {
                    let sequences = rows::sequences(input, &head);
                    let rows = sequences.iter().map(|sequence| read(tokenizer, sequence, limit, reading));
                    rows.collect::<Result<_, _>>().map_err(|error| error.of_input(index))
                };
                let tokens: Result<Vec<_>, _> = inputs.iter().enumerate().map(rows_of).collect();
                tokens.map(|tokens| (inputs, tokens))
            })
            .await?;
        let tokenize = started.elapsed();
        let task_embedding = match mode {
            Mode::Exact => served.head.parts().task_embedding.clone(),
            Mode::Shared => None,
        };
        let row = |tokens: &Arc<Tokens>| Row {
            tokens: Arc::clone(tokens),
            task_embedding: task_embedding.clone(),
            reads: Reads::of_kind(served.head.kind()),
        };
        let done = self.run(tokens.iter().flatten().map(row).collect(), reading.deadline).await?;
        let head = Arc::clone(&served.head);
        let cost = tokens.iter().flatten().map(|tokens| products(&head, tokens.len())).sum();
        let answered = self.compute(cost, move || {
            let mut done = done.into_iter();
            let rows = tokens.into_iter().map(|tokens| tokens.into_iter().zip(done.by_ref()).collect::<Vec<_>>());
            inputs.into_iter().zip(rows).map(|(input, rows)| answer(&head, input, rows, tokenize)).collect()
        });
        Ok(Answer { served, mode, inputs: answered.await?, _permit: permit })
    }
}

fn answer(
    head: &Head,
    input: Input,
    rows: Vec<(Arc<Tokens>, Done)>,
    tokenize: Duration,
) -> Result<Answered, EngineError> {
    let started = Instant::now();
    let longest = |duration: fn(&Done) -> Duration| rows.iter().map(|(_, done)| duration(done)).max();
    let queue = longest(|done| done.queued).unwrap_or_default();
    let encode = longest(|done| done.encoded).unwrap_or_default();
    let scored = rows.into_iter().map(|(tokens, done)| Ok((tokens, score(head, &done.output)?)));
    let rows = scored.collect::<Result<Vec<_>, EngineError>>()?;
    let prediction = predict(head, &input, &rows);
    Ok(Answered {
        input,
        prediction,
        rows: rows.len(),
        tokens_used: rows.iter().map(|(tokens, _)| tokens.len()).sum(),
        cuts: rows.iter().enumerate().filter_map(|(row, (tokens, _))| Some((row, tokens.cut?))).collect(),
        timing: Timing { tokenize, queue, encode, head: started.elapsed() },
    })
}
