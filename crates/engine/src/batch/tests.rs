//! What the policy owes: budgets kept, room filled, nobody passed over for long.

use super::*;

const BUDGET: Budget = Budget { tokens: 100, rows: 4 };

fn fresh(lengths: impl IntoIterator<Item = usize>) -> Vec<Candidate> {
    lengths.into_iter().map(|length| Candidate { length, overtaken: 0 }).collect()
}

fn taken(lengths: impl IntoIterator<Item = usize>) -> Vec<usize> {
    next_batch(fresh(lengths), BUDGET).taken
}

#[test]
fn a_batch_ends_at_the_token_budget() {
    assert_eq!(taken([40, 40, 40]), [0, 1]);
    assert_eq!(taken([40, 60, 1]), [0, 1]);
}

#[test]
fn a_batch_ends_at_the_row_budget() {
    assert_eq!(taken([1; 9]), [0, 1, 2, 3]);
}

#[test]
fn a_row_over_the_budget_runs_alone() {
    assert_eq!(taken([500, 1]), [0]);
    assert_eq!(taken([1, 500]), [0]);
}

#[test]
fn an_empty_queue_makes_an_empty_batch() {
    assert_eq!(next_batch([], BUDGET), Plan::default());
}

#[test]
fn later_rows_fill_the_room_that_a_long_one_leaves() {
    let plan = next_batch(fresh([60, 80, 30, 50, 10]), BUDGET);
    assert_eq!(plan, Plan { taken: vec![0, 2, 4], overtaken: vec![1, 3] });
    let plan = next_batch(fresh([60, 80, 30, 50]), BUDGET);
    assert_eq!(plan, Plan { taken: vec![0, 2], overtaken: vec![1] }, "nobody went before the last");
}

#[test]
fn a_row_that_was_overtaken_often_enough_is_overtaken_no_more() {
    let queue = |overtaken| {
        let mut queue = fresh([60, 80, 30]);
        queue[1].overtaken = overtaken;
        queue
    };
    assert_eq!(next_batch(queue(MOST_OVERTAKEN - 1), BUDGET).taken, [0, 2]);
    assert_eq!(next_batch(queue(MOST_OVERTAKEN), BUDGET).taken, [0]);
}

#[test]
fn rows_far_behind_the_first_misfit_are_not_looked_at() {
    let queue = |misfits: usize| [60].into_iter().chain(std::iter::repeat_n(80, misfits)).chain([30]);
    assert_eq!(taken(queue(LOOK_AHEAD)), [0, LOOK_AHEAD + 1]);
    assert_eq!(taken(queue(LOOK_AHEAD + 1)), [0]);
    let wide = Budget { tokens: 1_000, rows: 300 };
    assert_eq!(next_batch(fresh([1; 200]), wide).taken.len(), 200, "rows that fit are no misfits");
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// A row of the simulation, with the batches that went since it came and the most that may.
struct Waiting {
    row: Candidate,
    waited: usize,
    most: usize,
}

/// The most batches a row may wait for that finds `queue` before it. Two batches in a row hold more than the token
/// budget or the row budget of rows before it, but for those in which it was overtaken and their neighbours.
fn most_batches(queue: &[Waiting], budget: Budget) -> usize {
    let tokens: usize = queue.iter().map(|waiting| waiting.row.length).sum();
    2 * (tokens / budget.tokens) + 2 * (queue.len() / budget.rows) + 3 * usize::from(MOST_OVERTAKEN) + 2
}

#[test]
fn no_row_waits_for_more_batches_than_the_rows_before_it_call_for() {
    let mut batches = 0;
    for seed in 0..50 {
        let random = &mut Random(seed);
        let budget = Budget { tokens: 20 + random.below(200), rows: 1 + random.below(40) };
        let longest = 1 + random.below(2 * budget.tokens);
        let mut queue: Vec<Waiting> = Vec::new();
        for _ in 0..80 {
            // Mostly short rows, always enough of them to tempt the policy past a long one.
            for _ in 0..random.below(2 * budget.rows + 2) {
                let length = if random.below(4) == 0 { 1 + random.below(longest) } else { 1 + random.below(8) };
                let most = most_batches(&queue, budget);
                queue.push(Waiting { row: Candidate { length, overtaken: 0 }, waited: 0, most });
            }
            let plan = next_batch(queue.iter().map(|waiting| waiting.row), budget);
            assert_eq!(plan.taken.first(), (!queue.is_empty()).then_some(&0), "the oldest goes");
            let tokens: usize = plan.taken.iter().map(|place| queue[*place].row.length).sum();
            assert!(plan.taken.len() <= budget.rows && (tokens <= budget.tokens || plan.taken.len() == 1));
            for place in &plan.overtaken {
                queue[*place].row.overtaken += 1;
            }
            let mut place = 0;
            queue.retain_mut(|waiting| {
                place += 1;
                waiting.waited += 1;
                assert!(waiting.row.overtaken <= MOST_OVERTAKEN);
                assert!(waiting.waited <= waiting.most, "seed {seed}: {} of {}", waiting.waited, waiting.most);
                !plan.taken.contains(&(place - 1))
            });
            batches += 1;
        }
    }
    assert_eq!(batches, 4_000);
}
