//! Where the rows of a batch lie, and what is asked of the last layer.

/// One row of a batch.
#[derive(Debug, Clone, Copy)]
pub struct InputRow<'a> {
    /// Vocabulary ids, at least one.
    pub ids: &'a [u32],
    /// Token types, one an id; or none at all.
    pub types: &'a [u32],
    /// Added to the first token's word row, `[embedding]`.
    pub task_embedding: Option<&'a [f32]>,
    /// Whether every token's state is wanted, or the first one's alone.
    pub every_token: bool,
}

/// Queries that one task of attention takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueryBlock {
    /// The row's first token among all tokens.
    pub(crate) first_token: usize,
    pub(crate) length: usize,
    /// The block's first query: its position in the row, and its place among all queries.
    pub(crate) position: usize,
    pub(crate) place: usize,
    pub(crate) count: usize,
}

/// A batch laid out end to end, without padding.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) tokens: usize,
    pub(crate) longest: usize,
    /// Row and position of each token.
    pub(crate) places: Vec<(u32, u32)>,
    /// Attention of every layer but the last, longest rows first.
    pub(crate) every: Vec<QueryBlock>,
    /// Attention of the last layer, longest rows first.
    pub(crate) last: Vec<QueryBlock>,
    /// The tokens whose last state is wanted.
    pub(crate) wanted: Vec<usize>,
    /// Each row's first place among the wanted.
    pub(crate) first_wanted: Vec<usize>,
}

impl Plan {
    /// Lays out `rows`, with at most `block` queries a task.
    pub(crate) fn new(rows: &[InputRow<'_>], block: usize) -> Self {
        let mut plan = Self::default();
        for (index, row) in rows.iter().enumerate() {
            let (first_token, length) = (plan.tokens, row.ids.len());
            plan.places.extend((0..length).map(|position| (index as u32, position as u32)));
            let blocks = |first_place: usize, count: usize| {
                (0..count).step_by(block).map(move |position| QueryBlock {
                    first_token,
                    length,
                    position,
                    place: first_place + position,
                    count: block.min(count - position),
                })
            };
            plan.every.extend(blocks(first_token, length));
            plan.first_wanted.push(plan.wanted.len());
            let wanted = if row.every_token { length } else { 1 };
            plan.last.extend(blocks(plan.wanted.len(), wanted));
            plan.wanted.extend(first_token..first_token + wanted);
            plan.tokens += length;
            plan.longest = plan.longest.max(length);
        }
        // The longest tasks first: no member is left with one at the end.
        plan.every.sort_by_key(|block| std::cmp::Reverse(block.length * block.count));
        plan.last.sort_by_key(|block| std::cmp::Reverse(block.length * block.count));
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_end_to_end_and_the_last_layer_keeps_what_is_wanted() {
        let ids = [7; 5];
        let row = |length, every_token| InputRow { ids: &ids[..length], types: &[], task_embedding: None, every_token };
        let plan = Plan::new(&[row(2, false), row(5, true), row(1, false)], 3);
        assert_eq!((plan.tokens, plan.longest), (8, 5));
        assert_eq!(plan.places[3], (1, 1));
        assert_eq!(plan.wanted, [0, 2, 3, 4, 5, 6, 7]);
        assert_eq!(plan.first_wanted, [0, 1, 6]);
        let block =
            |first_token, length, position, place, count| QueryBlock { first_token, length, position, place, count };
        assert_eq!(
            plan.every,
            [block(2, 5, 0, 2, 3), block(2, 5, 3, 5, 2), block(0, 2, 0, 0, 2), block(7, 1, 0, 7, 1)]
        );
        assert_eq!(plan.last, [block(2, 5, 0, 1, 3), block(2, 5, 3, 4, 2), block(0, 2, 0, 0, 1), block(7, 1, 0, 6, 1)]);
    }
}
