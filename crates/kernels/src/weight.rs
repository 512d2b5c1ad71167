//! A linear layer's weight in the order in which tiles read it.

use crate::buffer::Buffer;
use crate::isa::{Isa, LANES};
use crate::tile::{Arithmetic, BLOCK_BYTES, Brain, Byte, Columns, STEP_BYTES, Single, TILE_BLOCKS};
use crate::vector::Bf16;

/// Columns of a panel: a full tile's.
pub(crate) const PANEL: usize = TILE_BLOCKS * LANES;

/// How weights of a kind of product are written, and what they leave to be put right afterwards.
pub(crate) trait Packing: Arithmetic {
    /// What the weights of one output are divided by.
    fn scale(weights: &[f32]) -> f32;
    /// One step of one output, [`Arithmetic::PER_STEP`] weights or fewer, already divided.
    fn step(weights: &[f32]) -> [u8; STEP_BYTES];
    /// The weights of a step, the first [`Arithmetic::PER_STEP`] of what is returned.
    fn numbers(step: [u8; STEP_BYTES]) -> [f32; STEP_BYTES];
}

impl<I: Isa> Packing for Single<I> {
    fn scale(_: &[f32]) -> f32 {
        1.0
    }

    fn step(weights: &[f32]) -> [u8; STEP_BYTES] {
        weights[0].to_le_bytes()
    }

    fn numbers(step: [u8; STEP_BYTES]) -> [f32; STEP_BYTES] {
        [f32::from_le_bytes(step), 0.0, 0.0, 0.0]
    }
}

impl Packing for Brain {
    fn scale(_: &[f32]) -> f32 {
        1.0
    }

    fn step(weights: &[f32]) -> [u8; STEP_BYTES] {
        let bits = |index: usize| weights.get(index).map_or(0, |weight| Bf16::from_f32(*weight).0);
        (u32::from(bits(0)) | u32::from(bits(1)) << 16).to_le_bytes()
    }

    fn numbers([a, b, c, d]: [u8; STEP_BYTES]) -> [f32; STEP_BYTES] {
        [Bf16(u16::from_le_bytes([a, b])).to_f32(), Bf16(u16::from_le_bytes([c, d])).to_f32(), 0.0, 0.0]
    }
}

impl Packing for Byte {
    fn scale(weights: &[f32]) -> f32 {
        let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
        if largest > 0.0 { largest / 127.0 } else { 1.0 }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within -127 to 127 after the division"
    )]
    fn step(weights: &[f32]) -> [u8; STEP_BYTES] {
        std::array::from_fn(|index| weights.get(index).map_or(0, |weight| weight.round() as i8 as u8))
    }

    fn numbers(step: [u8; STEP_BYTES]) -> [f32; STEP_BYTES] {
        step.map(|byte| f32::from(byte.cast_signed()))
    }
}

/// Weight and bias of `y = x * weightᵀ + bias`, in panels of [`PANEL`] outputs; the last is filled up with zeros.
#[derive(Debug)]
pub(crate) struct Weight {
    panels: Buffer<u8>,
    /// `[panels * PANEL]`.
    pub(crate) bias: Buffer<f32>,
    /// What each output's int8 sum is multiplied by, `[panels * PANEL]`.
    pub(crate) scale: Buffer<f32>,
    /// The sum of each output's int8 weights, `[panels * PANEL]`: what a row's zero point adds to every product.
    pub(crate) total: Buffer<f32>,
    pub(crate) outputs: usize,
    pub(crate) steps: usize,
}

impl Weight {
    /// Packs `weight`, `[outputs, inputs]`, and `bias`, `[outputs]`.
    pub(crate) fn pack<P: Packing>(weight: &[f32], bias: &[f32]) -> Self {
        let outputs = bias.len();
        let inputs = weight.len() / outputs.max(1);
        let steps = inputs.div_ceil(P::PER_STEP);
        let padded = outputs.next_multiple_of(PANEL);
        let mut packed = Self {
            panels: Buffer::zeroed(padded * steps * STEP_BYTES),
            bias: Buffer::zeroed(padded),
            scale: Buffer::zeroed(padded),
            total: Buffer::zeroed(padded),
            outputs,
            steps,
        };
        packed.bias.as_mut_slice()[..outputs].copy_from_slice(bias);
        let panel_bytes = PANEL * steps * STEP_BYTES;
        let mut scaled = vec![0f32; inputs];
        for (output, weights) in weight.chunks_exact(inputs.max(1)).enumerate() {
            let scale = P::scale(weights);
            for (scaled, weight) in scaled.iter_mut().zip(weights) {
                *scaled = weight / scale;
            }
            packed.scale.as_mut_slice()[output] = scale;
            packed.total.as_mut_slice()[output] = scaled.iter().map(|weight| weight.round()).sum();
            let (panel, column) = (output / PANEL, output % PANEL);
            let own = &mut packed.panels.as_mut_slice()[panel * panel_bytes..][..panel_bytes];
            for (step, weights) in scaled.chunks(P::PER_STEP).enumerate() {
                own[(step * PANEL + column) * STEP_BYTES..][..STEP_BYTES].copy_from_slice(&P::step(weights));
            }
        }
        packed
    }

    pub(crate) fn bytes(&self) -> usize {
        self.panels.as_slice().len() + 3 * size_of_val(self.bias.as_slice())
    }

    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// The column blocks of `panel`.
    pub(crate) fn columns(&self, panel: usize) -> Columns {
        let bytes = PANEL * STEP_BYTES;
        let start = &self.panels.as_slice()[panel * self.steps * bytes..];
        Columns { start: start.as_ptr(), block: BLOCK_BYTES, step: bytes }
    }
}

/// A matrix whose rows are columns of a product, in blocks of sixteen that lie apart: any run of blocks can be read.
#[derive(Debug)]
pub(crate) struct Blocks {
    blocks: Buffer<u8>,
    pub(crate) steps: usize,
}

impl Blocks {
    /// Packs `count` columns of `inputs` numbers each; `column(c)` gives column `c`.
    pub(crate) fn pack<P: Packing>(count: usize, inputs: usize, column: impl Fn(usize) -> Vec<f32>) -> Self {
        let steps = inputs.div_ceil(P::PER_STEP);
        let mut blocks = Buffer::zeroed(count.next_multiple_of(LANES) * steps * STEP_BYTES);
        for index in 0..count {
            let (block, lane) = (index / LANES, index % LANES);
            for (step, numbers) in column(index).chunks(P::PER_STEP).enumerate() {
                let at = (block * steps + step) * BLOCK_BYTES + lane * STEP_BYTES;
                blocks.as_mut_slice()[at..at + STEP_BYTES].copy_from_slice(&P::step(numbers));
            }
        }
        Self { blocks, steps }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.blocks.as_slice().len()
    }

    /// The `inputs` numbers of column `index`, as they are kept.
    pub(crate) fn column<P: Packing>(&self, index: usize, inputs: usize) -> Vec<f32> {
        let (block, lane) = (index / LANES, index % LANES);
        let step = |step: usize| {
            let at = (block * self.steps + step) * BLOCK_BYTES + lane * STEP_BYTES;
            let bytes = self.blocks.as_slice()[at..at + STEP_BYTES].try_into().unwrap_or_default();
            P::numbers(bytes).into_iter().take(P::PER_STEP)
        };
        (0..self.steps).flat_map(step).take(inputs).collect()
    }

    /// The blocks from `block` on.
    pub(crate) fn from(&self, block: usize) -> Columns {
        let start = &self.blocks.as_slice()[block * self.steps * BLOCK_BYTES..];
        Columns::apart(start.as_ptr(), self.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Avx512;

    #[test]
    fn columns_come_back_as_they_are_kept() {
        let column = |index: usize| (0..5).map(|input| index as f32 - 0.375 * input as f32).collect::<Vec<f32>>();
        let (single, brain) = (Blocks::pack::<Single<Avx512>>(20, 5, column), Blocks::pack::<Brain>(20, 5, column));
        for index in [0, 3, 15, 16, 19] {
            assert_eq!(single.column::<Single<Avx512>>(index, 5), column(index));
            assert_eq!(brain.column::<Brain>(index, 5), column(index), "few bits are enough for these");
        }
    }
}
