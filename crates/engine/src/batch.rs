//! Policy: which rows of the queue make the next batch. A pure function of their lengths and of how often they were
//! overtaken.

/// In so many batches a row may see later rows go first; then nobody passes it any more.
pub(crate) const MOST_OVERTAKEN: u8 = 4;
/// So many rows behind the first that does not fit are looked at.
const LOOK_AHEAD: usize = 64;

/// Bounds of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Tokens, over all rows. The encoder runs rows unpadded, so real tokens are what a batch costs.
    pub(crate) tokens: usize,
    /// Rows.
    pub(crate) rows: usize,
}

/// A row in line, as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its tokens.
    pub(crate) length: usize,
    /// Batches in which later rows went before it.
    pub(crate) overtaken: u8,
}

/// The next batch, as places in the queue, each list in ascending order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Rows that go.
    pub(crate) taken: Vec<usize>,
    /// Rows that stay although a later one goes.
    pub(crate) overtaken: Vec<usize>,
}

/// Which rows of a queue, in the order of their turns, make the next batch.
///
/// The first row always goes, alone if it is longer than the budget. Rows follow in order while they fit. One that does
/// not fit stays, and later ones that fit may go before it: in [`MOST_OVERTAKEN`] batches at most, then the batch ends
/// at it. So short rows fill the room that a long one leaves, and the long one still waits for a number of batches
/// that depends on the rows before it alone.
pub(crate) fn next_batch(queue: impl IntoIterator<Item = Candidate>, budget: Budget) -> Plan {
    let mut plan = Plan::default();
    let mut tokens = 0_usize;
    let mut passed = Vec::new();
    let mut first_misfit = None;
    for (place, row) in queue.into_iter().enumerate() {
        let too_far = first_misfit.is_some_and(|misfit| place - misfit > LOOK_AHEAD);
        if plan.taken.len() == budget.rows.max(1) || too_far || (place > 0 && tokens >= budget.tokens) {
            break;
        }
        let with_this = tokens.saturating_add(row.length);
        if place == 0 || with_this <= budget.tokens {
            tokens = with_this;
            plan.taken.push(place);
            plan.overtaken.append(&mut passed);
        } else if row.overtaken < MOST_OVERTAKEN {
            first_misfit.get_or_insert(place);
            passed.push(place);
        } else {
            break;
        }
    }
    plan
}

#[cfg(test)]
mod tests;
