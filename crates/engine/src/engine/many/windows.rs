//! Many tasks about one input that is read in windows: each task asks for itself, all at once. Windows that several of
//! them read wait in the queue as one row.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::{ManyAnswer, ManyAsk, TaskAnswer};
use crate::ask::Ask;
use crate::engine::classify::Answer;
use crate::engine::one_head::longest;
use crate::engine::{Engine, Timing};
use crate::error::EngineError;
use crate::rows::{self, Cost};

type Outcome = Result<Answer, EngineError>;

impl Engine {
    pub(super) async fn classify_many_in_windows(&self, ask: ManyAsk) -> Result<ManyAnswer, EngineError> {
        let ManyAsk { heads, input, mode, reading } = ask;
        rows::check_sizes_of_one(&input, &self.limits)?;
        let mut permit = self.admit(Cost { rows: 0, bytes: 0 })?;
        let ask_one = |(key, selector)| {
            let ask = Ask { key, selector, inputs: vec![input.clone()], mode, reading };
            Box::pin(self.classify(ask)) as Pin<Box<dyn Future<Output = Outcome> + Send + '_>>
        };
        let outcomes = all(heads.into_iter().map(ask_one).collect()).await;
        let mut rows = 0;
        let mut timing = Timing::default();
        let mut task = |outcome: Outcome| {
            let answer = outcome.map_err(of_one_input)?;
            permit.add(answer.permit);
            let answered = answer.inputs.into_iter().next();
            let answered = answered.ok_or_else(|| EngineError::Internal("an input has no answer".to_owned()))?;
            rows += answered.rows;
            timing = longest([timing, answered.timing].into_iter());
            Ok(TaskAnswer {
                served: answer.served,
                mode: answer.mode,
                prediction: answered.prediction,
                rows: answered.rows,
                tokens_used: answered.tokens_used,
                cuts: answered.cuts,
            })
        };
        let tasks = outcomes.into_iter().map(&mut task).collect();
        Ok(ManyAnswer { input, tasks, rows, timing, _permit: permit })
    }
}

/// Waits for all of `asks` together.
async fn all(mut asks: Vec<Pin<Box<dyn Future<Output = Outcome> + Send + '_>>>) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = asks.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut waits = false;
        for (ask, outcome) in asks.iter_mut().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_none()) {
            match ask.as_mut().poll(context) {
                Poll::Ready(ready) => *outcome = Some(ready),
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

/// The complaint with its field named as a question about one input names it.
fn of_one_input(mut error: EngineError) -> EngineError {
    if let EngineError::InvalidField { field: path, .. } | EngineError::OverLimit { what: path, .. } = &mut error
        && let Some(rest) = path.strip_prefix("inputs[0]").or_else(|| path.strip_prefix("inputs"))
    {
        *path = format!("input{rest}");
    }
    error
}
