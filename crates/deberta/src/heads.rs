//! Heads upon a row: dot products in fp32 on the host.
//!
//! The encoder leaves one vector a row (or a token); a head is a few of those lengths long. A product done here
//! depends on nothing beside it, and a new head needs no copy on any device.

use engine::{Head, Scores};

/// Independent running sums, so that the compiler may use the widest registers there are.
const LANES: usize = 16;

/// The logits of `head` on `states`, `[positions, hidden]`.
pub(crate) fn score(head: &Head, states: &[f32]) -> Scores {
    let hidden = head.hidden();
    let parts = head.parts();
    let logits: Vec<f32> = states
        .chunks_exact(hidden)
        .flat_map(|state| {
            let outputs = parts.weight.chunks_exact(hidden).zip(parts.bias.iter());
            outputs.map(move |(weight, bias)| dot(weight, state) + bias)
        })
        .collect();
    Scores { positions: states.len() / hidden, logits }
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
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
    use engine::{HeadKind, HeadParts};

    use super::*;

    #[test]
    fn every_position_gets_one_logit_an_output() {
        let hidden = 19;
        let weight: Vec<f32> = (0..2 * hidden).map(|index| index as f32 / 8.0).collect();
        let parts = HeadParts { weight: weight.clone().into(), bias: vec![0.5, -1.0].into(), ..HeadParts::default() };
        let head = Head::new(HeadKind::TokenClassification, hidden, parts).unwrap();
        let states: Vec<f32> = (0..3 * hidden).map(|index| 1.0 - index as f32 / 16.0).collect();
        let scores = score(&head, &states);
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
}
