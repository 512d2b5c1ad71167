//! The layout of a batch: rows sorted by length and laid end to end, so that rows of like length lie together.
//!
//! Linear layers do not care where a row ends; attention sees each group of equal rows as a plain view. On processors no
//! row is padded and there is no mask. On GPUs our own kernels take rows as they are (`tiles`); for libtorch's rows are
//! padded up to few lengths (`granularity`), and only that padding is masked. The batch as a whole may end in a few spare
//! rows, which nobody reads: oneDNN compiles and keeps a kernel for every count of rows it meets, so large counts are
//! rounded up to few.

mod granularity;
mod tiles;

use std::ops::Range;

use tch::{TchError, Tensor};

pub(crate) use granularity::Granularity;
pub(crate) use tiles::{TILE_NUMBERS, Tile, Tiles, tiles_of};

use crate::graphs::Bucket;

/// Position scores that one group's product may hold: 64 MiB in fp32. Longer or more rows are taken in several groups.
const MOST_SCORES_ON_A_PROCESSOR: usize = 16 << 20;
/// The same where memory is not what counts: 512 MiB in fp16, so that 32 rows of 512 tokens are one group.
const MOST_SCORES_ON_A_GPU: usize = 256 << 20;

/// Where the rows of a batch lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packing {
    /// The caller's row at each packed place, shortest first.
    pub(crate) order: Vec<usize>,
    /// Runs of equal length, in packed order.
    pub(crate) groups: Vec<Group>,
    /// The first token of each packed row, spare rows included.
    pub(crate) first_tokens: Vec<i64>,
    /// Rows of `[tokens, ..]`, spare ones included.
    pub(crate) padded_tokens: i64,
    /// The bucket that the batch was filled up to.
    pub(crate) bucket: Option<Bucket>,
    /// Tokens of the longest row, its padding included.
    pub(crate) longest: i64,
    /// The batch in tiles, where attention takes it so; there are no groups then.
    pub(crate) tiles: Option<Tiles>,
    /// Tokens of each packed row without its padding.
    lengths: Vec<usize>,
}

/// Consecutive rows of one length and one adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) first_row: i64,
    pub(crate) first_token: i64,
    pub(crate) rows: i64,
    /// Tokens of every row, padding included.
    pub(crate) length: i64,
    /// Whether any row is shorter.
    pub(crate) is_padded: bool,
    /// The adapter that all its rows carry, by its place in the batch.
    pub(crate) adapter: Option<usize>,
}

impl Group {
    pub(crate) fn tokens(self) -> i64 {
        self.rows * self.length
    }

    /// The group's part of `[tokens, ..]`.
    pub(crate) fn of(self, packed: &Tensor) -> Result<Tensor, TchError> {
        packed.f_narrow(0, self.first_token, self.tokens())
    }

    /// The group's part of `[rows, ..]`.
    pub(crate) fn rows_of(self, packed: &Tensor) -> Result<Tensor, TchError> {
        packed.f_narrow(0, self.first_row, self.rows)
    }
}

impl Packing {
    /// Lays out rows of `lengths` tokens for an encoder of `heads` attention heads. `adapters` says which adapter each row
    /// carries; it may be empty where none does.
    pub(crate) fn new(lengths: &[usize], adapters: &[Option<usize>], heads: usize, granularity: Granularity) -> Self {
        let adapter_of = |row: usize| adapters.get(row).copied().flatten();
        let (order, sorted) = by_length(lengths, adapter_of);
        let most_scores = match granularity {
            Granularity::Exact => MOST_SCORES_ON_A_PROCESSOR,
            Granularity::Tiles => MOST_SCORES_ON_A_GPU,
        };
        let mut groups: Vec<Group> = Vec::new();
        let mut first_tokens = Vec::with_capacity(order.len());
        let mut token = 0;
        for (place, length) in granularity.lengths(&sorted).into_iter().enumerate() {
            let most = (most_scores / (heads * length * 2 * length).max(1)).max(1);
            let is_padded = sorted[place] < length;
            let adapter = adapter_of(order[place]);
            first_tokens.push(signed(token));
            match groups.last_mut() {
                Some(group)
                    if group.length == signed(length) && group.adapter == adapter && group.rows < signed(most) =>
                {
                    group.rows += 1;
                    group.is_padded |= is_padded;
                }
                _ => groups.push(Group {
                    first_row: signed(place),
                    first_token: signed(token),
                    rows: 1,
                    length: signed(length),
                    is_padded,
                    adapter,
                }),
            }
            token += length;
        }
        let padded_tokens = match granularity {
            Granularity::Exact => padded(signed(token)),
            Granularity::Tiles => signed(token),
        };
        let longest = groups.last().map_or(0, |group| group.length);
        Self { order, groups, first_tokens, padded_tokens, bucket: None, longest, tiles: None, lengths: sorted }
    }

    /// Fills rows of `lengths` tokens up to `rows` of `length`, which hold them: every such batch has the same shapes.
    pub(crate) fn filled_up(lengths: &[usize], (rows, length): (usize, usize)) -> Self {
        let (order, sorted) = by_length(lengths, |_| None);
        let bucket = Bucket::Padded { rows, length };
        let (rows, length) = (signed(rows), signed(length));
        let group = Group { first_row: 0, first_token: 0, rows, length, is_padded: true, adapter: None };
        Self {
            order,
            groups: vec![group],
            first_tokens: (0..rows).map(|row| row * length).collect(),
            padded_tokens: rows * length,
            bucket: Some(bucket),
            longest: length,
            tiles: None,
            lengths: sorted,
        }
    }

    /// A value for every row of `[tokens, ..]`: those of each row (by its place in the caller's batch) in its place, and
    /// `filler` where no row has a token.
    pub(crate) fn lay_out<T: Copy, V: Iterator<Item = T>>(&self, filler: T, values: impl Fn(usize) -> V) -> Vec<T> {
        let mut all = vec![filler; unsigned(self.padded_tokens)];
        for (row, first_token) in self.order.iter().zip(&self.first_tokens) {
            for (place, value) in all[unsigned(*first_token)..].iter_mut().zip(values(*row)) {
                *place = value;
            }
        }
        all
    }

    /// What attention adds to the scores of every key: 0 for a token, minus infinity for padding. Nothing where no row is
    /// padded.
    pub(crate) fn padding(&self) -> Option<Vec<f32>> {
        if !self.groups.iter().any(|group| group.is_padded) {
            return None;
        }
        let mut all = vec![0f32; unsigned(self.padded_tokens)];
        for group in &self.groups {
            // Spare rows have no tokens and keep all of theirs: a softmax over nothing would be no number.
            let places = unsigned(group.first_row)..unsigned(group.first_row + group.rows);
            for (length, first_token) in self.lengths.iter().zip(&self.first_tokens).take(places.end).skip(places.start)
            {
                let first_token = unsigned(*first_token);
                all[first_token + length..first_token + unsigned(group.length)].fill(f32::NEG_INFINITY);
            }
        }
        Some(all)
    }

    /// `parts`, one a group, end to end and filled up to the length of `filler` with rows of its own: any finite
    /// numbers do. All are `[.., hidden]`.
    pub(crate) fn join(mut parts: Vec<Tensor>, filler: &Tensor) -> Result<Tensor, TchError> {
        let mut missing = filler.size2()?.0;
        for part in &parts {
            missing -= part.size2()?.0;
        }
        if missing == 0 && parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        parts.push(filler.f_narrow(0, 0, missing)?);
        Tensor::f_cat(&parts, 0)
    }

    /// The tokens of the row at packed `place`, as rows of `[tokens, ..]`.
    pub(crate) fn tokens_of(&self, place: usize, length: usize) -> Range<usize> {
        let first = unsigned(self.first_tokens[place]);
        first..first + length
    }
}

/// The rows' places and lengths, shortest first, and of one length by adapter; otherwise rows keep their order.
fn by_length(lengths: &[usize], adapter_of: impl Fn(usize) -> Option<usize>) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|row| (lengths[*row], adapter_of(*row)));
    let sorted = order.iter().map(|row| lengths[*row]).collect();
    (order, sorted)
}

/// `count` rounded up so that few counts occur, by less than a twentieth on average.
fn padded(count: i64) -> i64 {
    let step = match count {
        ..=64 => 1,
        65..=256 => 8,
        257..=1024 => 32,
        1025.. => 64,
    };
    (count + step - 1) / step * step
}

#[expect(clippy::cast_possible_wrap, reason = "a count of things that fit in memory")]
fn signed(count: usize) -> i64 {
    count as i64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are not negative and fit in memory"
)]
fn unsigned(count: i64) -> usize {
    count as usize
}

#[cfg(test)]
mod tests;
