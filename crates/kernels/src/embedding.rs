//! Token ids to the first layer's input.

use crate::buffer::Buffer;
use crate::plan::InputRow;
use crate::vector::Bf16;
use crate::weights::{Embeddings, Table};

impl Table {
    fn add(&self, row: usize, sum: &mut [f32]) {
        let own = row * sum.len()..(row + 1) * sum.len();
        match self {
            Self::Single(table) => add(&table[own], sum),
            Self::Brain(table) => {
                for (sum, half) in sum.iter_mut().zip(&table[own]) {
                    *sum += Bf16(*half).to_f32();
                }
            }
        }
    }
}

impl Embeddings {
    /// Writes the sums of the tables for the token at `place`, row and position, as `width` numbers at `to`.
    ///
    /// # Safety
    /// `to` is writable for `width` numbers and nobody else uses them.
    pub(crate) unsafe fn sum(&self, rows: &[InputRow<'_>], place: (u32, u32), to: *mut f32, width: usize) {
        let (row, position) = place;
        let (row, position) = (&rows[row as usize], position as usize);
        // SAFETY: the caller's promise.
        let sum = unsafe { std::slice::from_raw_parts_mut(to, width) };
        sum.fill(0.0);
        self.words.add(row.ids[position] as usize, sum);
        // By position, never by id: a text that spells out the first token keeps it unshifted.
        if let Some(task_embedding) = row.task_embedding.filter(|_| position == 0) {
            add(task_embedding, sum);
        }
        if let Some(positions) = &self.positions {
            add(&positions[position * width..][..width], sum);
        }
        if let Some(types) = &self.types {
            let kind = row.types.get(position).copied().unwrap_or(0) as usize;
            add(&types[kind * width..][..width], sum);
        }
    }
}

fn add(numbers: &[f32], sum: &mut [f32]) {
    for (sum, number) in sum.iter_mut().zip(numbers) {
        *sum += number;
    }
}

/// Row `row` of a buffer of rows.
///
/// # Safety
/// The row exists.
pub(crate) unsafe fn row<T: Copy>(buffer: &Buffer<T>, row: usize, stride: usize) -> *mut T {
    // SAFETY: the caller's promise.
    unsafe { buffer.pointer().add(row * stride) }
}
