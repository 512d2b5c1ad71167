//! Disentangled attention of one head over one row, a block of queries at a time.
//!
//! Content scores, both position terms, softmax and values are taken block by block, so that nothing of the size
//! length times length times heads is ever written. Of each position table a few rows of tokens meet one run of
//! columns, about as many as there are tokens on the other side: only those are multiplied.

mod terms;

use std::arch::x86_64::*;
use std::marker::PhantomData;

use terms::products;

use crate::buffer::Buffer;
use crate::distance::{Distances, Fetch};
use crate::isa::{Avx512Bf16, Isa, Kernel, LANES};
use crate::tile::{
    Ahead, Arithmetic, BLOCK_BYTES, Brain, Columns, Rows, STEP_BYTES, Single, TILE_ROWS, even_parts, tile, with_blocks,
    with_rows,
};
use crate::vector::{Bf16, Number, exp};
use crate::weight::Blocks;

/// Queries of a block: with the keys of a long row their scores stay in a core's own cache.
pub(crate) const BLOCK_QUERIES: usize = 128;

/// A number that attention multiplies, on `I`.
pub(crate) trait Attended<I: Isa>: Number<I> {
    type Product: Arithmetic<Isa = I, Sum = I::Lanes>;
    /// One step of sixteen columns: of row `first`, or of `first` and `second` where a step holds two.
    unsafe fn interleave(first: *const Self, second: *const Self) -> I::Lanes;
}

impl<I: Isa> Attended<I> for f32 {
    type Product = Single<I>;

    #[inline(always)]
    unsafe fn interleave(first: *const Self, _: *const Self) -> I::Lanes {
        // SAFETY: the caller vouches for sixteen numbers.
        unsafe { I::load(first) }
    }
}

impl Attended<Avx512Bf16> for Bf16 {
    type Product = Brain;

    #[inline(always)]
    unsafe fn interleave(first: *const Self, second: *const Self) -> __m512 {
        // SAFETY: the caller vouches for sixteen numbers each.
        unsafe {
            let first = _mm512_cvtepu16_epi32(_mm256_loadu_si256(first.cast()));
            let second = _mm512_cvtepu16_epi32(_mm256_loadu_si256(second.cast()));
            _mm512_castsi512_ps(_mm512_or_si512(first, _mm512_slli_epi32::<16>(second)))
        }
    }
}

/// One head's projections of the relative embeddings.
#[derive(Debug)]
pub(crate) struct Positions {
    /// What queries meet, in reverse order of the slots.
    pub(crate) keys: Option<Blocks>,
    /// What keys meet, in the order of the slots.
    pub(crate) queries: Option<Blocks>,
}

/// One head of one row, and which of its queries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a, N> {
    /// The first query of the block, scaled.
    pub(crate) queries: *const N,
    pub(crate) query_stride: usize,
    /// Its position in the row.
    pub(crate) first_query: usize,
    pub(crate) n_queries: usize,
    /// The row's first key and value.
    pub(crate) keys: *const N,
    pub(crate) values: *const N,
    pub(crate) key_stride: usize,
    /// Tokens of the row.
    pub(crate) length: usize,
    pub(crate) size: usize,
    /// Where the block's first mixed value goes.
    pub(crate) to: *mut N,
    pub(crate) to_stride: usize,
    pub(crate) positions: Option<(&'a Positions, &'a Distances)>,
}

/// Memory of one member of the team.
#[derive(Debug)]
pub(crate) struct Scratch<N> {
    keys: Buffer<u8>,
    values: Buffer<u8>,
    scores: Buffer<f32>,
    /// Position terms of a few tokens.
    terms: Buffer<f32>,
    weights: Buffer<N>,
    factors: Buffer<f32>,
}

impl<N: Copy> Scratch<N> {
    pub(crate) fn new() -> Self {
        Self {
            keys: Buffer::zeroed(0),
            values: Buffer::zeroed(0),
            scores: Buffer::zeroed(0),
            terms: Buffer::zeroed(0),
            weights: Buffer::zeroed(0),
            factors: Buffer::zeroed(BLOCK_QUERIES + LANES),
        }
    }

    /// Makes room for rows of up to `length` tokens, heads of `size` and tables of `slots` columns.
    pub(crate) fn reserve(&mut self, length: usize, size: usize, slots: usize) {
        let keys = length.next_multiple_of(LANES);
        let size = size.next_multiple_of(LANES);
        self.keys.reserve(keys * size * STEP_BYTES);
        self.values.reserve(keys * size * STEP_BYTES);
        self.scores.reserve(BLOCK_QUERIES * stride(length));
        self.weights.reserve(BLOCK_QUERIES * stride(length));
        self.terms.reserve(LANES * term_stride(slots));
    }
}

/// Numbers from one query's scores to the next: a multiple of a register, and of no large power of two.
fn stride(length: usize) -> usize {
    length.next_multiple_of(LANES) + LANES
}

fn term_stride(slots: usize) -> usize {
    slots.next_multiple_of(LANES) + 3 * LANES
}

impl<N> Head<'_, N> {
    /// The block's mixed values.
    ///
    /// # Safety
    /// The pointers hold what the fields say, `scratch` has room for the row and is this thread's own, and the
    /// processor has the instructions.
    pub(crate) unsafe fn attend<I: Isa>(&self, scratch: &Scratch<N>)
    where
        N: Attended<I>,
    {
        // SAFETY: the caller's promise.
        unsafe { I::perform(Attention { head: self, scratch, isa: PhantomData::<I> }) }
    }
}

/// A head at work.
struct Attention<'a, N, I> {
    head: &'a Head<'a, N>,
    scratch: &'a Scratch<N>,
    isa: PhantomData<I>,
}

impl<I: Isa, N: Attended<I>> Kernel for Attention<'_, N, I> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.pack_keys();
            self.pack_values();
            let by_key =
                self.head.positions.and_then(|(positions, distances)| Some((positions.queries.as_ref()?, distances)));
            if let Some((table, distances)) = by_key {
                self.key_terms(table, distances);
            }
            for part in even_parts(self.head.n_queries, TILE_ROWS) {
                with_rows!(part.len(), ROWS => self.scores::<ROWS>(part.start, by_key.is_some()));
            }
            for query in 0..self.head.n_queries {
                self.softmax(query);
            }
            for part in even_parts(self.head.n_queries, TILE_ROWS) {
                with_rows!(part.len(), ROWS => self.mix::<ROWS>(part.start));
            }
        }
    }
}

impl<I: Isa, N: Attended<I>> Attention<'_, N, I> {
    fn steps(&self) -> usize {
        self.head.size / N::Product::PER_STEP
    }

    fn value_blocks(&self) -> usize {
        self.head.size.div_ceil(LANES)
    }

    /// Keys become columns: sixteen at a time, a square of four-byte steps is turned over.
    #[inline(always)]
    unsafe fn pack_keys(&self) {
        let steps = self.steps();
        // SAFETY: masks keep to the row's keys and steps; the blocks lie within the reserved room.
        unsafe {
            for group in (0..self.head.length).step_by(LANES) {
                let to = self.scratch.keys.pointer().add(group * steps * STEP_BYTES);
                for first in (0..steps).step_by(LANES) {
                    let mut square = [I::zero(); LANES];
                    for (key, line) in square.iter_mut().enumerate().take(self.head.length - group) {
                        let from = self.head.keys.add((group + key) * self.head.key_stride).cast::<f32>().add(first);
                        *line = I::load_first(steps - first, from);
                    }
                    for (step, line) in I::transpose(square).into_iter().enumerate().take(steps - first) {
                        I::store(to.add((first + step) * BLOCK_BYTES).cast(), line);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn pack_values(&self) {
        let blocks = self.value_blocks();
        let zeros = [N::default(); LANES];
        // SAFETY: registers may reach over a row's end, where the buffer goes on or has its slack; such columns are
        // never stored.
        unsafe {
            let mut to = self.scratch.values.pointer();
            for first in (0..self.head.length).step_by(N::Product::PER_STEP) {
                for block in 0..blocks {
                    let row = |key: usize| self.head.values.add(key * self.head.key_stride + block * LANES);
                    let second = if first + 1 < self.head.length { row(first + 1) } else { zeros.as_ptr() };
                    I::store(to.cast(), N::interleave(row(first), second));
                    to = to.add(BLOCK_BYTES);
                }
            }
        }
    }

    /// The terms of each key with the positions of the block's queries, as the first part of the scores.
    #[inline(always)]
    unsafe fn key_terms(&self, table: &Blocks, distances: &Distances) {
        let (score_stride, term_stride) = (stride(self.head.length), term_stride(distances.slots));
        let first_query = self.head.first_query as i64;
        let last_query = (self.head.first_query + self.head.n_queries.next_multiple_of(LANES) - 1) as i64;
        for group in (0..self.head.length).step_by(LANES) {
            let keys = LANES.min(self.head.length - group);
            let first_block = distances.rising(first_query - (group + keys - 1) as i64) / LANES;
            let n_blocks = distances.rising(last_query - group as i64) / LANES + 1 - first_block;
            // SAFETY: the columns are the table's, terms fit their buffer with a register's margin, scores have a
            // row for each query of the block.
            unsafe {
                let rows =
                    Rows { start: self.head.keys.cast(), stride: self.head.key_stride * size_of::<N>() }.from(group);
                products::<I, N>(
                    (rows, keys),
                    (table.from(first_block), n_blocks),
                    table.steps,
                    (self.scratch, term_stride),
                );
                for part in (0..self.head.n_queries).step_by(LANES) {
                    let mut square = [I::zero(); LANES];
                    for (key, line) in square.iter_mut().enumerate().take(keys) {
                        let distance = (self.head.first_query + part) as i64 - (group + key) as i64;
                        let terms = self.scratch.terms.pointer().add(key * term_stride);
                        *line = fetched::<I>(terms, distances.fetch_rising(distance), first_block);
                    }
                    let scores = self.scratch.scores.pointer().add(part * score_stride + group);
                    for (query, line) in I::transpose(square).into_iter().enumerate().take(self.head.n_queries - part) {
                        I::store(scores.add(query * score_stride), line);
                    }
                }
            }
        }
    }

    /// The scores of `ROWS` queries: content, their terms with the positions of all keys, and what is there already.
    #[inline(always)]
    unsafe fn scores<const ROWS: usize>(&self, query: usize, add: bool) {
        let steps = self.steps();
        let (score_stride, n_blocks) = (stride(self.head.length), self.head.length.div_ceil(LANES));
        let by_query =
            self.head.positions.and_then(|(positions, distances)| Some((positions.keys.as_ref()?, distances)));
        // SAFETY: packed keys have whole blocks, scores a row for each query, terms a row for each of the tile.
        unsafe {
            let rows =
                Rows { start: self.head.queries.cast(), stride: self.head.query_stride * size_of::<N>() }.from(query);
            let position = (self.head.first_query + query) as i64;
            let mut first_block = 0;
            let mut row_terms = 0;
            if let Some((table, distances)) = by_query {
                row_terms = term_stride(distances.slots);
                first_block = distances.falling(position + ROWS as i64 - 1) / LANES;
                let farthest = distances.falling(position - (n_blocks * LANES) as i64 + 1);
                let n_blocks = farthest / LANES + 1 - first_block;
                products::<I, N>(
                    (rows, ROWS),
                    (table.from(first_block), n_blocks),
                    table.steps,
                    (self.scratch, row_terms),
                );
            }
            let columns = Columns::apart(self.scratch.keys.pointer(), steps);
            for part in even_parts(n_blocks, I::BLOCKS) {
                with_blocks!(part.len(), BLOCKS => {
                    let sums = tile::<N::Product, ROWS, BLOCKS>(steps, rows, columns.from(part.start), Ahead::NOTHING);
                    for (row, sums) in sums.into_iter().enumerate() {
                        let scores = self.scratch.scores.pointer().add((query + row) * score_stride);
                        for (block, mut sum) in (part.start..).zip(sums) {
                            let scores = scores.add(block * LANES);
                            if add {
                                sum = I::add(sum, I::load(scores));
                            }
                            if let Some((_, distances)) = by_query {
                                let distance = position + row as i64 - (block * LANES) as i64;
                                let terms = self.scratch.terms.pointer().add(row * row_terms);
                                sum = I::add(sum, fetched::<I>(terms, distances.fetch_falling(distance), first_block));
                            }
                            I::store(scores, sum);
                        }
                    }
                });
            }
        }
    }

    /// Scores to weights that are not yet divided by their sum, and what to multiply by instead.
    #[inline(always)]
    unsafe fn softmax(&self, query: usize) {
        let row = query * stride(self.head.length);
        // SAFETY: a query's scores and weights have room for whole registers.
        unsafe {
            let (scores, weights) = (self.scratch.scores.pointer().add(row), self.scratch.weights.pointer().add(row));
            let lowest = I::all(f32::NEG_INFINITY);
            let length = self.head.length;
            let mut most = lowest;
            for at in (0..length).step_by(LANES) {
                most = I::max(most, I::keep_first(length - at, I::load(scores.add(at)), lowest));
            }
            let most = I::all(I::largest(most));
            let mut sum = I::zero();
            for at in (0..length).step_by(LANES) {
                let power = exp::<I>(I::sub(I::load(scores.add(at)), most));
                let power = I::keep_first(length - at, power, I::zero());
                sum = I::add(sum, power);
                N::store(weights.add(at), power);
            }
            *self.scratch.factors.pointer().add(query) = 1.0 / I::sum(sum);
        }
    }

    /// Weights times values, divided by the weights' sum.
    #[inline(always)]
    unsafe fn mix<const ROWS: usize>(&self, query: usize) {
        let blocks = self.value_blocks();
        // SAFETY: weights have a zero behind the last where a step holds two; stores keep to the head's columns.
        unsafe {
            let stride = stride(self.head.length) * size_of::<N>();
            let rows = Rows { start: self.scratch.weights.pointer().cast(), stride }.from(query);
            let start = self.scratch.values.pointer();
            let columns = Columns { start, block: BLOCK_BYTES, step: blocks * BLOCK_BYTES };
            let steps = self.head.length.div_ceil(N::Product::PER_STEP);
            for part in even_parts(blocks, I::BLOCKS) {
                with_blocks!(part.len(), BLOCKS => {
                    let sums = tile::<N::Product, ROWS, BLOCKS>(steps, rows, columns.from(part.start), Ahead::NOTHING);
                    for (row, sums) in (query..).zip(sums) {
                        let factor = I::all(*self.scratch.factors.pointer().add(row));
                        for (block, sum) in (part.start..).zip(sums) {
                            let to = self.head.to.add(row * self.head.to_stride + block * LANES);
                            N::store_first(self.head.size - block * LANES, to, I::mul(sum, factor));
                        }
                    }
                });
            }
        }
    }
}

/// Sixteen terms of one token, out of `terms` whose first column is that of `first_block`.
#[inline(always)]
unsafe fn fetched<I: Isa>(terms: *const f32, fetch: Fetch, first_block: usize) -> I::Lanes {
    // SAFETY: the columns have been computed, with a register's room behind them.
    unsafe { I::pick(terms.add(fetch.column - first_block * LANES), fetch.lanes) }
}
