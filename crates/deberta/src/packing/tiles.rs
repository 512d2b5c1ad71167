//! What a kernel that needs no padding asks of a batch: its rows in tiles of queries.

use super::{Packing, by_length, padded, signed};
use crate::graphs::Bucket;

/// Queries of one tile: `SIDE` in attention.cuh.
const TILE_QUERIES: usize = 64;
/// Numbers that say a tile.
pub(crate) const TILE_NUMBERS: usize = 5;

/// Queries of one row that a block of the kernel answers: `Tile` in attention.cuh. None of it says what there is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Of the row.
    first_token: i32,
    /// Of the row.
    length: i32,
    /// In the row.
    first_query: i32,
    queries: i32,
    /// Where the first of them goes.
    output: i32,
}

/// A batch's tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tiles {
    /// Of every token; token `t` goes to row `t`.
    pub(crate) every: Vec<Tile>,
    /// Of every row's first token; that of row `r` goes to row `r`.
    pub(crate) first: Vec<Tile>,
}

impl Tile {
    /// As the kernel reads it.
    pub(crate) fn numbers(&self) -> [i32; TILE_NUMBERS] {
        [self.first_token, self.length, self.first_query, self.queries, self.output]
    }
}

impl Packing {
    /// Lays out rows of `lengths` tokens end to end for attention in tiles, filled up to `bucket` if there is one.
    pub(crate) fn in_tiles(lengths: &[usize], bucket: Option<Bucket>) -> Self {
        let (order, sorted) = by_length(lengths, |_| None);
        let mut first_tokens = Vec::with_capacity(sorted.len());
        let (mut every, mut first) = (Vec::new(), Vec::new());
        let mut token = 0;
        for (row, length) in sorted.iter().enumerate() {
            let place = |first_query: usize, queries: usize, output: usize| Tile {
                first_token: narrow(token),
                length: narrow(*length),
                first_query: narrow(first_query),
                queries: narrow(queries),
                output: narrow(output),
            };
            first_tokens.push(signed(token));
            first.push(place(0, 1, row));
            for query in (0..*length).step_by(TILE_QUERIES) {
                every.push(place(query, TILE_QUERIES.min(length - query), token + query));
            }
            token += length;
        }
        let mut padded_tokens = padded(signed(token));
        if let Some(Bucket::Packed { tokens, tiles }) = bucket {
            padded_tokens = signed(tokens);
            first_tokens.resize(tiles, 0);
            first.resize(tiles, Tile::default());
            every.resize(tiles, Tile::default());
        }
        Self {
            order,
            groups: Vec::new(),
            first_tokens,
            padded_tokens,
            bucket,
            longest: signed(sorted.last().copied().unwrap_or(0)),
            lengths: sorted,
            tiles: Some(Tiles { every, first }),
        }
    }
}

/// Tiles that rows of `lengths` take.
pub(crate) fn tiles_of(lengths: &[usize]) -> usize {
    lengths.iter().map(|length| length.div_ceil(TILE_QUERIES)).sum()
}

fn narrow(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::unsigned;

    #[test]
    fn every_token_is_in_one_tile_and_every_row_has_a_first() {
        let lengths = [130, 1, 64, 65];
        let packing = Packing::in_tiles(&lengths, None);
        assert_eq!((packing.order, packing.first_tokens), (vec![1, 2, 3, 0], vec![0, 1, 65, 130]));
        let tiles = packing.tiles.unwrap();
        assert_eq!(tiles.every.len(), tiles_of(&lengths));
        let answered: Vec<i32> = tiles.every.iter().flat_map(|tile| tile.output..tile.output + tile.queries).collect();
        assert_eq!(answered, (0..260).collect::<Vec<_>>());
        assert!(tiles.every.iter().all(|tile| tile.output == tile.first_token + tile.first_query));
        let firsts: Vec<_> = tiles.first.iter().map(|tile| (tile.first_token, tile.queries, tile.output)).collect();
        assert_eq!(firsts, [(0, 1, 0), (1, 1, 1), (65, 1, 2), (130, 1, 3)]);
        assert_eq!((packing.longest, unsigned(packing.padded_tokens)), (130, 288));
    }

    #[test]
    fn a_bucket_is_filled_with_tiles_that_answer_nothing() {
        let packing = Packing::in_tiles(&[3, 70], Some(Bucket::Packed { tokens: 96, tiles: 4 }));
        assert_eq!((packing.padded_tokens, packing.first_tokens.as_slice()), (96, [0, 3, 0, 0].as_slice()));
        let tiles = packing.tiles.unwrap();
        let queries = |tiles: &[Tile]| tiles.iter().map(|tile| tile.queries).collect::<Vec<_>>();
        assert_eq!((queries(&tiles.every), queries(&tiles.first)), (vec![3, 64, 6, 0], vec![1, 1, 0, 0]));
    }
}
