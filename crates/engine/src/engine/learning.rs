//! Learning a task embedding through the frozen encoder: token sequences, and derivatives in between other work.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Engine;
use super::path::read;
use crate::ask::{Input, Reading};
use crate::batcher::Job;
use crate::error::EngineError;
use crate::head::Head;
use crate::model::{Lesson, Lessons, Model, Reads, Row};
use crate::rows;
use crate::tokens::Tokens;

/// A forward with a backward costs about so many times what a forward alone does.
const COST_OF_A_STEP: usize = 3;

impl Engine {
    /// The token sequences of `input` as `head` reads them, without where they came from.
    ///
    /// # Errors
    /// [`EngineError`]; a field at fault is one of `inputs[0]`.
    pub async fn sequences(
        &self,
        head: &Arc<Head>,
        input: Input,
        reading: Reading,
    ) -> Result<Vec<Arc<Tokens>>, EngineError> {
        rows::check_inputs(std::slice::from_ref(&input), head, &self.limits())?;
        let reader = Arc::clone(head);
        self.tokenize_off_thread(reading, move |tokenizer, limit| {
            let sequences = rows::sequences(&input, &reader);
            let tokens = sequences.iter().map(|sequence| read(tokenizer, sequence, limit, reading));
            tokens
                .map(|tokens| {
                    let tokens = tokens?;
                    let (ids, type_ids) = (tokens.ids.clone(), tokens.type_ids.clone());
                    Ok(Arc::new(Tokens { ids, type_ids, ..Tokens::default() }))
                })
                .collect::<Result<_, EngineError>>()
                .map_err(|error| error.of_input(0))
        })
        .await
    }

    /// The derivative of a loss by `embedding`, which every one of `sequences` carries: `upstream` is shown their pooled
    /// vectors and gives the loss's derivative by each. Runs on a worker when callers hardly notice, and costs the tenant of
    /// `reading` several times the tokens.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where the model does not differentiate.
    pub async fn embedding_gradient(
        &self,
        (lessons, reading): (&Lessons, Reading),
        sequences: Vec<Arc<Tokens>>,
        embedding: Arc<[f32]>,
        mut upstream: impl FnMut(&[Arc<[f32]>]) -> Vec<Vec<f32>> + Send + 'static,
    ) -> Result<Vec<f32>, EngineError> {
        self.check_up()?;
        let tokens: usize = sequences.iter().map(|tokens| tokens.len()).sum();
        let reads = Reads { pooled: true, ..Reads::default() };
        let row = |tokens| Row { tokens, task_embedding: None, adapter: None, reads };
        let rows: Vec<Row> = sequences.into_iter().map(row).collect();
        let cost = tokens * COST_OF_A_STEP;
        let _permit = self.admit_background(rows.len(), cost, reading.lane).await?;
        let (reply, answer) = oneshot::channel();
        let lessons = lessons.clone();
        let work = Box::new(move |model: &mut dyn Model| {
            // Whoever asked may have left meanwhile.
            if !reply.is_closed() {
                let lesson = Lesson { rows: &rows, embedding: &embedding, lessons: &lessons };
                let _ = reply.send(model.embedding_gradient(lesson, &mut upstream));
            }
        });
        self.queue.push_job(Job { tokens: cost, work })?;
        let lost = || EngineError::Internal("the inference worker panicked".to_owned());
        Ok(answer.await.map_err(|_| lost())??)
    }

    /// The pooled vectors of `sequences`, which carry `task_embedding`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn pooled(
        &self,
        sequences: Vec<Arc<Tokens>>,
        task_embedding: Option<Arc<[f32]>>,
        reading: Reading,
    ) -> Result<Vec<Arc<[f32]>>, EngineError> {
        self.check_up()?;
        let _permit = self.admit(rows::Cost { rows: sequences.len(), bytes: 0 }, reading)?;
        let reads = Reads { pooled: true, ..Reads::default() };
        let row = |tokens| Row { tokens, task_embedding: task_embedding.clone(), adapter: None, reads };
        let done = self.run(sequences.into_iter().map(row).collect(), reading).await?;
        let pooled = done.into_iter().map(|done| done.output.pooled).collect::<Option<Vec<_>>>();
        pooled.ok_or_else(|| EngineError::Internal("a row has no pooled vector".to_owned()))
    }
}
