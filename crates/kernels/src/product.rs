//! One linear layer over many rows, as tasks that the members of a team take.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::adapter::Additions;
use crate::isa::{Isa, Kernel, LANES};
use crate::rows::to_bytes;
use crate::tile::{
    Ahead, Arithmetic, BLOCK_BYTES, Brain, Byte, Rows, Single, TILE_BLOCKS, TILE_ROWS, even_parts, panel, with_rows,
};
use crate::vector::{Activation, Number};
use crate::weight::{PANEL, Packing, Weight};

/// Rows that share a task: with a panel of the weight they fit a core's own cache.
const BLOCK_ROWS: usize = 21 * TILE_ROWS;

/// How an int8 row stands for numbers: `number = scale * (byte - zero)`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowScale {
    pub(crate) scale: f32,
    pub(crate) zero: f32,
}

/// What becomes of the sums.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output<N> {
    /// Stored as they are, or after an activation.
    Stored { to: *mut N, stride: usize, activation: Activation },
    /// Added to fp32 rows of the same stride.
    Added { residual: *const f32, to: *mut f32, stride: usize },
}

/// `rows * weightᵀ + bias`, into `output`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a, N> {
    pub(crate) weight: &'a Weight,
    pub(crate) rows: Rows,
    pub(crate) count: usize,
    /// One a row, for int8 rows alone.
    pub(crate) scales: *const RowScale,
    pub(crate) output: Output<N>,
    /// Panels from a member's task to its next one, as a rule: the size of the team.
    pub(crate) leap: usize,
    /// What adapters add to single rows.
    pub(crate) additions: Additions<'a>,
}

/// How rows are read and how their sums become numbers.
pub(crate) trait Finish: Arithmetic + Packing {
    /// Sixteen sums of `row` for the outputs from `output` on, without the bias.
    unsafe fn number(
        sum: Self::Sum,
        weight: &Weight,
        scales: *const RowScale,
        row: usize,
        output: usize,
    ) -> <Self::Isa as Isa>::Lanes;

    /// Makes bytes at `to` of the `width` numbers at `from`, where products read those in their place.
    ///
    /// # Safety
    /// As [`to_bytes`].
    unsafe fn settle<N: Number<Self::Isa>>(_from: *const N, _width: usize, _to: *mut u8) -> RowScale {
        RowScale::default()
    }
}

impl<I: Isa> Finish for Single<I> {
    #[inline(always)]
    unsafe fn number(sum: I::Lanes, _: &Weight, _: *const RowScale, _: usize, _: usize) -> I::Lanes {
        sum
    }
}

impl Finish for Brain {
    #[inline(always)]
    unsafe fn number(sum: __m512, _: &Weight, _: *const RowScale, _: usize, _: usize) -> __m512 {
        sum
    }
}

impl Finish for Byte {
    #[inline(always)]
    unsafe fn number(sum: __m512i, weight: &Weight, scales: *const RowScale, row: usize, output: usize) -> __m512 {
        // SAFETY: a scale a row, and whole panels of outputs; the caller vouches for both indices.
        unsafe {
            let RowScale { scale, zero } = *scales.add(row);
            let total = _mm512_loadu_ps(weight.total.pointer().add(output));
            let centred = _mm512_fnmadd_ps(total, _mm512_set1_ps(zero), _mm512_cvtepi32_ps(sum));
            let factor = _mm512_mul_ps(_mm512_loadu_ps(weight.scale.pointer().add(output)), _mm512_set1_ps(scale));
            _mm512_mul_ps(centred, factor)
        }
    }

    unsafe fn settle<N: Number<Self::Isa>>(from: *const N, width: usize, to: *mut u8) -> RowScale {
        // SAFETY: the caller's promise.
        unsafe { to_bytes(from, width, to) }
    }
}

/// How many row blocks `count` rows are cut into.
pub(crate) fn row_blocks(count: usize) -> usize {
    count.div_ceil(BLOCK_ROWS)
}

/// The rows of `block` out of [`row_blocks`]`(count)`: whole tiles, but for the last.
pub(crate) fn rows_of_block(count: usize, block: usize) -> Range<usize> {
    let rows = count.div_ceil(row_blocks(count).max(1)).next_multiple_of(TILE_ROWS);
    (block * rows).min(count)..((block + 1) * rows).min(count)
}

impl<N> Product<'_, N> {
    pub(crate) fn tasks(&self) -> usize {
        row_blocks(self.count) * self.weight.panels()
    }

    /// Runs one task. The rows of its block, if it was the last of them: `done` counts a block's finished tasks.
    ///
    /// # Safety
    /// The pointers hold what the product says, tasks of one product run at most once each between two waits, and the
    /// processor has the instructions.
    pub(crate) unsafe fn run<A: Finish>(&self, task: usize, done: &[AtomicUsize]) -> Option<Range<usize>>
    where
        N: Number<A::Isa>,
    {
        let panels = self.weight.panels();
        let (block, panel) = (task / panels, task % panels);
        let rows = rows_of_block(self.count, block);
        let (arithmetic, product) = (PhantomData::<A>, self);
        // SAFETY: the caller's promise.
        unsafe { A::Isa::perform(PanelTimesRows { product, panel, rows: rows.clone(), arithmetic }) };
        let finished = done.get(block)?.fetch_add(1, Ordering::AcqRel) + 1;
        (finished == panels).then_some(rows)
    }
}

/// One panel of the weight, and rows in tiles.
struct PanelTimesRows<'a, N, A> {
    product: &'a Product<'a, N>,
    panel: usize,
    rows: Range<usize>,
    arithmetic: PhantomData<A>,
}

impl<A: Finish, N: Number<A::Isa>> Kernel for PanelTimesRows<'_, N, A> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let Self { product, rows, .. } = self;
        let (steps, columns) = (product.weight.steps, product.weight.columns(self.panel));
        let next = self.panel + product.leap;
        let next = (next < product.weight.panels()).then(|| product.weight.columns(next));
        // The next panel's four lines a step are spread over the first tiles.
        let lines = TILE_BLOCKS.div_ceil(rows.len().div_ceil(TILE_ROWS).max(1));
        for (number, part) in even_parts(rows.len(), TILE_ROWS).enumerate() {
            let first = rows.start + part.start;
            let ahead = match next {
                Some(next) if number * lines < TILE_BLOCKS => {
                    Ahead { start: next.start.wrapping_add(number * steps * lines * BLOCK_BYTES), lines }
                }
                _ => Ahead::NOTHING,
            };
            // SAFETY: the caller vouches for the rows; a panel holds all its steps.
            unsafe {
                let rows = product.rows.from(first);
                with_rows!(part.len(), ROWS => {
                    let sums = panel::<A, ROWS>(steps, rows, columns, ahead);
                    finish::<A, N, ROWS>(product, first, self.panel, &sums);
                });
            }
        }
    }
}

#[inline(always)]
unsafe fn finish<A: Finish, N: Number<A::Isa>, const ROWS: usize>(
    product: &Product<'_, N>,
    first: usize,
    panel: usize,
    sums: &[[A::Sum; TILE_BLOCKS]; ROWS],
) {
    // SAFETY: outputs have a stride of whole panels, so the last panel's columns exist; the caller vouches for the rows.
    unsafe {
        let (weight, bias) = (product.weight, product.weight.bias.pointer());
        let added = match product.additions.of_row {
            [] => None,
            _ => product.additions.of::<A::Isa, ROWS>(first, panel),
        };
        for (place, sums) in sums.iter().enumerate() {
            let row = first + place;
            for (block, sum) in sums.iter().enumerate() {
                let at = panel * PANEL + block * LANES;
                let sum = A::number(*sum, weight, product.scales, row, at);
                let mut sum = A::Isa::add(sum, A::Isa::load(bias.add(at)));
                if let Some(added) = &added {
                    sum = A::Isa::add(sum, added[place][block]);
                }
                match product.output {
                    Output::Stored { to, stride, activation } => {
                        N::store(to.add(row * stride + at), activation.apply::<A::Isa>(sum));
                    }
                    Output::Added { residual, to, stride } => {
                        let sum = A::Isa::add(sum, A::Isa::load(residual.add(row * stride + at)));
                        A::Isa::store(to.add(row * stride + at), sum);
                    }
                }
            }
        }
    }
}
