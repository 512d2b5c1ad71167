//! Score and Compare: messages to asks for rewards, and their answers to replies.

use std::cmp::Ordering;

use api::v1;
use engine::{EngineError, RewardAnswer, RewardAsk, RewardInput, Rewarded, preferences, softmax};
use tokio::time::Instant;
use tonic::Status;

use crate::confidence;
use crate::from_proto::{self, Options};
use crate::status::{self, invalid_field};
use crate::to_proto;
use crate::view::View;

/// Pairs to be scored.
pub(crate) fn score(
    request: v1::ScoreRequest,
    deadline: Option<Instant>,
    view: &View<'_>,
) -> Result<RewardAsk, Status> {
    let input = |input: v1::ScoreInput| RewardInput { prompt: input.prompt, answers: vec![input.answer] };
    let Options { wanted: _, mode, reading } = from_proto::options(request.options.as_ref(), deadline, view)?;
    Ok(RewardAsk {
        key: view.key("task", &request.task)?,
        selector: from_proto::selector(&request.version)?,
        inputs: request.inputs.into_iter().map(input).collect(),
        prompt_template: request.prompt_template,
        mode,
        reading,
    })
}

/// Answers to be ranked.
pub(crate) fn compare(
    request: v1::CompareRequest,
    deadline: Option<Instant>,
    view: &View<'_>,
) -> Result<RewardAsk, Status> {
    let Options { wanted: _, mode, reading } = from_proto::options(request.options.as_ref(), deadline, view)?;
    let ask = RewardAsk {
        key: view.key("task", &request.task)?,
        selector: from_proto::selector(&request.version)?,
        inputs: vec![RewardInput { prompt: request.prompt, answers: request.answers }],
        prompt_template: request.prompt_template,
        mode,
        reading,
    };
    if ask.inputs.iter().any(|input| input.answers.len() < 2) {
        return Err(invalid_field("answers", "at least two answers are needed"));
    }
    Ok(ask)
}

/// The status of pairs without rewards, in the words of their request: each input has one answer.
pub(crate) fn score_refused(error: EngineError) -> Status {
    status::of_engine(with_fields(error, |path| path.replacen(".answers[0]", ".answer", 1)))
}

/// The status of answers without a ranking, in the words of their request: there is one input, which is the request.
pub(crate) fn compare_refused(error: EngineError) -> Status {
    status::of_engine(with_fields(error, |path| match path.strip_prefix("inputs") {
        Some(rest) => rest.strip_prefix("[0].").map_or_else(|| format!("answers{rest}"), str::to_owned),
        None => path.to_owned(),
    }))
}

fn with_fields(mut error: EngineError, rename: impl Fn(&str) -> String) -> EngineError {
    if let EngineError::InvalidField { field: path, .. } | EngineError::OverLimit { what: path, .. } = &mut error {
        *path = rename(path);
    }
    error
}

/// The reply to Score.
pub(crate) fn scored(answer: RewardAnswer, received: Instant) -> v1::ScoreResponse {
    let timings = to_proto::timings(answer.inputs.iter().map(|rewarded| rewarded.timing), received);
    let served_by = to_proto::served_by(&answer.served, answer.mode);
    let head = &answer.served.head;
    let reward = |rewarded: Rewarded| {
        let confidence = confidence::of_rewards(&rewarded, head);
        let Rewarded { input, rewards, rows, tokens_used, cuts, .. } = rewarded;
        let text_pair = input.answers.into_iter().next();
        let read = engine::Input { text: Some(input.prompt), text_pair, ..engine::Input::default() };
        v1::Reward {
            reward: rewards.first().copied().unwrap_or_default(),
            usage: Some(to_proto::usage(tokens_used, rows, &cuts, &read)),
            confidence,
        }
    };
    v1::ScoreResponse {
        rewards: answer.inputs.into_iter().map(reward).collect(),
        served_by: Some(served_by),
        timings: Some(timings),
    }
}

/// The reply to Compare.
pub(crate) fn compared(answer: RewardAnswer, received: Instant) -> v1::CompareResponse {
    let timings = to_proto::timings(answer.inputs.iter().map(|rewarded| rewarded.timing), received);
    let served_by = to_proto::served_by(&answer.served, answer.mode);
    let mut reply =
        v1::CompareResponse { served_by: Some(served_by), timings: Some(timings), ..v1::CompareResponse::default() };
    if let Some(rewarded) = answer.inputs.into_iter().next() {
        reply.confidence = confidence::of_rewards(&rewarded, &answer.served.head);
        let Rewarded { input, rewards, rows, tokens_used, cuts, .. } = rewarded;
        let read = engine::Input { text: Some(input.prompt), choices: input.answers, ..engine::Input::default() };
        reply.usage = Some(to_proto::usage(tokens_used, rows, &cuts, &read));
        reply.preferences =
            preferences(&rewards).into_iter().map(|probabilities| v1::PreferenceRow { probabilities }).collect();
        reply.ranking = ranking(&rewards);
    }
    reply
}

/// Best first; equal ones in the request's order.
fn ranking(rewards: &[f32]) -> Vec<v1::RankedAnswer> {
    let shares = softmax(rewards, 1.0);
    let ranked = |(index, (&reward, preference)): (usize, (&f32, f32))| v1::RankedAnswer {
        index: index as u32,
        reward,
        preference,
    };
    let mut ranking: Vec<_> = rewards.iter().zip(shares).enumerate().map(ranked).collect();
    ranking.sort_by(|one, other| other.reward.partial_cmp(&one.reward).unwrap_or(Ordering::Equal));
    ranking
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(status: &Status) -> &str {
        status.message()
    }

    #[test]
    fn complaints_name_the_fields_of_the_request() {
        let invalid =
            |field: &str| EngineError::InvalidField { field: field.to_owned(), reason: "is empty".to_owned() };
        assert_eq!(message(&score_refused(invalid("inputs[2].answers[0]"))), "inputs[2].answer: is empty");
        assert_eq!(message(&score_refused(invalid("inputs[2].prompt"))), "inputs[2].prompt: is empty");
        assert_eq!(message(&compare_refused(invalid("inputs[0].answers[3]"))), "answers[3]: is empty");
        assert_eq!(message(&compare_refused(invalid("inputs[0].prompt"))), "prompt: is empty");
        let over = EngineError::OverLimit { what: "inputs in rows".to_owned(), limit: 1, actual: 2 };
        assert_eq!(message(&compare_refused(over)), "answers in rows: 2, the limit is 1");
    }

    #[test]
    fn a_ranking_is_best_first_and_its_shares_sum_to_one() {
        let ranking = ranking(&[0.5, 2.0, 2.0]);
        assert_eq!(ranking.iter().map(|ranked| ranked.index).collect::<Vec<_>>(), [1, 2, 0]);
        assert!((ranking.iter().map(|ranked| ranked.preference).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
