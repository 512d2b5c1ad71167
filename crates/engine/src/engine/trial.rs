//! Whether a head can be served here, before anybody sees it.

use std::sync::Arc;

use super::Engine;
use super::path::read;
use crate::ask::Reading;
use crate::error::EngineError;
use crate::head::Head;
use crate::model::{Reads, Row};
use crate::rows::Sequence;
use crate::scoring::{products, score};
use crate::tokens::Text;

impl Engine {
    /// Whether `head` can be served here: its widths, and one trial row through the encoder.
    ///
    /// # Errors
    /// [`EngineError::Misfit`] or [`EngineError::NotFinite`] where it cannot.
    pub async fn try_head(&self, head: Arc<Head>) -> Result<(), EngineError> {
        self.check_up()?;
        let info = self.info().ok_or(EngineError::Starting)?;
        let misfit = |what: &str, found: usize, wanted: usize| {
            EngineError::Misfit(format!("{what} is {found} wide, this encoder's is {wanted}"))
        };
        if head.hidden() != info.hidden {
            return Err(misfit("the weight", head.hidden(), info.hidden));
        }
        if let Some(embedding) = head.parts().task_embedding.as_ref().filter(|z| z.len() != info.embedding) {
            return Err(misfit("the task embedding", embedding.len(), info.embedding));
        }
        if !info.has_pooler && Reads::of_head(&head).pooled {
            return Err(EngineError::Misfit(format!("a {} head needs a pooler, this encoder has none", head.kind())));
        }
        let reading = Reading::default();
        let trial = Sequence { text: Text::Raw("A trial row."), pair: None };
        let tokens =
            self.tokenize_off_thread(reading, move |tokenizer, limit| read(tokenizer, &trial, limit, reading)).await?;
        let cost = products(&head, tokens.len());
        let task_embedding = head.parts().task_embedding.clone();
        let adapter = head.parts().adapter.clone();
        let row = Row { tokens, task_embedding, adapter, reads: Reads::of_head(&head) };
        let done = self.run(vec![row], reading).await?;
        self.compute(cost, move || done.iter().try_for_each(|done| score(&head, &done.output).map(drop))).await
    }
}
