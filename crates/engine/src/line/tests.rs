//! What a line owes several tenants: each its share while it waits, whatever the others send.

use std::hash::{BuildHasherDefault, DefaultHasher};

use super::*;
use crate::batch::MOST_OVERTAKEN;
use crate::model::Reads;
use crate::quota::Quota;
use crate::task::TenantName;
use crate::tokens::Tokens;

const BUDGET: Budget = Budget { tokens: 100, rows: 50 };

type Reply = oneshot::Receiver<Result<Done, EngineError>>;

/// A line, the tenants' shares of it, and the other ends of its rows.
#[derive(Default)]
struct Office {
    line: Line,
    shares: Shares,
    replies: Vec<Reply>,
    next_id: u32,
}

impl Office {
    fn lane(&self, tenant: &str) -> Lane {
        self.shares.lane(&tenant.parse::<TenantName>().unwrap())
    }

    fn weigh(&self, tenant: &str, weight: u32) {
        let quota = Quota { weight: Some(f64::from(weight)), ..Quota::default() };
        self.shares.set(&[(tenant.parse().unwrap(), quota)]);
    }

    /// Puts a row of so many tokens in line, unlike any before.
    fn push(&mut self, tenant: &str, length: usize) -> u32 {
        self.next_id += 1;
        self.push_equal(tenant, self.next_id, length);
        self.next_id
    }

    fn push_many(&mut self, rows: usize, tenant: &str, length: usize) {
        for _ in 0..rows {
            self.push(tenant, length);
        }
    }

    fn push_equal(&mut self, tenant: &str, id: u32, length: usize) {
        let tokens = Tokens { ids: vec![id; length], ..Tokens::default() };
        let row = Row { tokens: Arc::new(tokens), task_embedding: None, adapter: None, reads: Reads::default() };
        let key = RowKey::new(&row, self.lane(tenant), &BuildHasherDefault::<DefaultHasher>::default());
        let (reply, receiver) = oneshot::channel();
        let subscriber = Subscriber { reply, deadline: None, queued_at: Instant::now(), taken: Arc::default() };
        if let Err(subscriber) = self.line.join(&key, &row, subscriber) {
            self.line.append(key, row, vec![subscriber]);
        }
        self.replies.push(receiver);
    }

    /// The next batch: each row's number, and its tokens.
    fn take(&mut self) -> Vec<(u32, usize)> {
        let batch = self.line.take_next(BUDGET, &self.shares);
        batch.iter().map(|entry| (entry.row.tokens.ids[0], entry.row.tokens.len())).collect()
    }

    /// The batch in which the row goes, counted from 1, and the tokens that went before it.
    fn until_served(&mut self, id: u32) -> (usize, usize) {
        let mut tokens = 0;
        for batch in 1..10_000 {
            for (served, length) in self.take() {
                if served == id {
                    return (batch, tokens);
                }
                tokens += length;
            }
        }
        panic!("row {id} never goes");
    }
}

#[test]
fn a_row_beside_a_flood_is_in_the_next_batch() {
    let mut office = Office::default();
    office.push_many(1_000, "flood", 10);
    let one = office.push("small", 10);
    assert_eq!(office.until_served(one).0, 1);
}

/// One tenant sends ten times its share, the other a tenth of its own: what the second waits for does not grow.
#[test]
fn a_tenant_far_below_its_share_waits_for_a_bounded_number_of_rows_whatever_another_sends() {
    let mut office = Office::default();
    let mut waits = Vec::new();
    for round in 0..200 {
        // A batch is 100 tokens, so a share is 50 a batch: the flood brings 500, the other 5 every batch.
        office.push_many(50, "flood", 10);
        let small = office.push("small", 5);
        let (batches, tokens) = office.until_served(small);
        assert!(batches == 1 && tokens <= 10, "round {round}: {batches} batches, {tokens} tokens before it");
        waits.push(tokens);
    }
    assert!(waits.iter().any(|tokens| *tokens > 0), "it does wait for its turn");
    assert!(office.line.len() > 5_000, "the flood grows behind it");
}

#[test]
fn tokens_are_divided_by_weight_while_several_wait() {
    let mut office = Office::default();
    office.weigh("heavy", 3);
    let mut of_heavy = std::collections::HashSet::new();
    for _ in 0..400 {
        of_heavy.insert(office.push("heavy", 5));
        office.push("light", 20);
    }
    let mut tokens = [0, 0];
    for _ in 0..20 {
        for (id, length) in office.take() {
            tokens[usize::from(of_heavy.contains(&id))] += length;
        }
    }
    let [light, heavy] = tokens;
    assert!(heavy > 1_400 && light > 450, "{light} and {heavy} of 2,000");
}

#[test]
fn a_tenant_that_comes_back_is_not_paid_for_the_time_it_was_away() {
    let mut office = Office::default();
    office.push_many(500, "stays", 10);
    office.push("leaves", 10);
    for _ in 0..30 {
        office.take();
    }
    let back: Vec<u32> = (0..100).map(|_| office.push("leaves", 10)).collect();
    for _ in 0..4 {
        let of_the_other = office.take().iter().filter(|(id, _)| !back.contains(id)).count();
        assert!((4..=6).contains(&of_the_other), "{of_the_other} of 10 rows");
    }
}

#[test]
fn one_tenant_alone_goes_as_it_came_and_leaves_no_account() {
    let mut office = Office::default();
    let rows: Vec<u32> = (0..20).map(|_| office.push("alone", 10)).collect();
    let served: Vec<u32> = [office.take(), office.take()].concat().iter().map(|(id, _)| *id).collect();
    assert_eq!(served, rows);
    assert!(office.line.lanes.is_empty());
}

#[test]
fn a_row_that_two_tenants_want_is_computed_for_each_in_its_own_time() {
    let mut office = Office::default();
    office.push_many(100, "flood", 10);
    let last = office.push("flood", 10);
    office.push_equal("small", last, 10);
    assert_eq!(office.line.len(), 102);
    assert_eq!(office.until_served(last).0, 1, "the small tenant's own");
    assert_eq!(office.until_served(last).0, 10, "the flood's, behind all its others");
}

#[test]
fn a_long_row_is_passed_by_few_batches_of_its_own_tenant_and_of_others() {
    let mut office = Office::default();
    office.push_many(8, "long", 60);
    let long = office.push("long", 90);
    for _ in 0..200 {
        office.push("long", 5);
        office.push("short", 5);
    }
    let (batches, _) = office.until_served(long);
    // Its own tenant's share before it is 480 tokens, which with as many of the other are ten batches.
    assert!(batches <= 10 + usize::from(MOST_OVERTAKEN) + 2, "{batches}");
}

#[test]
fn rows_that_were_given_up_cost_their_tenant_nothing() {
    let mut office = Office::default();
    office.push_many(100, "flood", 10);
    office.push_many(100, "patient", 10);
    let given_up = office.replies.split_off(100);
    drop(given_up);
    assert_eq!(office.line.drop_the_dead(Instant::now()).abandoned, 100);
    let again = office.push("patient", 10);
    assert_eq!(office.until_served(again).0, 1);
}
