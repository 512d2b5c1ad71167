//! Vectors and tokens: what the encoder and the tokenizer make of texts, without a head.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::path::read;
use super::{Engine, Timing};
use crate::admission::Permit;
use crate::ask::{Input, Reading};
use crate::error::EngineError;
use crate::live::ServedHead;
use crate::model::{Reads, Row, VectorKind};
use crate::rows::{self, Sequence};
use crate::task::{Selector, TaskKey};
use crate::tokens::{Cut, Tokens};

/// A request for vectors.
#[derive(Debug, Clone)]
pub struct EmbedAsk {
    /// Texts, each with an optional second text.
    pub inputs: Vec<Input>,
    /// Whose task embedding and adapter the rows carry, if any.
    pub task: Option<(TaskKey, Selector)>,
    /// Which vector.
    pub kind: VectorKind,
    /// How the inputs are to be read.
    pub reading: Reading,
}

/// One vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// The input, given back.
    pub input: Input,
    /// `[hidden]`.
    pub vector: Arc<[f32]>,
    /// Tokens of the row.
    pub tokens_used: usize,
    /// What was cut.
    pub cut: Option<Cut>,
    /// Where the time went.
    pub timing: Timing,
}

/// The vectors of an ask, in the order of its inputs.
#[derive(Debug)]
pub struct Embedding {
    /// The head whose task embedding the rows carried.
    pub served: Option<Arc<ServedHead>>,
    /// One an input.
    pub inputs: Vec<Embedded>,
    _permit: Permit,
}

/// The token sequences of one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokenized {
    /// The input, given back.
    pub input: Input,
    /// One a row: for choices, one each.
    pub rows: Vec<Arc<Tokens>>,
}

impl Engine {
    /// The vectors of texts.
    ///
    /// # Errors
    /// [`EngineError`], for the first input that has no vector.
    pub async fn embed(&self, ask: EmbedAsk) -> Result<Embedding, EngineError> {
        self.check_up()?;
        let served = match &ask.task {
            Some((key, selector)) => Some(self.find(key, selector)?),
            None => None,
        };
        let cost = rows::check_any(&ask.inputs, &self.limits())?;
        if let Some(index) = ask.inputs.iter().position(|input| !input.choices.is_empty()) {
            let reason = "choices have no vector of their own: send one input for each".to_owned();
            return Err(EngineError::InvalidField { field: format!("inputs[{index}].choices"), reason });
        }
        let reading = match &ask.task {
            Some((key, _)) => self.on_behalf(ask.reading, &key.tenant),
            None => ask.reading,
        };
        let permit = self.admit(cost, reading)?;
        let inputs = ask.inputs;
        let started = Instant::now();
        let (inputs, tokens) = self
            .with_tokenizer(cost.bytes, reading, move |tokenizer, limit| {
                let sequences = inputs.iter().flat_map(rows::any_sequences).enumerate();
                let row = |(index, sequence): (usize, Sequence<'_>)| {
                    read(tokenizer, &sequence, limit, reading).map_err(|error| error.of_input(index))
                };
                let tokens: Result<Vec<_>, _> = sequences.map(row).collect();
                tokens.map(|tokens| (inputs, tokens))
            })
            .await?;
        let tokenize = started.elapsed();
        let row = |tokens: &Arc<Tokens>| Row {
            tokens: Arc::clone(tokens),
            task_embedding: served.as_ref().and_then(|served| served.head.parts().task_embedding.clone()),
            adapter: served.as_ref().and_then(|served| served.head.parts().adapter.clone()),
            reads: Reads::from(ask.kind),
        };
        let done = self.run(tokens.iter().map(row).collect(), reading).await?;
        let inputs = inputs
            .into_iter()
            .zip(tokens)
            .zip(done)
            .map(|((input, tokens), done)| Embedded {
                input,
                vector: done.output.vector(ask.kind).cloned().unwrap_or_default(),
                tokens_used: tokens.len(),
                cut: tokens.cut,
                timing: Timing { tokenize, queue: done.queued, encode: done.encoded, head: Duration::ZERO },
            })
            .collect();
        Ok(Embedding { served, inputs, _permit: permit })
    }

    /// The token sequences of inputs, as an ask would read them.
    ///
    /// # Errors
    /// [`EngineError`], for the first input that has no tokens.
    pub async fn tokenize(&self, inputs: Vec<Input>, reading: Reading) -> Result<Vec<Tokenized>, EngineError> {
        let cost = rows::check_any(&inputs, &self.limits())?;
        let _permit = self.admit(cost, reading)?;
        self.with_tokenizer(cost.bytes, reading, move |tokenizer, limit| {
            let tokenized = |(index, input): (usize, Input)| {
                let sequences = rows::any_sequences(&input);
                let rows = sequences.iter().map(|sequence| read(tokenizer, sequence, limit, reading));
                let rows: Result<_, EngineError> = rows.collect();
                rows.map(|rows| Tokenized { input, rows }).map_err(|error| error.of_input(index))
            };
            inputs.into_iter().enumerate().map(tokenized).collect()
        })
        .await
    }
}
