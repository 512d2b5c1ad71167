//! The unpadded layout: rows sorted by length and laid end to end, so that rows of one length lie together.
//!
//! Linear layers do not care where a row ends; attention sees each group of equal rows as a plain view. No row is
//! padded and there is no mask. Only the batch as a whole ends in a few spare rows, which nobody reads: oneDNN compiles
//! and keeps a kernel for every count of rows it meets, so large counts are rounded up to few.

use std::ops::Range;

use tch::{TchError, Tensor};

/// Position scores that one group's product may hold: 64 MiB in fp32. Longer or more rows are taken in several groups.
const MAX_GROUP_SCORES: usize = 16 << 20;

/// Where the rows of a batch lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packing {
    /// The caller's row at each packed place, shortest first.
    pub(crate) order: Vec<usize>,
    /// Runs of equal length, in packed order.
    pub(crate) groups: Vec<Group>,
    /// The first token of each packed row.
    pub(crate) first_tokens: Vec<i64>,
    /// Rows of `[tokens, ..]`, spare ones included.
    pub(crate) padded_tokens: i64,
}

/// Consecutive rows of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) first_row: i64,
    pub(crate) first_token: i64,
    pub(crate) rows: i64,
    pub(crate) length: i64,
}

impl Group {
    pub(crate) fn tokens(self) -> i64 {
        self.rows * self.length
    }

    /// The group's part of `[tokens, ..]`.
    pub(crate) fn of(self, packed: &Tensor) -> Result<Tensor, TchError> {
        packed.f_narrow(0, self.first_token, self.tokens())
    }
}

impl Packing {
    /// Lays out rows of `lengths` tokens for an encoder of `heads` attention heads.
    pub(crate) fn new(lengths: &[usize], heads: usize) -> Self {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|row| lengths[*row]);
        let mut groups = Vec::new();
        let mut first_tokens = Vec::with_capacity(order.len());
        let mut token = 0;
        for (place, row) in order.iter().enumerate() {
            let length = lengths[*row];
            let most = (MAX_GROUP_SCORES / (heads * length * 2 * length).max(1)).max(1);
            first_tokens.push(signed(token));
            match groups.last_mut() {
                Some(Group { rows, length: same, .. }) if *same == signed(length) && *rows < signed(most) => *rows += 1,
                _ => groups.push(Group {
                    first_row: signed(place),
                    first_token: signed(token),
                    rows: 1,
                    length: signed(length),
                }),
            }
            token += length;
        }
        Self { order, groups, first_tokens, padded_tokens: padded(signed(token)) }
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

    /// Tokens of the longest row.
    pub(crate) fn longest(&self) -> i64 {
        self.groups.last().map_or(0, |group| group.length)
    }

    /// The tokens of the row at packed `place`, as rows of `[tokens, ..]`.
    pub(crate) fn tokens_of(&self, place: usize, length: usize) -> Range<usize> {
        let first = usize::try_from(self.first_tokens[place]).unwrap_or_default();
        first..first + length
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lengths_lie_together_and_the_order_is_kept_among_them() {
        let packing = Packing::new(&[3, 5, 3, 1], 2);
        assert_eq!(packing.order, [3, 0, 2, 1]);
        assert_eq!(packing.first_tokens, [0, 1, 4, 7]);
        let shapes: Vec<_> = packing.groups.iter().map(|group| (group.rows, group.length)).collect();
        assert_eq!(shapes, [(1, 1), (2, 3), (1, 5)]);
        assert_eq!(packing.groups[1], Group { first_row: 1, first_token: 1, rows: 2, length: 3 });
        assert_eq!(packing.tokens_of(2, 3), 4..7);
        assert_eq!((packing.longest(), packing.padded_tokens), (5, 12));
    }

    #[test]
    fn a_group_never_outgrows_its_share_of_memory() {
        let packing = Packing::new(&[512; 7], 12);
        assert!(packing.groups.iter().all(|group| group.rows == 2 || group.first_row == 6), "{packing:?}");
        assert_eq!(packing.groups.iter().map(|group| group.rows).sum::<i64>(), 7);
        assert_eq!(Packing::new(&[4096; 2], 64).groups.len(), 2);
    }

    #[test]
    fn few_counts_of_rows_occur() {
        assert_eq!([1, 64, 65, 256, 257, 1_025].map(padded), [1, 64, 72, 256, 288, 1_088]);
        let counts: std::collections::BTreeSet<i64> = (1..4_096).map(padded).collect();
        assert_eq!(counts.len(), 160);
    }

    #[test]
    fn parts_are_joined_and_filled_up() {
        let rows = |from: i64, count: i64| {
            let flat = Tensor::f_arange_start(from, from + 2 * count, (tch::Kind::Float, tch::Device::Cpu));
            flat.unwrap().f_view([count, 2]).unwrap()
        };
        let joined = Packing::join(vec![rows(0, 1), rows(10, 2)], &rows(50, 5)).unwrap();
        let mut numbers = vec![0f32; 10];
        joined.f_copy_data(&mut numbers, 10).unwrap();
        assert_eq!(numbers, [0.0, 1.0, 10.0, 11.0, 12.0, 13.0, 50.0, 51.0, 52.0, 53.0]);
        assert_eq!(Packing::join(vec![rows(0, 3)], &rows(9, 3)).unwrap().size2().unwrap(), (3, 2));
    }

    #[test]
    fn no_rows_are_no_groups() {
        let packing = Packing::new(&[], 4);
        assert_eq!((packing.groups.len(), packing.longest()), (0, 0));
    }
}
