//! Low-rank additions to the linear layers of single rows.
//!
//! A row's input is taken down to the rank in fp32 as soon as it is known; each task of a product adds the way back up to
//! the row's sums while they are in registers. So rows with and without an adapter share every product.

use std::marker::PhantomData;

use crate::attention::{Attended, Positions};
use crate::buffer::Buffer;
use crate::isa::{Isa, Kernel, LANES};
use crate::tile::{Ahead, Rows, STEP_BYTES, Single, TILE_BLOCKS, even_parts, panel, with_blocks};
use crate::vector::Number;
use crate::weight::{Blocks, PANEL, Weight};
use crate::weights::{Dense, Geometry, Layer, Mode, Weights};

/// Rows of the lower half that are multiplied at a time.
const DOWN_ROWS: usize = 4;

/// A low-rank addition: `x * downᵀ * upᵀ`.
#[derive(Debug, Clone, Default)]
pub struct Factors {
    /// The inner width.
    pub rank: usize,
    /// `[rank, inputs]`.
    pub down: Vec<f32>,
    /// `[outputs, rank]`.
    pub up: Vec<f32>,
}

/// What an adapter adds to one layer.
#[derive(Debug, Clone, Default)]
pub struct LayerFactors {
    /// With the score's scale in it.
    pub query: Option<Factors>,
    /// Keys.
    pub key: Option<Factors>,
    /// Values.
    pub value: Option<Factors>,
    /// Behind attention.
    pub attention_output: Option<Factors>,
    /// The first of the feed-forward pair.
    pub intermediate: Option<Factors>,
    /// The second.
    pub output: Option<Factors>,
    /// Added to what queries meet, `[slots, hidden]`.
    pub position_keys: Option<Vec<f32>>,
    /// Added to what keys meet, `[slots, hidden]`, with the score's scale in it.
    pub position_queries: Option<Vec<f32>>,
}

/// An adapter as passes use it, made for the weights of one encoder in one precision.
#[derive(Debug)]
pub struct Adapter {
    pub(crate) layers: Vec<LayerAdditions>,
    /// In place of the encoder's.
    pub(crate) pooler: Option<Weight>,
    /// Which weights it was made for.
    pub(crate) made_for: *const (),
    bytes: usize,
}

// SAFETY: the pointer is compared and never followed.
unsafe impl Send for Adapter {}
// SAFETY: as above.
unsafe impl Sync for Adapter {}

/// The linear layers of a layer, as products have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    Query,
    KeyValue,
    AttentionOutput,
    Intermediate,
    Output,
}

/// Sites of a layer.
pub(crate) const SITES: usize = 5;

impl Site {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; SITES] =
        [Self::Query, Self::KeyValue, Self::AttentionOutput, Self::Intermediate, Self::Output];
}

#[derive(Debug, Default)]
pub(crate) struct LayerAdditions {
    sites: [Option<Addition>; SITES],
    /// One a head, in place of the layer's.
    pub(crate) positions: Option<Vec<Positions>>,
}

/// One addition in the order in which kernels read it.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) rank: usize,
    inputs: usize,
    /// `[rank in whole groups, inputs in whole registers]`.
    down: Buffer<f32>,
    up: Weight,
}

impl Adapter {
    /// Bytes of everything that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn addition(&self, layer: usize, site: Site) -> Option<&Addition> {
        self.layers.get(layer)?.sites[site as usize].as_ref()
    }

    /// The largest rank at any site.
    pub(crate) fn rank(&self) -> usize {
        self.layers
            .iter()
            .flat_map(|layer| layer.sites.iter().flatten())
            .map(|addition| addition.rank)
            .max()
            .unwrap_or(0)
    }

    /// Packs what is added to each layer of `weights`.
    pub(crate) fn pack<M: Mode>(weights: &Weights<M>, layers: &[LayerFactors], pooler: Option<&Dense>) -> Self {
        let layers: Vec<_> = weights
            .layers
            .iter()
            .zip(layers)
            .map(|(layer, factors)| layer_additions(weights, layer, factors))
            .collect();
        let pooler = pooler.map(|dense| Weight::pack::<Single<M::Isa>>(&dense.weight, &dense.bias));
        let bytes = layers.iter().map(LayerAdditions::bytes).sum::<usize>() + pooler.as_ref().map_or(0, Weight::bytes);
        Self { layers, pooler, made_for: std::ptr::from_ref(weights).cast(), bytes }
    }
}

impl LayerAdditions {
    fn bytes(&self) -> usize {
        let of_addition = |addition: &Addition| size_of_val(addition.down.as_slice()) + addition.up.bytes();
        let of_head =
            |head: &Positions| [&head.keys, &head.queries].into_iter().flatten().map(Blocks::bytes).sum::<usize>();
        self.sites.iter().flatten().map(of_addition).sum::<usize>()
            + self.positions.iter().flatten().map(of_head).sum::<usize>()
    }
}

fn layer_additions<M: Mode>(weights: &Weights<M>, layer: &Layer, factors: &LayerFactors) -> LayerAdditions {
    let Geometry { hidden, .. } = weights.geometry;
    let one = |factors: &Option<Factors>, inputs: usize| factors.as_ref().map(|it| Addition::pack::<M>(it, inputs));
    let key_value = side_by_side(factors.key.as_ref(), factors.value.as_ref(), (hidden, weights.width));
    let inner = layer.intermediate.outputs;
    LayerAdditions {
        sites: [
            one(&factors.query, hidden),
            key_value.map(|factors| Addition::pack::<M>(&factors, hidden)),
            one(&factors.attention_output, hidden),
            one(&factors.intermediate, hidden),
            one(&factors.output, inner),
        ],
        positions: positions(weights, layer, factors),
    }
}

/// The layer's position tables with the additions in them, if there are any.
fn positions<M: Mode>(weights: &Weights<M>, layer: &Layer, factors: &LayerFactors) -> Option<Vec<Positions>> {
    if factors.position_keys.is_none() && factors.position_queries.is_none() {
        return None;
    }
    let Geometry { hidden, heads, slots, .. } = weights.geometry;
    let size = hidden / heads;
    let sum = |table: &Option<Blocks>, added: &Option<Vec<f32>>, head: usize, slot_of: &dyn Fn(usize) -> usize| {
        table.as_ref().map(|table| {
            Blocks::pack::<<M::Number as Attended<M::Isa>>::Product>(slots, size, |column| {
                let mut numbers = table.column::<<M::Number as Attended<M::Isa>>::Product>(column, size);
                if let Some(added) = added {
                    let own = &added[slot_of(column) * hidden + head * size..][..size];
                    numbers.iter_mut().zip(own).for_each(|(number, added)| *number += added);
                }
                numbers
            })
        })
    };
    let of_head = |(head, own): (usize, &Positions)| Positions {
        keys: sum(&own.keys, &factors.position_keys, head, &|column| slots - 1 - column),
        queries: sum(&own.queries, &factors.position_queries, head, &|column| column),
    };
    Some(layer.positions.iter().enumerate().map(of_head).collect())
}

/// One addition to the keys and, from output `width` on, to the values; both sides have `hidden` outputs.
fn side_by_side(key: Option<&Factors>, value: Option<&Factors>, (hidden, width): (usize, usize)) -> Option<Factors> {
    let rank_of = |factors: Option<&Factors>| factors.map_or(0, |factors| factors.rank);
    let (key_rank, rank) = (rank_of(key), rank_of(key) + rank_of(value));
    if rank == 0 {
        return None;
    }
    let mut up = vec![0f32; (width + hidden) * rank];
    for (factors, first_row, first_column) in [(key, 0, 0), (value, width, key_rank)] {
        let Some(factors) = factors else { continue };
        for (row, numbers) in factors.up.chunks_exact(factors.rank).enumerate() {
            up[(first_row + row) * rank + first_column..][..factors.rank].copy_from_slice(numbers);
        }
    }
    let down = [key, value].into_iter().flatten().flat_map(|factors| factors.down.iter().copied()).collect();
    Some(Factors { rank, down, up })
}

impl Addition {
    fn pack<M: Mode>(factors: &Factors, inputs: usize) -> Self {
        let stride = inputs.next_multiple_of(LANES);
        let mut down = Buffer::zeroed(factors.rank.next_multiple_of(DOWN_ROWS) * stride);
        for (row, numbers) in down.as_mut_slice().chunks_exact_mut(stride).zip(factors.down.chunks_exact(inputs)) {
            row[..inputs].copy_from_slice(numbers);
        }
        let zeros = vec![0f32; factors.up.len() / factors.rank.max(1)];
        Self { rank: factors.rank, inputs, down, up: Weight::pack::<Single<M::Isa>>(&factors.up, &zeros) }
    }

    /// Writes what the lower half makes of `count` rows to as many narrow ones.
    ///
    /// # Safety
    /// The rows hold the inputs, readable to the end of a register; narrow ones have room for the rank in whole groups;
    /// the processor has the instructions.
    pub(crate) unsafe fn descend<I: Isa, N: Number<I>>(
        &self,
        (from, from_stride): (*const N, usize),
        (to, to_stride): (*mut f32, usize),
        count: usize,
    ) {
        let isa = PhantomData::<I>;
        // SAFETY: the caller's promise.
        unsafe { I::perform(Descent { addition: self, from, from_stride, to, to_stride, count, isa }) }
    }
}

struct Descent<'a, N, I> {
    addition: &'a Addition,
    from: *const N,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
    count: usize,
    isa: PhantomData<I>,
}

impl<I: Isa, N: Number<I>> Kernel for Descent<'_, N, I> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        for part in even_parts(self.count, I::BLOCKS) {
            // SAFETY: the caller's promise.
            with_blocks!(part.len(), ROWS => unsafe { self.rows::<ROWS>(part.start) });
        }
    }
}

impl<I: Isa, N: Number<I>> Descent<'_, N, I> {
    /// A few rows together, so that they share the loads of the lower half.
    #[inline(always)]
    unsafe fn rows<const ROWS: usize>(&self, row: usize) {
        let Addition { rank, inputs, down, .. } = self.addition;
        let stride = inputs.next_multiple_of(LANES);
        // SAFETY: the caller's promise; `down` has whole groups of rows of whole registers.
        unsafe {
            let (from, to) = (self.from.add(row * self.from_stride), self.to.add(row * self.to_stride));
            for first in (0..*rank).step_by(DOWN_ROWS) {
                let mut sums = [[I::zero(); DOWN_ROWS]; ROWS];
                let down = down.pointer().add(first * stride);
                for at in (0..*inputs).step_by(LANES) {
                    let mut lower = [I::zero(); DOWN_ROWS];
                    for (number, lower) in lower.iter_mut().enumerate() {
                        *lower = I::load(down.add(number * stride + at));
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let numbers = N::load(from.add(row * self.from_stride + at));
                        let numbers = I::keep_first(inputs - at, numbers, I::zero());
                        for (sum, lower) in sums.iter_mut().zip(lower) {
                            *sum = I::fma(numbers, lower, *sum);
                        }
                    }
                }
                for (row, sums) in sums.into_iter().enumerate() {
                    for (number, sum) in sums.into_iter().enumerate() {
                        *to.add(row * self.to_stride + first + number) = I::sum(sum);
                    }
                }
            }
        }
    }
}

/// Room that [`Addition::descend`] needs for an addition of `rank`.
pub(crate) fn narrow_stride(rank: usize) -> usize {
    rank.next_multiple_of(LANES)
}

/// The additions to the rows of one product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Additions<'a> {
    /// For each row of the product, one more than the place of its adapter in `list`; 0 for none. Empty where no row of
    /// the batch has one.
    pub(crate) of_row: &'a [u32],
    /// By adapter of the batch.
    pub(crate) list: &'a [Option<&'a Addition>],
    /// What the lower halves made of each row, `[rows, stride]`.
    pub(crate) narrow: *const f32,
    pub(crate) stride: usize,
}

impl Additions<'_> {
    /// No row has an addition.
    pub(crate) const NONE: Self = Self { of_row: &[], list: &[], narrow: std::ptr::null(), stride: 0 };

    /// What is added to the sums of `ROWS` rows from `first` on, at the columns of `panel`; nothing where no row of them has
    /// an addition. Neighbours of one adapter, which most are, share the loads of its numbers.
    ///
    /// # Safety
    /// The rows' lower halves have been computed, and the panel is the product's; for kernels alone.
    #[inline(always)]
    pub(crate) unsafe fn of<I: Isa, const ROWS: usize>(
        &self,
        first: usize,
        panel: usize,
    ) -> Option<[[I::Lanes; TILE_BLOCKS]; ROWS]> {
        let adapters = self.of_row.get(first..first + ROWS)?;
        // SAFETY: the caller's promise; rows without an addition keep their zeros.
        unsafe {
            if adapters.iter().all(|adapter| *adapter == adapters[0]) {
                let addition = self.addition(adapters[0], panel)?;
                return Some(self.risen::<I, ROWS>(addition, first, panel));
            }
            let mut sums = [[I::zero(); TILE_BLOCKS]; ROWS];
            for (row, (sums, adapter)) in (first..).zip(sums.iter_mut().zip(adapters)) {
                if let Some(addition) = self.addition(*adapter, panel) {
                    [*sums] = self.risen::<I, 1>(addition, row, panel);
                }
            }
            Some(sums)
        }
    }

    /// The addition of the adapter of that number, where it has outputs in `panel`.
    fn addition(&self, adapter: u32, panel: usize) -> Option<&Addition> {
        let addition = (*self.list.get((adapter as usize).checked_sub(1)?)?)?;
        (panel < addition.up.panels()).then_some(addition)
    }

    /// `ROWS` lower halves from row `first` on, brought up at the columns of `panel`.
    #[inline(always)]
    unsafe fn risen<I: Isa, const ROWS: usize>(
        &self,
        addition: &Addition,
        first: usize,
        at: usize,
    ) -> [[I::Lanes; TILE_BLOCKS]; ROWS] {
        // SAFETY: the caller's promise.
        unsafe {
            let start = self.narrow.add(first * self.stride).cast();
            let rows = Rows { start, stride: self.stride * STEP_BYTES };
            panel::<Single<I>, ROWS>(addition.rank, rows, addition.up.columns(at), Ahead::NOTHING)
        }
    }
}

const _: () = assert!(PANEL == TILE_BLOCKS * LANES, "a panel of an addition is a tile's columns");
