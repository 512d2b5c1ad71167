//! Scores of overlapping windows to the scores of the one text they were read from.

use std::ops::Range;
use std::sync::Arc;

use crate::ask::Aggregation;
use crate::model::Scores;
use crate::tokens::{Tokens, Window};

/// One window and what a head made of it.
pub(crate) type ScoredWindow = (Window, Scores);

/// The windows of one sequence as one row of scores, with the tokens that these are about: of a head on the pooled
/// vector one row of logits, of a token head those of every token of the text once.
pub(crate) fn combine(mut windows: Vec<ScoredWindow>, by: Aggregation, reads_tokens: bool) -> (Arc<Tokens>, Scores) {
    match windows.pop() {
        None => (Arc::default(), Scores { positions: 0, logits: Vec::new() }),
        Some((window, scores)) if windows.is_empty() => (window.tokens, scores),
        Some(last) => {
            windows.push(last);
            if reads_tokens { merge(&windows) } else { aggregate(&windows, by) }
        }
    }
}

/// Label by label over the windows.
fn aggregate(windows: &[ScoredWindow], by: Aggregation) -> (Arc<Tokens>, Scores) {
    let tokens = windows.first().map(|(window, _)| Arc::clone(&window.tokens)).unwrap_or_default();
    let n_logits = windows.iter().map(|(_, scores)| scores.logits.len()).min().unwrap_or_default();
    let weights: usize = windows.iter().map(|(window, _)| window.range.len()).sum();
    let one = |label: usize| -> f32 {
        let of_windows = windows.iter().map(|(window, scores)| (window.range.len(), scores.logits[label]));
        match by {
            Aggregation::Mean => of_windows.map(|(weight, logit)| weight as f32 / weights as f32 * logit).sum(),
            Aggregation::Max => of_windows.map(|(_, logit)| logit).fold(f32::NEG_INFINITY, f32::max),
        }
    };
    (tokens, Scores { positions: 1, logits: (0..n_logits).map(one).collect() })
}

/// Every token of the text once, from the window in which it has the most context on its shorter side; the special
/// tokens before them from the first window, those after them from the last.
fn merge(windows: &[ScoredWindow]) -> (Arc<Tokens>, Scores) {
    let mut tokens = Tokens::default();
    let mut logits = Vec::new();
    let mut next = 0;
    for (place, (window, scores)) in windows.iter().enumerate() {
        let before = window.tokens.origins.iter().take_while(|origin| origin.is_none()).count();
        let after = windows.get(place + 1).map(|(after, _)| seam(&window.range, &after.range));
        // From positions in the text to positions in the row.
        let row = |position: usize| before + position - window.range.start;
        let start = if place == 0 { 0 } else { row(next) };
        let end = after.map_or(window.tokens.len(), row);
        next = after.unwrap_or(next);
        tokens.ids.extend_from_slice(&window.tokens.ids[start..end]);
        tokens.type_ids.extend_from_slice(&window.tokens.type_ids[start..end]);
        tokens.origins.extend_from_slice(&window.tokens.origins[start..end]);
        let outputs = scores.logits.len() / scores.positions.max(1);
        logits.extend_from_slice(&scores.logits[start * outputs..end * outputs]);
    }
    let positions = tokens.len();
    (Arc::new(tokens), Scores { positions, logits })
}

/// The first token that the later of two neighbouring windows judges: the middle of what they have in common.
fn seam(one: &Range<usize>, after: &Range<usize>) -> usize {
    (after.start + one.end).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Origin;
    use crate::truncation;

    /// A window over those positions of a text, each token's id its position plus 10, between 1 and 2; one output, which
    /// is 1,000 times the window's number plus the position.
    fn window(number: usize, range: Range<usize>) -> ScoredWindow {
        let origin = |at: usize| Some(Origin { side: 0, word: at as u32, start: 0, end: 1 });
        let ids = [1].into_iter().chain(range.clone().map(|at| at as u32 + 10)).chain([2]);
        let origins = [None].into_iter().chain(range.clone().map(origin)).chain([None]);
        let logits: Vec<f32> = (0..range.len() + 2).map(|at| (1_000 * number + range.start + at) as f32).collect();
        let tokens = Tokens {
            ids: ids.collect(),
            type_ids: vec![0; range.len() + 2],
            origins: origins.collect(),
            ..Tokens::default()
        };
        (Window { tokens: Arc::new(tokens), range }, Scores { positions: logits.len(), logits })
    }

    #[test]
    fn every_token_is_there_once_and_judged_where_it_has_the_most_context() {
        for (n_tokens, room) in [(9, 8), (21, 8), (40, 5), (7, 1), (100, 13)] {
            let ranges = truncation::windows(n_tokens, room);
            let windows: Vec<_> = ranges.iter().cloned().enumerate().map(|(at, range)| window(at, range)).collect();
            let (tokens, scores) = combine(windows, Aggregation::Mean, true);
            let ids: Vec<u32> = [1].into_iter().chain((0..n_tokens as u32).map(|at| at + 10)).chain([2]).collect();
            assert_eq!((&tokens.ids, scores.positions), (&ids, n_tokens + 2));
            for position in 0..n_tokens {
                let context = |range: &Range<usize>| {
                    let left = if range.start == 0 { usize::MAX } else { position - range.start };
                    let right = if range.end == n_tokens { usize::MAX } else { range.end - 1 - position };
                    left.min(right)
                };
                let judge = scores.logits[position + 1] as usize / 1_000;
                let of_others = ranges.iter().filter(|range| range.contains(&position)).map(context).max();
                assert_eq!(Some(context(&ranges[judge])), of_others, "{position} of {n_tokens} in {room}");
                assert_eq!(scores.logits[position + 1] as usize % 1_000, position + 1);
            }
        }
    }

    #[test]
    fn a_mean_counts_windows_by_their_tokens_and_the_largest_is_found_label_by_label() {
        let scored = |range: Range<usize>, logits: [f32; 2]| {
            let (window, _) = window(0, range);
            (window, Scores { positions: 1, logits: logits.to_vec() })
        };
        let windows = || vec![scored(0..6, [1.0, -3.0]), scored(4..6, [5.0, -7.0])];
        assert_eq!(combine(windows(), Aggregation::Mean, false).1.logits, [2.0, -4.0]);
        assert_eq!(combine(windows(), Aggregation::Max, false).1.logits, [5.0, -3.0]);
        assert_eq!(combine(vec![scored(0..6, [1.0, -3.0])], Aggregation::Mean, false).1.logits, [1.0, -3.0]);
    }
}
