//! Whether a head can be served here, before anybody sees it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Engine;
use super::path::read;
use crate::ask::{Input, Mode, Priority, Reading};
use crate::error::EngineError;
use crate::head::{Head, HeadKind};
use crate::model::{ModelInfo, Reads, Row};
use crate::rows;
use crate::scoring::{products, score};

/// So long a trial's rows wait behind the callers'. Then they go as a caller's would, one at a time, because somebody
/// waits for the head.
const PATIENCE: Duration = Duration::from_millis(250);
pub(super) const TEXT: &str = "A trial row.";

impl Engine {
    /// Whether `head` can be served here: its widths, one trial input through encoder and head, and its own goldens.
    /// Its rows keep behind those of callers, for a while.
    ///
    /// # Errors
    /// [`EngineError::Misfit`] or [`EngineError::NotFinite`] where it cannot.
    pub async fn try_head(&self, head: Arc<Head>) -> Result<(), EngineError> {
        self.check_up()?;
        let info = self.fit_for(&head)?;
        let patient_until = Instant::now() + PATIENCE;
        self.behind_callers(&head, &trial_input(head.kind()), patient_until).await?;
        for (index, golden) in head.parts().about.goldens.iter().enumerate() {
            let logits = self.behind_callers(&head, &golden.input, patient_until).await?;
            if let Some(difference) = golden.difference(&logits, &info.dtype) {
                return Err(EngineError::Misfit(format!("golden {index}: {difference}")));
            }
        }
        Ok(())
    }

    /// What the model says of itself, where the head's widths are the encoder's.
    pub(super) fn fit_for(&self, head: &Head) -> Result<&ModelInfo, EngineError> {
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
        if !info.has_pooler && Reads::of_head(head).pooled {
            return Err(EngineError::Misfit(format!("a {} head needs a pooler, this encoder has none", head.kind())));
        }
        Ok(info)
    }

    /// The raw logits of `head` for `input`, in the mode that it has by default; as in [`crate::Golden::logits`].
    ///
    /// # Errors
    /// [`EngineError`], for an input that the head does not take among others.
    pub async fn logits(&self, head: &Arc<Head>, input: &Input) -> Result<Vec<f32>, EngineError> {
        self.behind_callers(head, input, Instant::now() + PATIENCE).await
    }

    async fn behind_callers(
        &self,
        head: &Arc<Head>,
        input: &Input,
        patient_until: Instant,
    ) -> Result<Vec<f32>, EngineError> {
        let patient = self.logits_of(head, input, Priority::Background);
        match timeout_at(patient_until, patient).await {
            Ok(done) => done,
            Err(_) => self.logits_of(head, input, Priority::Caller).await,
        }
    }

    /// As a caller's it takes no permit: a head that mends what is wrong must not wait for the rows in flight.
    async fn logits_of(&self, head: &Arc<Head>, input: &Input, priority: Priority) -> Result<Vec<f32>, EngineError> {
        self.check_up()?;
        let cost = rows::check_inputs(std::slice::from_ref(input), head, &self.limits())?;
        let reading = Reading { priority, ..Reading::default() };
        let _permit = match priority {
            Priority::Background => Some(self.admit(cost, reading)?),
            Priority::Caller => None,
        };
        let (reader, text) = (Arc::clone(head), input.clone());
        let tokens = self
            .tokenize_off_thread(reading, move |tokenizer, limit| {
                let sequences = rows::sequences(&text, &reader);
                let tokens = sequences.iter().map(|sequence| read(tokenizer, sequence, limit, reading));
                tokens.collect::<Result<Vec<_>, _>>().map_err(|error| error.of_input(0))
            })
            .await?;
        let products = tokens.iter().map(|tokens| products(head, tokens.len())).sum();
        let task_embedding = match rows::mode(None, head) {
            Mode::Exact => head.parts().task_embedding.clone(),
            Mode::Shared => None,
        };
        let row = |tokens| Row {
            tokens,
            task_embedding: task_embedding.clone(),
            adapter: head.parts().adapter.clone(),
            reads: Reads::of_head(head),
        };
        let done = self.run(tokens.into_iter().map(row).collect(), reading).await?;
        let head = Arc::clone(head);
        let logits = self.compute(products, move || {
            let scores = done.iter().map(|done| score(&head, &done.output));
            scores.map(|scores| scores.map(|scores| scores.logits)).collect::<Result<Vec<_>, _>>()
        });
        Ok(logits.await?.concat())
    }
}

/// An input that every head of the kind takes.
#[must_use]
pub fn trial_input(kind: HeadKind) -> Input {
    let text = Some(TEXT.to_owned());
    match kind {
        HeadKind::Classification | HeadKind::MultiLabel | HeadKind::Regression => Input { text, ..Input::default() },
        HeadKind::MultipleChoice | HeadKind::Reward => {
            Input { text, choices: vec![TEXT.to_owned(), "Another.".to_owned()], ..Input::default() }
        }
        HeadKind::TokenClassification => {
            Input { tokens: TEXT.split(' ').map(str::to_owned).collect(), ..Input::default() }
        }
    }
}
