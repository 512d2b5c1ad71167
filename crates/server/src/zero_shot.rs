//! ZeroShot: a message to an ask, and its answer to a reply.

use api::v1;
use engine::{Candidate, ZeroShotAnswer, ZeroShotAnswered, ZeroShotAsk, ZeroShotInput};
use tokio::time::Instant;
use tonic::Status;

use crate::confidence;
use crate::from_proto::{self, Options, Wanted};
use crate::to_proto;
use crate::view::View;

/// Texts and the labels they are held against.
pub(crate) fn ask(
    request: v1::ZeroShotRequest,
    deadline: Option<Instant>,
    view: &View<'_>,
) -> Result<(ZeroShotAsk, Wanted), Status> {
    let Options { wanted, mode, reading } = from_proto::options(request.options.as_ref(), deadline, view)?;
    let input = |input: v1::ZeroShotInput| ZeroShotInput { text: input.text, candidate_labels: input.candidate_labels };
    let ask = ZeroShotAsk {
        key: view.key("task", &request.task)?,
        selector: from_proto::selector(&request.version)?,
        inputs: request.inputs.into_iter().map(input).collect(),
        candidate_labels: request.candidate_labels,
        hypothesis_template: request.hypothesis_template,
        multi_label: request.multi_label,
        mode,
        reading,
    };
    Ok((ask, wanted))
}

/// The reply.
pub(crate) fn reply(answer: ZeroShotAnswer, wanted: Wanted, received: Instant) -> v1::ZeroShotResponse {
    let timings = to_proto::timings(answer.inputs.iter().map(|answered| answered.timing), received);
    let served_by = to_proto::served_by(&answer.served, answer.mode);
    let prediction = |answered: ZeroShotAnswered| {
        let confidence = confidence::of_candidates(&answered);
        let read = engine::Input { text: Some(answered.text), ..engine::Input::default() };
        let best = answered.candidates.into_iter().take(wanted.top_k.unwrap_or(usize::MAX));
        v1::ZeroShotPrediction {
            labels: best.map(|candidate| label(candidate, wanted)).collect(),
            confidence,
            usage: Some(to_proto::usage(answered.tokens_used, answered.rows, &answered.cuts, &read)),
        }
    };
    v1::ZeroShotResponse {
        predictions: answer.inputs.into_iter().map(prediction).collect(),
        served_by: Some(served_by),
        timings: Some(timings),
    }
}

fn label(candidate: Candidate, wanted: Wanted) -> v1::ZeroShotLabel {
    v1::ZeroShotLabel {
        label: candidate.label,
        index: candidate.index as u32,
        score: candidate.probability,
        entailment_logit: wanted.logits.then_some(candidate.entailment),
        contradiction_logit: candidate.contradiction.filter(|_| wanted.logits),
    }
}
