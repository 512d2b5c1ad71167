//! Policy: which rows of the queue make the next batch. A pure function of their lengths.

/// Bounds of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Tokens, over all rows. The encoder runs rows unpadded, so real tokens are what a batch costs.
    pub(crate) tokens: usize,
    /// Rows.
    pub(crate) rows: usize,
}

/// How many rows to take from the front of a queue whose rows have `lengths` tokens, oldest first.
///
/// At least one row where there is any, so that a row longer than the budget still runs, alone. Rows leave in the
/// order in which they came: nobody is overtaken, so nobody starves.
pub(crate) fn next_batch(lengths: impl IntoIterator<Item = usize>, budget: Budget) -> usize {
    let mut tokens = 0_usize;
    lengths
        .into_iter()
        .take(budget.rows.max(1))
        .enumerate()
        .take_while(|&(taken, length)| {
            tokens = tokens.saturating_add(length);
            taken == 0 || tokens <= budget.tokens
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { tokens: 100, rows: 4 };

    #[test]
    fn a_batch_ends_at_the_token_budget() {
        assert_eq!(next_batch([40, 40, 40], BUDGET), 2);
        assert_eq!(next_batch([40, 60, 1], BUDGET), 2);
    }

    #[test]
    fn a_batch_ends_at_the_row_budget() {
        assert_eq!(next_batch([1; 9], BUDGET), 4);
    }

    #[test]
    fn a_row_over_the_budget_runs_alone() {
        assert_eq!(next_batch([500, 1], BUDGET), 1);
        assert_eq!(next_batch([1, 500], BUDGET), 1);
    }

    #[test]
    fn an_empty_queue_makes_an_empty_batch() {
        assert_eq!(next_batch([], BUDGET), 0);
    }
}
