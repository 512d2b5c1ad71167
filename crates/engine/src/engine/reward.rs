//! Answers to prompts, judged by a reward head, with the head's own prompt template or the caller's.

use std::sync::Arc;

use super::one_head::{Question, Read, Readable};
use super::{Engine, Timing};
use crate::admission::Permit;
use crate::ask::{Mode, Reading};
use crate::error::EngineError;
use crate::head::{Head, HeadKind};
use crate::limits::Limits;
use crate::live::ServedHead;
use crate::rows::{self, Cost, Sequence, invalid, over};
use crate::task::{Selector, TaskKey};
use crate::tokens::{Cut, Text};
use crate::truncation::Strategy;

/// Stands for the prompt in a template.
const PLACE: &str = "{}";

/// Answers to be judged.
#[derive(Debug, Clone)]
pub struct RewardAsk {
    /// A task of kind reward.
    pub key: TaskKey,
    /// Which of its versions.
    pub selector: Selector,
    /// Prompts with their answers; the rewards come in the same order.
    pub inputs: Vec<RewardInput>,
    /// Takes the place of the head's own template; `{}` stands for the prompt.
    pub prompt_template: Option<String>,
    /// With or without the task embedding; `None` leaves it to the head.
    pub mode: Option<Mode>,
    /// How the texts are to be read.
    pub reading: Reading,
}

/// A prompt and answers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardInput {
    /// What is answered; empty where the template has no place for it.
    pub prompt: String,
    /// The answers, each a row beside the prompt.
    pub answers: Vec<String>,
}

/// The rewards of one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewarded {
    /// The input, given back.
    pub input: RewardInput,
    /// The raw logit of each answer, in order.
    pub rewards: Vec<f32>,
    /// Rows the input became.
    pub rows: usize,
    /// Tokens of all its rows, special tokens included.
    pub tokens_used: usize,
    /// What was cut: the answer's position, and where; bytes of the text are those of the prompt.
    pub cuts: Vec<(usize, Cut)>,
    /// As in [`crate::Answered`].
    pub ood_score: Option<f32>,
    /// Where the time went.
    pub timing: Timing,
}

/// The rewards, in the order of the inputs.
#[derive(Debug)]
pub struct RewardAnswer {
    /// The version that answered.
    pub served: Arc<ServedHead>,
    /// With or without the task embedding.
    pub mode: Mode,
    /// One an input.
    pub inputs: Vec<Rewarded>,
    _permit: Permit,
}

/// A prompt as the head reads it, beside its answers.
struct Prompted {
    input: RewardInput,
    text: String,
    /// Bytes of the template before the prompt.
    before: usize,
}

impl Readable for Prompted {
    fn sequences<'a>(&'a self, _: &'a Head) -> Vec<Sequence<'a>> {
        let pair = |answer: &'a String| Sequence { text: Text::Raw(&self.text), pair: Some(Text::Raw(answer)) };
        self.input.answers.iter().map(pair).collect()
    }

    fn field(&self, index: usize, place: usize) -> String {
        format!("inputs[{index}].answers[{place}]")
    }
}

impl Engine {
    /// The reward of every answer, by one version of one head.
    ///
    /// # Errors
    /// [`EngineError`], for the first input that has no reward.
    pub async fn reward(&self, ask: RewardAsk) -> Result<RewardAnswer, EngineError> {
        self.check_up()?;
        let served = self.find(&ask.key, &ask.selector)?;
        let kind = served.head.kind();
        if kind != HeadKind::Reward {
            return Err(invalid("task".into(), &format!("rewards need a task of kind reward, this one is {kind}")));
        }
        let mode = rows::mode(ask.mode, &served.head);
        let template = ask.prompt_template.as_deref().or(served.head.parts().prompt.as_deref()).unwrap_or(PLACE);
        let cost = check(&ask, template, &self.limits())?;
        let reading = self.on_behalf(ask.reading, &ask.key.tenant);
        let permit = self.admit(cost, reading)?;
        let prompted = |input: RewardInput| Prompted {
            text: template.replace(PLACE, &input.prompt),
            before: template.find(PLACE).unwrap_or(template.len()),
            input,
        };
        let inputs = ask.inputs.into_iter().map(prompted).collect();
        let question = Question {
            served: Arc::clone(&served),
            mode,
            reading,
            strategy: Strategy::LongestFirst,
            cost,
            permit,
            judge: None,
        };
        let (inputs, permit) = self.ask_head(question, inputs, rewarded).await?;
        Ok(RewardAnswer { served, mode, inputs, _permit: permit })
    }
}

/// Row by row, the probability that one answer is preferred to another: the sigmoid of the difference of their rewards.
#[must_use]
pub fn preferences(rewards: &[f32]) -> Vec<Vec<f32>> {
    let sigmoid = |difference: f32| 1.0 / (1.0 + (-difference).exp());
    rewards.iter().map(|one| rewards.iter().map(|other| sigmoid(one - other)).collect()).collect()
}

/// Checks every field against the template and the limits, texts before they are made.
fn check(ask: &RewardAsk, template: &str, limits: &Limits) -> Result<Cost, EngineError> {
    if template.is_empty() {
        return Err(invalid("prompt_template".into(), "is empty; {} alone stands for the prompt as it is"));
    }
    if ask.inputs.is_empty() {
        return Err(invalid("inputs".into(), "at least one input is needed"));
    }
    over("inputs".into(), ask.inputs.len(), limits.max_inputs)?;
    let places = template.matches(PLACE).count();
    let mut cost = Cost { rows: 0, bytes: 0 };
    for (index, input) in ask.inputs.iter().enumerate() {
        let at = |field: &str| format!("inputs[{index}].{field}");
        match (input.prompt.is_empty(), places) {
            (true, 1..) => return Err(invalid(at("prompt"), "is empty, and the template has a place for it")),
            (false, 0) => {
                let reason = "the template has no {} for it: leave it empty, or send a prompt_template with one";
                return Err(invalid(at("prompt"), reason));
            }
            (true, 0) | (false, 1..) => {}
        }
        let text = template.len() + places * input.prompt.len();
        over(format!("{} in bytes", at("prompt")), text, limits.max_text_bytes)?;
        if input.answers.is_empty() {
            return Err(invalid(at("answers"), "at least one answer is needed"));
        }
        over(at("answers"), input.answers.len(), limits.max_choices)?;
        for (place, answer) in input.answers.iter().enumerate() {
            let field = at(&format!("answers[{place}]"));
            if answer.is_empty() {
                return Err(invalid(field, "is empty"));
            }
            over(format!("{field} in bytes"), answer.len(), limits.max_text_bytes)?;
            cost.bytes += answer.len();
        }
        // The prompt is tokenized once for each row.
        cost.bytes += input.answers.len() * text;
        cost.rows += input.answers.len();
    }
    over("inputs in rows".into(), cost.rows, limits.max_in_flight_rows)?;
    over("inputs in bytes".into(), cost.bytes, limits.max_in_flight_bytes)?;
    Ok(cost)
}

fn rewarded(_: &Head, prompted: Prompted, read: Read) -> Rewarded {
    let first_logit = |scores: &crate::model::Scores| scores.logits.first().copied().unwrap_or_default();
    let rewards = read.sequences.iter().map(|(_, scores)| first_logit(scores)).collect();
    let timing = read.timing();
    let Read { rows, tokens_used, cuts, ood_score, .. } = read;
    let of_prompt = |kept: usize| kept.saturating_sub(prompted.before).min(prompted.input.prompt.len());
    let cuts = cuts.into_iter().map(|(place, cut)| (place, Cut { text_kept: cut.text_kept.map(of_prompt), ..cut }));
    Rewarded { cuts: cuts.collect(), input: prompted.input, rewards, rows, tokens_used, ood_score, timing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_sigmoids_of_differences_and_complement_each_other() {
        let found = preferences(&[2.0, 0.0, 2.0]);
        let expected = 1.0 / (1.0 + (-2.0_f32).exp());
        assert_eq!(found[0], [0.5, expected, 0.5]);
        assert!((found[1][0] - (1.0 - expected)).abs() < 1e-7);
        assert!(preferences(&[1e30, -1e30]).iter().flatten().all(|share| (0.0..=1.0).contains(share)));
    }
}
