//! Many tasks about one input that is read in windows: each task asks for itself, all at once. Windows that several of
//! them read wait in the queue as one row.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::mpsc;

use super::{ManyAsk, Spent, TaskAnswer, TaskOutcome, deliver};
use crate::ask::{Ask, Input};
use crate::engine::classify::Answer;
use crate::engine::{Engine, Timing};
use crate::error::EngineError;
use crate::rows::{self, Cost};
use crate::task::{Selector, TaskKey};

/// What became of a task, and its place in the ask.
type Asking<'a> = Pin<Box<dyn Future<Output = (usize, Asked)> + Send + 'a>>;
type Asked = Result<(Arc<Input>, Answer), EngineError>;

impl Engine {
    pub(super) async fn classify_each_in_windows(
        &self,
        ask: ManyAsk,
        outcomes: &mpsc::Sender<TaskOutcome>,
    ) -> Result<Spent, EngineError> {
        rows::check_sizes_of_one(&ask.input, &self.limits())?;
        let permit = self.admit(Cost { rows: 0, bytes: 0 }, ask.reading)?;
        let mut spent = Spent { rows: 0, timing: Timing::default(), _permit: permit };
        let ask_one = |(index, (key, selector)): (usize, &(TaskKey, Selector))| {
            let asked = self.classify_in_windows(&ask, key.clone(), selector.clone());
            Box::pin(async move { (index, asked.await) }) as Asking<'_>
        };
        let mut asks: Vec<_> = ask.heads.iter().enumerate().map(ask_one).collect();
        while !asks.is_empty() {
            let (index, asked) = first(&mut asks).await;
            let mut timing = Timing::default();
            let answer = asked.and_then(|(input, answer)| {
                spent._permit.add(answer.permit);
                let answered = answer.inputs.into_iter().next();
                let answered = answered.ok_or_else(|| EngineError::Internal("an input has no answer".to_owned()))?;
                spent.rows += answered.rows;
                timing = answered.timing;
                Ok(TaskAnswer {
                    served: answer.served,
                    mode: answer.mode,
                    input,
                    prediction: answered.prediction,
                    rows: answered.rows,
                    tokens_used: answered.tokens_used,
                    cuts: answered.cuts,
                    ood_score: answered.ood_score,
                })
            });
            spent.timing.tokenize = spent.timing.tokenize.max(timing.tokenize);
            let outcome = TaskOutcome { index, answer: answer.map_err(of_one_input), timing };
            if !deliver(outcomes, vec![outcome], &mut spent.timing).await {
                break;
            }
        }
        Ok(spent)
    }

    /// One task, with the fields of the input that its kind has a use for.
    async fn classify_in_windows(&self, ask: &ManyAsk, key: TaskKey, selector: Selector) -> Asked {
        let kind = self.find(&key, &selector)?.head.kind();
        let input = rows::read_by(&ask.input, kind);
        let (mode, reading) = (ask.mode, ask.reading);
        let answer = self.classify(Ask { key, selector, inputs: vec![input.clone()], mode, reading }).await?;
        Ok((Arc::new(input), answer))
    }
}

/// Waits for whichever of `asks` is done first, and takes it out.
async fn first(asks: &mut Vec<Asking<'_>>) -> (usize, Asked) {
    poll_fn(|context| {
        for place in 0..asks.len() {
            if let Poll::Ready(outcome) = asks[place].as_mut().poll(context) {
                drop(asks.swap_remove(place));
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    })
    .await
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
