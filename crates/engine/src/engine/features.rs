//! What a head reads of an input: the vectors of its rows, for whoever fits or judges heads.

use std::sync::Arc;

use super::Engine;
use super::path::read;
use crate::ask::{Input, Reading};
use crate::error::EngineError;
use crate::head::Head;
use crate::model::{Reads, Row};
use crate::rows;

/// The vectors of one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// The pooler's output of each row that the input became, `[hidden]`.
    pub rows: Vec<Arc<[f32]>>,
    /// Whether a row was cut.
    pub cut: bool,
}

impl Engine {
    /// The pooled vectors of `input` as `head` reads them: its kind, prompt and task embedding count, its weights do not.
    ///
    /// # Errors
    /// [`EngineError`]; a field at fault is one of `inputs[0]`.
    pub async fn features(&self, head: &Arc<Head>, input: Input, reading: Reading) -> Result<Vectors, EngineError> {
        self.check_up()?;
        if head.kind().reads_tokens() {
            return Err(EngineError::Misfit(format!("a {} head reads no pooled vector", head.kind())));
        }
        let cost = rows::check_inputs(std::slice::from_ref(&input), head, &self.limits())?;
        let _permit = self.admit(cost, reading)?;
        let reader = Arc::clone(head);
        let tokens = self
            .tokenize_off_thread(reading, move |tokenizer, limit| {
                let sequences = rows::sequences(&input, &reader);
                let tokens = sequences.iter().map(|sequence| read(tokenizer, sequence, limit, reading));
                tokens.collect::<Result<Vec<_>, _>>().map_err(|error| error.of_input(0))
            })
            .await?;
        let cut = tokens.iter().any(|tokens| tokens.cut.is_some());
        let task_embedding = &head.parts().task_embedding;
        let adapter = &head.parts().adapter;
        let row = |tokens| Row {
            tokens,
            task_embedding: task_embedding.clone(),
            adapter: adapter.clone(),
            reads: Reads::of_kind(head.kind()),
        };
        let done = self.run(tokens.into_iter().map(row).collect(), reading).await?;
        let pooled = done.into_iter().map(|done| done.output.pooled);
        let rows = pooled.collect::<Option<Vec<_>>>();
        Ok(Vectors { rows: rows.ok_or_else(|| EngineError::Internal("a row has no pooled vector".to_owned()))?, cut })
    }
}
