//! Rows in line: equal ones wait as one, oldest first, and those of several tenants in turn.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::batch::{Budget, Candidate, next_batch};
use crate::batcher::Done;
use crate::error::{EngineError, Stage};
use crate::model::Row;
use crate::row_key::RowKey;
use crate::shares::{Lane, Shares};
use crate::turns::{Accounts, Turns, Waiting};

/// Who waits for a row.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) reply: oneshot::Sender<Result<Done, EngineError>>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) queued_at: Instant,
    /// Set when the row joins a batch; the ask holds the other end, to say where a deadline hit it.
    pub(crate) taken: Arc<AtomicBool>,
}

/// A row in the queue: the model sees `row` alone.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: RowKey,
    /// Reads what any of its subscribers reads.
    pub(crate) row: Row,
    /// In the order in which they came; while the row waits there is at least one.
    pub(crate) subscribers: Vec<Subscriber>,
    /// Batches in which later rows went before it.
    overtaken: u8,
    /// It runs, and others may join it.
    pub(crate) joinable: bool,
}

/// One line of rows.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// By number in line, oldest first.
    entries: BTreeMap<u64, Entry>,
    /// The number in line of every row that waits.
    places: HashMap<RowKey, u64>,
    next_place: u64,
    /// The lanes that rows here were put in since one lane was last alone: no fewer than wait now.
    lanes: Vec<Lane>,
    accounts: Accounts,
}

/// Subscribers that were taken out of a line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dead {
    /// Their deadline has passed.
    pub(crate) expired: u64,
    /// They have left.
    pub(crate) abandoned: u64,
}

impl Line {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tokens of the row that goes next.
    pub(crate) fn first_length(&mut self, shares: &Shares) -> Option<usize> {
        let first = match self.turns(shares) {
            Some(mut turns) => self.entries.get(&turns.next()?.place),
            None => self.entries.first_key_value().map(|(_, entry)| entry),
        };
        first.map(|entry| entry.row.tokens.len())
    }

    /// Gives an equal row that waits one subscriber more; the subscriber comes back where there is none.
    pub(crate) fn join(&mut self, key: &RowKey, row: &Row, subscriber: Subscriber) -> Result<(), Subscriber> {
        match self.places.get(key).and_then(|place| self.entries.get_mut(place)) {
            Some(entry) => {
                entry.row.reads = entry.row.reads.union(row.reads);
                entry.subscribers.push(subscriber);
                Ok(())
            }
            None => Err(subscriber),
        }
    }

    /// Puts a row at the end.
    pub(crate) fn append(&mut self, key: RowKey, row: Row, subscribers: Vec<Subscriber>) {
        if !self.lanes.contains(&key.lane()) {
            self.lanes.push(key.lane());
        }
        self.places.insert(key.clone(), self.next_place);
        self.entries.insert(self.next_place, Entry { key, row, subscribers, overtaken: 0, joinable: false });
        self.next_place += 1;
    }

    /// Takes the equal row out, if it waits.
    pub(crate) fn remove(&mut self, key: &RowKey) -> Option<Entry> {
        let place = self.places.remove(key)?;
        self.entries.remove(&place)
    }

    /// Takes everything out.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = Entry> + use<> {
        self.places.clear();
        self.lanes.clear();
        std::mem::take(&mut self.entries).into_values()
    }

    /// Takes out what makes the next batch: of several lanes in turn, of one alone the oldest first.
    pub(crate) fn take_next(&mut self, budget: Budget, shares: &Shares) -> Vec<Entry> {
        let candidate = |entry: &Entry| Candidate { length: entry.row.tokens.len(), overtaken: entry.overtaken };
        let (plan, in_line) = match self.turns(shares) {
            None => {
                let plan = next_batch(self.entries.values().map(candidate), budget);
                let reach = plan.taken.last().map_or(0, |last| last + 1);
                let in_line: Vec<u64> = self.entries.keys().copied().take(reach).collect();
                (plan, in_line)
            }
            Some(turns) => {
                let mut asked = Vec::new();
                let rows = turns.inspect(|turn| asked.push(*turn)).filter_map(|turn| self.entries.get(&turn.place));
                let plan = next_batch(rows.map(candidate), budget);
                plan.taken.iter().filter_map(|taken| asked.get(*taken)).for_each(|turn| self.accounts.charge(*turn));
                (plan, asked.iter().map(|turn| turn.place).collect())
            }
        };
        for place in plan.overtaken {
            if let Some(entry) = in_line.get(place).and_then(|number| self.entries.get_mut(number)) {
                entry.overtaken += 1;
            }
        }
        let taken = plan.taken.into_iter().filter_map(|place| self.entries.remove(in_line.get(place)?));
        let batch: Vec<Entry> = taken.collect();
        for entry in &batch {
            self.places.remove(&entry.key);
        }
        if self.entries.is_empty() {
            self.lanes.clear();
            self.accounts = Accounts::default();
        }
        batch
    }

    /// The order of the rows where several lanes wait; `None` where one is alone, and its rows go as they came.
    fn turns(&mut self, shares: &Shares) -> Option<Turns> {
        if self.lanes.len() < 2 {
            return None;
        }
        let mut waiting: BTreeMap<Lane, VecDeque<(u64, usize)>> = BTreeMap::new();
        for (place, entry) in &self.entries {
            waiting.entry(entry.key.lane()).or_default().push_back((*place, entry.row.tokens.len()));
        }
        self.lanes = waiting.keys().copied().collect();
        if let [alone] = self.lanes[..] {
            self.accounts.left_alone(alone);
            return None;
        }
        let weighed = |(lane, rows)| Waiting { lane, weight: shares.weight(lane), rows };
        Some(self.accounts.turns(waiting.into_iter().map(weighed).collect()))
    }

    /// Takes out the subscribers whose deadline has passed or who have left, and the rows that nobody waits for now.
    pub(crate) fn drop_the_dead(&mut self, now: Instant) -> Dead {
        let mut dead = Dead::default();
        let Self { entries, places, .. } = self;
        entries.retain(|_, entry| {
            entry.subscribers.retain_mut(|subscriber| {
                if subscriber.reply.is_closed() {
                    dead.abandoned += 1;
                    return false;
                }
                let alive = subscriber.deadline.is_none_or(|deadline| deadline > now);
                if !alive {
                    dead.expired += 1;
                    let (spent, _) = oneshot::channel();
                    let reply = std::mem::replace(&mut subscriber.reply, spent);
                    let _ = reply.send(Err(EngineError::DeadlineExceeded(Stage::Queue)));
                }
                alive
            });
            if entry.subscribers.is_empty() {
                places.remove(&entry.key);
            }
            !entry.subscribers.is_empty()
        });
        dead
    }
}

#[cfg(test)]
mod tests;
