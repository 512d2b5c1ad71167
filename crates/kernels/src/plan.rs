//! Where the rows of a batch lie, and what is asked of the last layer.

use crate::adapter::Adapter;

/// One row of a batch.
#[derive(Debug, Clone, Copy)]
pub struct InputRow<'a> {
    /// Vocabulary ids, at least one.
    pub ids: &'a [u32],
    /// Token types, one an id; or none at all.
    pub types: &'a [u32],
    /// Added to the first token's word row, `[embedding]`.
    pub task_embedding: Option<&'a [f32]>,
    /// What this row's linear layers get added; made for this encoder's weights.
    pub adapter: Option<&'a Adapter>,
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
    /// One more than the place of the row's adapter among those of the batch; 0 for none.
    pub(crate) adapter: u32,
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
    /// For each adapter of the batch, the first row that carries it.
    pub(crate) adapter_rows: Vec<usize>,
    /// The adapter of each row, each token and each wanted token, as in [`QueryBlock::adapter`]; empty where there are none.
    pub(crate) row_adapters: Vec<u32>,
    pub(crate) token_adapters: Vec<u32>,
    pub(crate) wanted_adapters: Vec<u32>,
}

impl Plan {
    /// Lays out `rows`, with at most `block` queries a task.
    pub(crate) fn new(rows: &[InputRow<'_>], block: usize) -> Self {
        let mut plan = Self::default();
        let any_adapter = rows.iter().any(|row| row.adapter.is_some());
        for (index, row) in rows.iter().enumerate() {
            let adapter = plan.adapter_of(rows, index);
            let (first_token, length) = (plan.tokens, row.ids.len());
            plan.places.extend((0..length).map(|position| (index as u32, position as u32)));
            let blocks = |first_place: usize, count: usize| {
                (0..count).step_by(block).map(move |position| QueryBlock {
                    first_token,
                    length,
                    position,
                    place: first_place + position,
                    count: block.min(count - position),
                    adapter,
                })
            };
            plan.every.extend(blocks(first_token, length));
            plan.first_wanted.push(plan.wanted.len());
            let wanted = if row.every_token { length } else { 1 };
            plan.last.extend(blocks(plan.wanted.len(), wanted));
            plan.wanted.extend(first_token..first_token + wanted);
            if any_adapter {
                plan.row_adapters.push(adapter);
                plan.token_adapters.extend(std::iter::repeat_n(adapter, length));
                plan.wanted_adapters.extend(std::iter::repeat_n(adapter, wanted));
            }
            plan.tokens += length;
            plan.longest = plan.longest.max(length);
        }
        // The longest tasks first: no member is left with one at the end.
        plan.every.sort_by_key(|block| std::cmp::Reverse(block.length * block.count));
        plan.last.sort_by_key(|block| std::cmp::Reverse(block.length * block.count));
        plan
    }

    /// The number of row `index`'s adapter, which is noted where it is new.
    fn adapter_of(&mut self, rows: &[InputRow<'_>], index: usize) -> u32 {
        let Some(adapter) = rows[index].adapter else { return 0 };
        let is_same = |row: &usize| rows[*row].adapter.is_some_and(|known| std::ptr::eq(known, adapter));
        let place = self.adapter_rows.iter().position(is_same).unwrap_or_else(|| {
            self.adapter_rows.push(index);
            self.adapter_rows.len() - 1
        });
        place as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_end_to_end_and_the_last_layer_keeps_what_is_wanted() {
        let ids = [7; 5];
        let row = |length, every_token| InputRow {
            ids: &ids[..length],
            types: &[],
            task_embedding: None,
            adapter: None,
            every_token,
        };
        let plan = Plan::new(&[row(2, false), row(5, true), row(1, false)], 3);
        assert_eq!((plan.tokens, plan.longest), (8, 5));
        assert_eq!(plan.places[3], (1, 1));
        assert_eq!(plan.wanted, [0, 2, 3, 4, 5, 6, 7]);
        assert_eq!(plan.first_wanted, [0, 1, 6]);
        assert!(plan.token_adapters.is_empty() && plan.adapter_rows.is_empty());
        let block = |first_token, length, position, place, count| QueryBlock {
            first_token,
            length,
            position,
            place,
            count,
            adapter: 0,
        };
        assert_eq!(
            plan.every,
            [block(2, 5, 0, 2, 3), block(2, 5, 3, 5, 2), block(0, 2, 0, 0, 2), block(7, 1, 0, 7, 1)]
        );
        assert_eq!(plan.last, [block(2, 5, 0, 1, 3), block(2, 5, 3, 4, 2), block(0, 2, 0, 0, 1), block(7, 1, 0, 6, 1)]);
    }
}
