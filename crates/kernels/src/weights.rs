//! An encoder's weights, from plain fp32 arrays to the order in which kernels read them.

use std::marker::PhantomData;

use crate::attention::{Attended, Positions};
use crate::isa::{Avx512Bf16, Isa};
use crate::product::Finish;
use crate::rows::Norm;
use crate::tile::{Brain, Byte, Single};
use crate::vector::{Activation, Bf16};
use crate::weight::{Blocks, PANEL, Packing, Weight};

/// What the arrays of an encoder have in common.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// Width of every token's state.
    pub hidden: usize,
    /// Width of a row of the embedding tables.
    pub embedding: usize,
    /// Attention heads; they divide the hidden size.
    pub heads: usize,
    /// Between the two layers of the feed-forward pair.
    pub activation: Activation,
    /// Behind the pooler.
    pub pooler_activation: Activation,
    /// Added to a variance before its root is taken.
    pub epsilon: f32,
    /// Rows of the relative embeddings; 0 where there are none.
    pub slots: usize,
}

/// A linear layer.
#[derive(Debug, Clone, Default)]
pub struct Dense {
    /// `[outputs, inputs]`.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// A normalisation.
#[derive(Debug, Clone, Default)]
pub struct Scaling {
    /// `[hidden]`.
    pub weight: Vec<f32>,
    /// `[hidden]`.
    pub bias: Vec<f32>,
}

/// The tables behind the input.
#[derive(Debug, Clone, Default)]
pub struct EmbeddingArrays {
    /// `[vocabulary, embedding]`.
    pub words: Table,
    /// `[positions, embedding]`.
    pub positions: Option<Vec<f32>>,
    /// `[types, embedding]`.
    pub types: Option<Vec<f32>>,
    /// `[hidden, embedding]`, where the two differ.
    pub projection: Option<Vec<f32>>,
    /// Over the sum.
    pub norm: Scaling,
}

/// A large table, filled in the element type that it is kept in.
#[derive(Debug, Clone)]
pub enum Table {
    /// fp32.
    Single(Vec<f32>),
    /// The upper halves of fp32 numbers.
    Brain(Vec<u16>),
}

/// A linear layer in the order in which kernels read it.
#[derive(Debug)]
pub struct Packed(Weight);

/// One head's projections of the relative embeddings after the other.
#[derive(Debug)]
pub struct PackedPositions(Vec<Positions>);

/// One layer. What is large has been packed as it came, so that no array has to wait for the others.
#[derive(Debug)]
pub struct PackedLayer {
    /// With the score's scale in it.
    pub query: Packed,
    /// Keys and values.
    pub key_value: Packed,
    /// What queries and keys meet.
    pub positions: PackedPositions,
    /// Behind attention.
    pub attention_output: Packed,
    /// Behind it and its residual.
    pub attention_norm: Scaling,
    /// The first of the feed-forward pair.
    pub intermediate: Packed,
    /// The second.
    pub output: Packed,
    /// Behind it and its residual.
    pub output_norm: Scaling,
}

/// The kinds of numbers of a mode, and on what they are multiplied.
pub(crate) trait Mode: Send + Sync + 'static {
    type Isa: Isa;
    /// Linear layers.
    type Linear: Finish<Isa = Self::Isa>;
    /// Attention, and whatever is stored between layers.
    type Number: Attended<Self::Isa, Product: Packing>;
    /// Rows become bytes before a linear layer.
    const BYTES: bool;
}

/// Exact.
#[derive(Debug)]
pub(crate) struct Fp32<I>(PhantomData<I>);
/// bf16 products, fp32 sums and residuals.
#[derive(Debug)]
pub(crate) enum HalfBrain {}
/// int8 linear layers, bf16 attention, fp32 residuals.
#[derive(Debug)]
pub(crate) enum Int8 {}

impl<I: Isa> Mode for Fp32<I> {
    type Isa = I;
    type Linear = Single<I>;
    type Number = f32;
    const BYTES: bool = false;
}

impl Mode for HalfBrain {
    type Isa = Avx512Bf16;
    type Linear = Brain;
    type Number = Bf16;
    const BYTES: bool = false;
}

impl Mode for Int8 {
    type Isa = Avx512Bf16;
    type Linear = Byte;
    type Number = Bf16;
    const BYTES: bool = true;
}

#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) query: Weight,
    /// Keys, and values from the padded width on.
    pub(crate) key_value: Weight,
    /// One a head.
    pub(crate) positions: Vec<Positions>,
    pub(crate) attention_output: Weight,
    pub(crate) attention_norm: Norm,
    pub(crate) intermediate: Weight,
    pub(crate) output: Weight,
    pub(crate) output_norm: Norm,
}

#[derive(Debug)]
pub(crate) struct Embeddings {
    pub(crate) words: Table,
    pub(crate) positions: Option<Vec<f32>>,
    pub(crate) types: Option<Vec<f32>>,
    pub(crate) projection: Option<Weight>,
    pub(crate) norm: Norm,
}

/// Everything that forward passes share and never change.
#[derive(Debug)]
pub(crate) struct Weights<M> {
    pub(crate) geometry: Geometry,
    /// `hidden` in whole panels: the stride of all states.
    pub(crate) width: usize,
    /// The feed-forward pair's inner width in whole panels.
    pub(crate) inner: usize,
    pub(crate) embeddings: Embeddings,
    pub(crate) layers: Vec<Layer>,
    pub(crate) pooler: Option<Weight>,
    mode: PhantomData<M>,
}

impl Default for Table {
    fn default() -> Self {
        Self::Single(Vec::new())
    }
}

impl Table {
    /// Adds `numbers` at the end, rounded where the table is of halves.
    pub fn extend(&mut self, numbers: &[f32]) {
        match self {
            Self::Single(table) => table.extend_from_slice(numbers),
            Self::Brain(table) => table.extend(numbers.iter().map(|number| Bf16::from_f32(*number).0)),
        }
    }
}

/// The layers of weights to come.
#[derive(Debug)]
pub(crate) struct Layers<M> {
    geometry: Geometry,
    layers: Vec<Layer>,
    mode: PhantomData<M>,
}

impl<M: Mode> Layers<M> {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self { geometry, layers: Vec::new(), mode: PhantomData }
    }

    fn width(&self) -> usize {
        self.geometry.hidden.next_multiple_of(PANEL)
    }

    #[expect(clippy::unused_self, reason = "the mode of these layers decides")]
    pub(crate) fn packed(&self, dense: &Dense) -> Packed {
        Packed(Weight::pack::<M::Linear>(&dense.weight, &dense.bias))
    }

    pub(crate) fn packed_pair(&self, keys: Dense, values: &Dense) -> Packed {
        self.packed(&side_by_side(keys, values, self.width()))
    }

    /// `keys` are what queries meet, and `queries` what keys meet, `[slots, hidden]` each.
    pub(crate) fn packed_positions(&self, keys: Option<&[f32]>, queries: Option<&[f32]>) -> PackedPositions {
        let Geometry { hidden, heads, slots, .. } = self.geometry;
        let size = hidden / heads;
        let part = |table: &[f32], slot: usize, head: usize| table[slot * hidden + head * size..][..size].to_vec();
        let of_head = |head: usize| Positions {
            keys: keys.map(|table| packed_blocks::<M>(slots, size, |column| part(table, slots - 1 - column, head))),
            queries: queries.map(|table| packed_blocks::<M>(slots, size, |column| part(table, column, head))),
        };
        PackedPositions((0..heads).map(of_head).collect())
    }

    /// Adds the next layer.
    pub(crate) fn push(&mut self, layer: PackedLayer) {
        let epsilon = self.geometry.epsilon;
        self.layers.push(Layer {
            query: layer.query.0,
            key_value: layer.key_value.0,
            positions: layer.positions.0,
            attention_output: layer.attention_output.0,
            attention_norm: normalisation(&layer.attention_norm, epsilon),
            intermediate: layer.intermediate.0,
            output: layer.output.0,
            output_norm: normalisation(&layer.output_norm, epsilon),
        });
    }
    pub(crate) fn finish(self, arrays: EmbeddingArrays, pooler: Option<&Dense>) -> Weights<M> {
        let geometry = self.geometry;
        let EmbeddingArrays { words, positions, types, projection, norm } = arrays;
        let zeros = vec![0f32; geometry.hidden];
        let embeddings = Embeddings {
            words,
            positions,
            types,
            projection: projection.map(|weight| Weight::pack::<Single<M::Isa>>(&weight, &zeros)),
            norm: normalisation(&norm, geometry.epsilon),
        };
        let inner = self.layers.last().map_or(0, |layer| layer.intermediate.outputs.next_multiple_of(PANEL));
        Weights {
            geometry,
            width: self.width(),
            inner,
            embeddings,
            layers: self.layers,
            pooler: pooler.map(|dense| Weight::pack::<Single<M::Isa>>(&dense.weight, &dense.bias)),
            mode: PhantomData,
        }
    }
}

fn packed_blocks<M: Mode>(count: usize, inputs: usize, column: impl Fn(usize) -> Vec<f32>) -> Blocks {
    Blocks::pack::<<M::Number as Attended<M::Isa>>::Product>(count, inputs, column)
}

fn normalisation(scaling: &Scaling, epsilon: f32) -> Norm {
    Norm::new(&scaling.weight, &scaling.bias, epsilon)
}

/// One layer with the outputs of `left`, zeros up to `width`, and the outputs of `right`.
fn side_by_side(left: Dense, right: &Dense, width: usize) -> Dense {
    let inputs = left.weight.len() / left.bias.len().max(1);
    let mut both = left;
    both.weight.resize(width * inputs, 0.0);
    both.bias.resize(width, 0.0);
    both.weight.extend_from_slice(&right.weight);
    both.bias.extend_from_slice(&right.bias);
    both
}
