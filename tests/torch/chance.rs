//! Repeatable choices: xorshift64*, the generator of `tests/parity/lines.py`.

/// A generator seeded twice, so that any line, batch or row can be made alone.
#[derive(Debug)]
pub(crate) struct Chance {
    state: u64,
}

impl Chance {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let state = seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut chance = Self { state: if state == 0 { 1 } else { state } };
        for _ in 0..4 {
            chance.below(2);
        }
        chance
    }

    /// A number from 0 up to, not including, `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % limit
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
    /// `items` in another order.
    pub(crate) fn shuffled<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
        items
    }
}
