//! The innermost product: a few rows times a few registers of columns, with every sum in a register.
//!
//! A step is what one instruction takes of one row: one fp32, two bf16 or four int8, four bytes in each case. A column
//! block holds, step after step, those four bytes of sixteen columns, a register's worth. So one loop serves all
//! types, and only the instruction differs.

use std::arch::x86_64::*;

/// Bytes that one step takes of a row.
pub(crate) const STEP_BYTES: usize = 4;
/// Bytes of a column block's step.
pub(crate) const BLOCK_BYTES: usize = 64;
/// Rows of a full tile: 6 * 4 sums, 4 column registers and one row value fit the 32 registers.
pub(crate) const TILE_ROWS: usize = 6;
/// Column blocks of a full tile.
pub(crate) const TILE_BLOCKS: usize = 4;

/// How a step is multiplied and summed.
pub(crate) trait Arithmetic: Copy + Send + Sync + 'static {
    /// Sixteen sums.
    type Sum: Copy;
    /// Products of one row that a step holds.
    const PER_STEP: usize;
    unsafe fn zero() -> Self::Sum;
    unsafe fn add(sum: Self::Sum, row: __m512i, columns: __m512i) -> Self::Sum;
}

/// fp32 products and sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Single;
/// bf16 products, fp32 sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brain;
/// Unsigned rows times signed columns in int8, sums in int32.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Byte;

impl Arithmetic for Single {
    type Sum = __m512;
    const PER_STEP: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, row: __m512i, columns: __m512i) -> __m512 {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_fmadd_ps(_mm512_castsi512_ps(row), _mm512_castsi512_ps(columns), sum) }
    }
}

impl Arithmetic for Brain {
    type Sum = __m512;
    const PER_STEP: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, row: __m512i, columns: __m512i) -> __m512 {
        // SAFETY: both types are 64 bytes without invalid values.
        unsafe {
            let row = std::mem::transmute::<__m512i, __m512bh>(row);
            let columns = std::mem::transmute::<__m512i, __m512bh>(columns);
            _mm512_dpbf16_ps(sum, row, columns)
        }
    }
}

impl Arithmetic for Byte {
    type Sum = __m512i;
    const PER_STEP: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512i, row: __m512i, columns: __m512i) -> __m512i {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_dpbusd_epi32(sum, row, columns) }
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
/// Rows and columns must be readable over all steps, and the processor must be a supported one.
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
            let mut values = [_mm512_setzero_si512(); BLOCKS];
            for (block, value) in values.iter_mut().enumerate() {
                *value = _mm512_loadu_si512(column.add(block * columns.block).cast());
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let bytes = rows.start.add(row * rows.stride + step * STEP_BYTES).cast::<i32>();
                let value = _mm512_set1_epi32(bytes.read_unaligned());
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
