//! Policy: in which order the rows of several tenants go. Pure.
//!
//! Every lane has an account of the tokens it was served while others waited, divided by its weight. The next row is the
//! oldest of the lane that has had the least. So each lane that waits gets its share, whatever the others send, and a
//! lane with few rows is served before one with many.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use crate::shares::Lane;

/// What a token costs a lane of weight 1.
const TOKEN: u64 = 1 << 16;

/// What each lane has had. It is kept while lanes compete, and forgotten with the last row.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    spent: BTreeMap<Lane, u64>,
    /// The least that a lane had spent when several waited last: one that comes now begins here and is not paid for the
    /// time it was away.
    floor: u64,
}

/// The rows of one lane, oldest first: their places in line and their tokens.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) lane: Lane,
    pub(crate) weight: NonZeroU32,
    pub(crate) rows: VecDeque<(u64, usize)>,
}

/// Whose turn it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) lane: Lane,
    /// The row's place in line.
    pub(crate) place: u64,
    cost: u64,
}

/// All rows in the order in which they go, as far as it is asked for.
#[derive(Debug)]
pub(crate) struct Turns {
    lanes: Vec<(u64, Waiting)>,
}

impl Accounts {
    /// The order in which the rows of `lanes` go; each has at least one.
    pub(crate) fn turns(&mut self, lanes: Vec<Waiting>) -> Turns {
        let floor = self.floor;
        let had = |waiting: &Waiting| self.spent.get(&waiting.lane).copied().unwrap_or_default().max(floor);
        let lanes: Vec<_> = lanes.into_iter().map(|waiting| (had(&waiting), waiting)).collect();
        self.floor = lanes.iter().map(|(spent, _)| *spent).min().unwrap_or(floor);
        self.spent = lanes.iter().map(|(spent, waiting)| (waiting.lane, *spent)).chain(self.debts()).collect();
        Turns { lanes }
    }

    /// Only this lane waits: nobody who comes later is behind it.
    pub(crate) fn left_alone(&mut self, lane: Lane) {
        self.floor = self.floor.max(self.spent.get(&lane).copied().unwrap_or_default());
        self.spent = self.debts().into_iter().collect();
    }

    /// The row of that turn is served.
    pub(crate) fn charge(&mut self, turn: Turn) {
        let spent = self.spent.entry(turn.lane).or_insert(self.floor);
        *spent = spent.saturating_add(turn.cost);
    }

    /// What lanes owe that do not wait now: more than a newcomer would.
    fn debts(&self) -> Vec<(Lane, u64)> {
        self.spent.iter().filter(|(_, spent)| **spent > self.floor).map(|(lane, spent)| (*lane, *spent)).collect()
    }
}

impl Iterator for Turns {
    type Item = Turn;

    fn next(&mut self) -> Option<Turn> {
        let next = self.lanes.iter_mut().filter(|(_, waiting)| !waiting.rows.is_empty());
        let (spent, waiting) = next.min_by_key(|(spent, waiting)| (*spent, waiting.rows.front().copied()))?;
        let (place, tokens) = waiting.rows.pop_front()?;
        let cost = (TOKEN.saturating_mul(tokens as u64) / u64::from(waiting.weight.get())).max(1);
        *spent = spent.saturating_add(cost);
        Some(Turn { lane: waiting.lane, place, cost })
    }
}
