//! Heads upon a row: dot products in fp32 on the host.
//!
//! The encoder leaves one vector a row (or a token); a head is a few of those lengths long. A product done here
//! depends on nothing beside it, and a new head needs no copy on any device.

use crate::error::EngineError;
use crate::head::Head;
use crate::model::{RowOutput, Scores};

/// Independent running sums, so that the compiler may use the widest registers there are.
const LANES: usize = 16;

/// The logits of `head` on one row's output: `[1, outputs]`, or `[tokens, outputs]` for a token head.
///
/// # Errors
/// [`EngineError::Misfit`] where the output is not of the head's width, [`EngineError::NotFinite`] where a logit is
/// NaN or infinite, [`EngineError::Internal`] where the output lacks the part that the head reads.
pub fn score(head: &Head, output: &RowOutput) -> Result<Scores, EngineError> {
    let states = states_for(head, output)?;
    let hidden = head.hidden();
    let parts = head.parts();
    let logits: Vec<f32> = states
        .chunks_exact(hidden)
        .flat_map(|state| {
            let outputs = parts.weight.chunks_exact(hidden).zip(parts.bias.iter());
            outputs.map(move |(weight, bias)| dot(weight, state) + bias)
        })
        .collect();
    finite(Scores { positions: states.len() / hidden, logits })
}

/// The scores, if they are numbers.
pub(crate) fn finite(scores: Scores) -> Result<Scores, EngineError> {
    if scores.logits.iter().all(|logit| logit.is_finite()) { Ok(scores) } else { Err(EngineError::NotFinite) }
}

/// Products of numbers that `head` costs on a row of `tokens` tokens.
pub(crate) fn products(head: &Head, tokens: usize) -> usize {
    let positions = if head.kind().reads_tokens() { tokens } else { 1 };
    positions * head.outputs() * head.hidden()
}

/// The part of `output` that `head` reads, `[positions, hidden]`.
fn states_for<'a>(head: &Head, output: &'a RowOutput) -> Result<&'a [f32], EngineError> {
    let reads_tokens = head.kind().reads_tokens();
    let states = if reads_tokens { &output.tokens } else { &output.pooled };
    let states = states.as_deref().ok_or_else(|| EngineError::Internal("a head's row was not computed".to_owned()))?;
    let fits = if reads_tokens { states.len().is_multiple_of(head.hidden()) } else { states.len() == head.hidden() };
    if fits {
        Ok(states)
    } else {
        Err(EngineError::Misfit(format!("a head reads vectors of {}, the encoder's differ", head.hidden())))
    }
}

pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (left_chunks, right_chunks) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest: f32 = left_chunks.remainder().iter().zip(right_chunks.remainder()).map(|(l, r)| l * r).sum();
    for (left, right) in left_chunks.zip(right_chunks) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{HeadKind, HeadParts};

    fn output(pooled: Vec<f32>) -> RowOutput {
        RowOutput { pooled: Some(pooled.into()), ..RowOutput::default() }
    }

    fn head(kind: HeadKind, hidden: usize, weight: Vec<f32>, bias: Vec<f32>) -> Head {
        let parts = HeadParts { weight: weight.into(), bias: bias.into(), ..HeadParts::default() };
        Head::new(kind, hidden, parts).unwrap()
    }

    #[test]
    fn every_position_gets_one_logit_an_output() {
        let hidden = 19;
        let weight: Vec<f32> = (0..2 * hidden).map(|index| index as f32 / 8.0).collect();
        let head = head(HeadKind::TokenClassification, hidden, weight.clone(), vec![0.5, -1.0]);
        let states: Vec<f32> = (0..3 * hidden).map(|index| 1.0 - index as f32 / 16.0).collect();
        let tokens = RowOutput { tokens: Some(states.clone().into()), ..RowOutput::default() };
        let scores = score(&head, &tokens).unwrap();
        assert_eq!((scores.positions, scores.logits.len()), (3, 6));
        for position in 0..3 {
            for output in 0..2 {
                let expected: f64 = (0..hidden)
                    .map(|at| f64::from(weight[output * hidden + at]) * f64::from(states[position * hidden + at]))
                    .sum::<f64>()
                    + [0.5, -1.0][output];
                let found = f64::from(scores.logits[position * 2 + output]);
                assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
        }
    }

    #[test]
    fn logits_that_overflow_are_an_error() {
        let huge = head(HeadKind::Classification, 2, vec![f32::MAX, f32::MAX, 0.0, 0.0], vec![0.0, 0.0]);
        assert_eq!(score(&huge, &output(vec![1.0, 1.0])), Err(EngineError::NotFinite));
        assert!(score(&huge, &output(vec![0.5, 0.25])).is_ok());
    }

    #[test]
    fn a_head_of_another_width_or_on_another_part_is_refused() {
        let narrow = head(HeadKind::Regression, 2, vec![1.0; 2], vec![0.0]);
        assert!(matches!(score(&narrow, &output(vec![1.0; 3])), Err(EngineError::Misfit(_))));
        let of_tokens = head(HeadKind::TokenClassification, 2, vec![1.0; 2], vec![0.0]);
        assert!(matches!(score(&of_tokens, &output(vec![1.0; 2])), Err(EngineError::Internal(_))));
    }
}
