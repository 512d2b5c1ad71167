//! The innermost product: a few rows times a few registers of columns, with every sum in a register.
//!
//! A step is what one instruction takes of one row: one fp32, two bf16 or four int8, four bytes in each case. A column
//! block holds, step after step, those four bytes of sixteen columns, a register's worth. So one loop serves all
//! types, and only the instruction differs.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use crate::isa::{Avx512Bf16, Isa};

/// Bytes that one step takes of a row.
pub(crate) const STEP_BYTES: usize = 4;
/// Bytes of a column block's step.
pub(crate) const BLOCK_BYTES: usize = 64;
/// Rows of a full tile: 6 * 4 sums, 4 column registers and one row value fit the 32 registers of AVX-512, and a quarter
/// of the blocks the 16 of AVX2.
pub(crate) const TILE_ROWS: usize = 6;
/// Column blocks of a panel, and of the widest tile.
pub(crate) const TILE_BLOCKS: usize = 4;

/// How a step is multiplied and summed.
pub(crate) trait Arithmetic: Copy + Send + Sync + 'static {
    type Isa: Isa;
    /// Sixteen sums.
    type Sum: Copy;
    /// Products of one row that a step holds.
    const PER_STEP: usize;
    unsafe fn zero() -> Self::Sum;
    unsafe fn add(sum: Self::Sum, row: Lanes<Self>, columns: Lanes<Self>) -> Self::Sum;
}

/// A step of sixteen columns.
type Lanes<A> = <<A as Arithmetic>::Isa as Isa>::Lanes;

/// fp32 products and sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Single<I>(PhantomData<I>);
/// bf16 products, fp32 sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brain;
/// Unsigned rows times signed columns in int8, sums in int32.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Byte;

impl<I: Isa> Arithmetic for Single<I> {
    type Isa = I;
    type Sum = I::Lanes;
    const PER_STEP: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> I::Lanes {
        // SAFETY: arithmetic on registers.
        unsafe { I::zero() }
    }

    #[inline(always)]
    unsafe fn add(sum: I::Lanes, row: I::Lanes, columns: I::Lanes) -> I::Lanes {
        // SAFETY: arithmetic on registers.
        unsafe { I::fma(row, columns, sum) }
    }
}

impl Arithmetic for Brain {
    type Isa = Avx512Bf16;
    type Sum = __m512;
    const PER_STEP: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, row: __m512, columns: __m512) -> __m512 {
        // SAFETY: both types are 64 bytes without invalid values.
        unsafe {
            let row = std::mem::transmute::<__m512, __m512bh>(row);
            let columns = std::mem::transmute::<__m512, __m512bh>(columns);
            _mm512_dpbf16_ps(sum, row, columns)
        }
    }
}

impl Arithmetic for Byte {
    type Isa = Avx512Bf16;
    type Sum = __m512i;
    const PER_STEP: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512i, row: __m512, columns: __m512) -> __m512i {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_dpbusd_epi32(sum, _mm512_castps_si512(row), _mm512_castps_si512(columns)) }
    }
}

/// Rows of a tile: where the first begins, and bytes to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) start: *const u8,
    pub(crate) stride: usize,
}

/// Column blocks of a tile: where the first begins, bytes to the next block, and bytes to the next step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) start: *const u8,
    pub(crate) block: usize,
    pub(crate) step: usize,
}

impl Rows {
    /// The rows from `row` on.
    #[inline(always)]
    pub(crate) unsafe fn from(self, row: usize) -> Self {
        // SAFETY: the caller vouches for the row.
        Self { start: unsafe { self.start.add(row * self.stride) }, ..self }
    }
}

impl Columns {
    /// Blocks that lie one after the other, each `steps` long.
    #[inline(always)]
    pub(crate) fn apart(start: *const u8, steps: usize) -> Self {
        Self { start, block: steps * BLOCK_BYTES, step: BLOCK_BYTES }
    }

    /// The blocks from `block` on.
    #[inline(always)]
    pub(crate) unsafe fn from(self, block: usize) -> Self {
        // SAFETY: the caller vouches for the block.
        Self { start: unsafe { self.start.add(block * self.block) }, ..self }
    }
}

/// What to bring near meanwhile: memory that a later tile reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead {
    pub(crate) start: *const u8,
    /// Cache lines a step.
    pub(crate) lines: usize,
}

impl Ahead {
    pub(crate) const NOTHING: Self = Self { start: std::ptr::null(), lines: 0 };
}

/// `ROWS` rows times `BLOCKS` column blocks over `steps` steps.
///
/// # Safety
/// Rows and columns must be readable over all steps; for kernels alone.
#[inline(always)]
pub(crate) unsafe fn tile<A: Arithmetic, const ROWS: usize, const BLOCKS: usize>(
    steps: usize,
    rows: Rows,
    columns: Columns,
    ahead: Ahead,
) -> [[A::Sum; BLOCKS]; ROWS] {
    // SAFETY: the caller vouches for the memory; every access lies within the steps.
    unsafe {
        let mut sums = [[A::zero(); BLOCKS]; ROWS];
        let mut column = columns.start;
        let mut near = ahead.start;
        for step in 0..steps {
            let mut values = [A::Isa::zero(); BLOCKS];
            for (block, value) in values.iter_mut().enumerate() {
                *value = A::Isa::load(column.add(block * columns.block).cast());
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = A::Isa::broadcast(rows.start.add(row * rows.stride + step * STEP_BYTES));
                for (sum, column) in sums.iter_mut().zip(values) {
                    *sum = A::add(*sum, value, column);
                }
            }
            for _ in 0..ahead.lines {
                _mm_prefetch::<_MM_HINT_T1>(near.cast());
                near = near.wrapping_add(BLOCK_BYTES);
            }
            column = column.add(columns.step);
        }
        sums
    }
}

/// `ROWS` rows times a whole panel, in tiles as wide as the registers allow.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
pub(crate) unsafe fn panel<A: Arithmetic, const ROWS: usize>(
    steps: usize,
    rows: Rows,
    columns: Columns,
    ahead: Ahead,
) -> [[A::Sum; TILE_BLOCKS]; ROWS] {
    // SAFETY: the caller's promise.
    unsafe {
        if A::Isa::BLOCKS == TILE_BLOCKS {
            return tile::<A, ROWS, TILE_BLOCKS>(steps, rows, columns, ahead);
        }
        let mut sums = [[A::zero(); TILE_BLOCKS]; ROWS];
        for block in 0..TILE_BLOCKS {
            let ahead = if block == 0 { ahead } else { Ahead::NOTHING };
            let part = tile::<A, ROWS, 1>(steps, rows, columns.from(block), ahead);
            for (sums, [sum]) in sums.iter_mut().zip(part) {
                sums[block] = sum;
            }
        }
        sums
    }
}

/// Calls `$body` with the constant `$rows` equal to `$count`, which is 1 to [`TILE_ROWS`].
macro_rules! with_rows {
    ($count:expr, $rows:ident => $body:expr) => {
        match $count {
            1 => {
                const $rows: usize = 1;
                $body
            }
            2 => {
                const $rows: usize = 2;
                $body
            }
            3 => {
                const $rows: usize = 3;
                $body
            }
            4 => {
                const $rows: usize = 4;
                $body
            }
            5 => {
                const $rows: usize = 5;
                $body
            }
            _ => {
                const $rows: usize = 6;
                $body
            }
        }
    };
}

/// The same for 1 to [`TILE_BLOCKS`] column blocks.
macro_rules! with_blocks {
    ($count:expr, $blocks:ident => $body:expr) => {
        match $count {
            1 => {
                const $blocks: usize = 1;
                $body
            }
            2 => {
                const $blocks: usize = 2;
                $body
            }
            3 => {
                const $blocks: usize = 3;
                $body
            }
            _ => {
                const $blocks: usize = 4;
                $body
            }
        }
    };
}

pub(crate) use {with_blocks, with_rows};

/// Cuts `count` into as few parts of at most `most` as there can be, all of about one size.
pub(crate) fn even_parts(count: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let parts = count.div_ceil(most);
    (0..parts).map(move |part| part * count / parts..(part + 1) * count / parts)
}
