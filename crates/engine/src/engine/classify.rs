//! One task, one or more inputs.

use std::sync::Arc;

use super::one_head::{Question, Read, Readable};
use super::{Engine, Timing};
use crate::admission::Permit;
use crate::ask::{Ask, Input, Mode};
use crate::error::EngineError;
use crate::head::Head;
use crate::live::ServedHead;
use crate::prediction::{Prediction, predict};
use crate::rows::{self, Sequence};
use crate::shadow::Judged;
use crate::tokens::Cut;
use crate::truncation::Strategy;

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
    /// What was cut: the position of the text among those that the head reads of the input, and where.
    pub cuts: Vec<(usize, Cut)>,
    /// How far the input lies from the head's training text, in [`crate::OOD_UNIT`]; `None` where the head cannot tell.
    pub ood_score: Option<f32>,
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
    pub(super) permit: Permit,
}

impl Readable for Input {
    fn sequences<'a>(&'a self, head: &'a Head) -> Vec<Sequence<'a>> {
        rows::sequences(self, head)
    }

    fn field(&self, index: usize, _: usize) -> String {
        format!("inputs[{index}]")
    }
}

impl Engine {
    /// Answers every input of `ask` with one version of one head, or none of them.
    ///
    /// # Errors
    /// [`EngineError`], for the first input that has no answer.
    pub async fn classify(&self, ask: Ask) -> Result<Answer, EngineError> {
        self.check_up()?;
        let task = self.live.find(&ask.key).ok_or(EngineError::NotFound)?;
        let served = task.select(&ask.selector).ok_or(EngineError::NotFound)?;
        let mode = rows::mode(ask.mode, &served.head);
        let judge = task.judge(&ask.selector, &served, mode);
        let cost = rows::check(&ask, &served.head, &self.limits())?;
        let reading = self.on_behalf(ask.reading, &ask.key.tenant);
        let question = Question {
            served: Arc::clone(&served),
            mode,
            reading,
            strategy: Strategy::LongestFirst,
            cost,
            permit: self.admit(cost, reading)?,
            judge: judge.clone(),
        };
        let answered = move |head: &Head, input: Input, read: Read| {
            let (answered, judged) = answered(head, input, read);
            if let (Some(judge), Some(judged)) = (&judge, judged) {
                judge.judge(head, &answered.input, &answered.prediction, judged);
            }
            answered
        };
        let (inputs, permit) = self.ask_head(question, ask.inputs, answered).await?;
        Ok(Answer { served, mode, inputs, permit })
    }
}

/// The answer to an input, and what its judge reads of it.
fn answered(head: &Head, input: Input, read: Read) -> (Answered, Option<Judged>) {
    let prediction = predict(head, &input, &read.sequences);
    let timing = read.timing();
    let (rows, tokens_used, ood_score) = (read.rows, read.tokens_used, read.ood_score);
    (Answered { input, prediction, rows, tokens_used, cuts: read.cuts, ood_score, timing }, read.judged)
}
