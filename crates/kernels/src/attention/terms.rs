//! Terms of a few tokens with the positions that they meet.

use std::marker::PhantomData;

use super::{Attended, Scratch};
use crate::isa::{Isa, Kernel, LANES};
use crate::tile::{Ahead, Columns, Rows, TILE_ROWS, even_parts, tile, with_blocks, with_rows};

/// Up to sixteen rows times `n_blocks` blocks, into the terms of `scratch` with the stride beside it.
#[inline(always)]
pub(super) unsafe fn products<I: Isa, N: Attended<I>>(
    (rows, n_rows): (Rows, usize),
    (columns, n_blocks): (Columns, usize),
    steps: usize,
    (scratch, stride): (&Scratch<N>, usize),
) {
    let isa = PhantomData::<(I, N)>;
    let terms = scratch.terms.pointer();
    // SAFETY: the caller vouches for rows, columns and the terms' room.
    unsafe { I::perform(Terms { rows, n_rows, columns, n_blocks, steps, terms, stride, isa }) }
}

/// A function of its own, because it is called from many places.
struct Terms<I, N> {
    rows: Rows,
    n_rows: usize,
    columns: Columns,
    n_blocks: usize,
    steps: usize,
    terms: *mut f32,
    stride: usize,
    isa: PhantomData<(I, N)>,
}

impl<I: Isa, N: Attended<I>> Kernel for Terms<I, N> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let Self { steps, terms, stride, .. } = self;
        for row_part in even_parts(self.n_rows, TILE_ROWS) {
            for part in even_parts(self.n_blocks, I::BLOCKS) {
                // SAFETY: the caller's promise.
                unsafe {
                    let (rows, columns) = (self.rows.from(row_part.start), self.columns.from(part.start));
                    with_rows!(row_part.len(), ROWS => with_blocks!(part.len(), BLOCKS => {
                        let sums = tile::<N::Product, ROWS, BLOCKS>(steps, rows, columns, Ahead::NOTHING);
                        for (row, sums) in (row_part.start..).zip(sums) {
                            for (block, sum) in (part.start..).zip(sums) {
                                I::store(terms.add(row * stride + block * LANES), sum);
                            }
                        }
                    }));
                }
            }
        }
    }
}
