//! One layer of the encoder: attention, then a feed-forward pair, each with its residual and normalisation.

use engine::Adapter;
use tch::{TchError, Tensor};

use crate::activation::Activation;
use crate::attention::Attention;
use crate::error::LoadError;
use crate::layout::{Extent, Layout};
use crate::linear::{LayerNorm, Linear};
use crate::loading::Loading;
use crate::placed_adapter::LayerAdditions;
use crate::relative_position::Diagonals;
use crate::tensors::unsigned;

/// A layer's weights.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Its number, from 0.
    index: usize,
    attention: Attention,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    /// Loads layer `index`. `relative_rows` are the (normalised) relative embeddings, `[2 * span, hidden]`.
    pub(crate) fn load(
        loading: &mut Loading<'_>,
        index: i64,
        relative_rows: Option<&Tensor>,
        diagonals: Option<&Diagonals>,
    ) -> Result<Self, LoadError> {
        let name = format!("encoder.layer.{index}");
        let (hidden, intermediate) = (loading.config.hidden, loading.config.intermediate);
        Ok(Self {
            index: unsigned(index),
            attention: Attention::load(loading, index, relative_rows, diagonals)?,
            attention_output: loading.linear(&format!("{name}.attention.output.dense"), hidden, hidden)?,
            attention_norm: loading.norm(&format!("{name}.attention.output.LayerNorm"))?,
            intermediate: loading.linear(&format!("{name}.intermediate.dense"), intermediate, hidden)?,
            activation: loading.config.activation,
            output: loading.linear(&format!("{name}.output.dense"), hidden, intermediate)?,
            output_norm: loading.norm(&format!("{name}.output.LayerNorm"))?,
        })
    }

    /// Makes the position tables serve other `diagonals`.
    pub(crate) fn extend(&mut self, diagonals: &Diagonals) -> Result<(), TchError> {
        self.attention.extend(diagonals)
    }

    /// What `adapter` changes of this layer. `relative_rows` as in [`Layer::load`].
    pub(crate) fn additions(
        &self,
        adapter: &Adapter,
        relative_rows: Option<&Tensor>,
        diagonals: Option<&Diagonals>,
    ) -> Result<LayerAdditions, TchError> {
        self.attention.additions(adapter, relative_rows, diagonals)
    }

    /// Every token: `[tokens, hidden]` to `[tokens, hidden]`.
    pub(crate) fn forward(&self, input: &Tensor, layout: &Layout) -> Result<Tensor, TchError> {
        let mixed = self.attention.forward(input, layout)?;
        self.feed_forward(&mixed, input, (layout, Extent::Tokens))
    }

    /// Every row's first token: `[tokens, hidden]` to `[rows, hidden]`.
    pub(crate) fn forward_first(&self, input: &Tensor, layout: &Layout) -> Result<Tensor, TchError> {
        let first = input.f_index_select(0, &layout.first_tokens)?; // [rows, hidden]
        let mixed = self.attention.forward_first(input, layout)?;
        self.feed_forward(&mixed, &first, (layout, Extent::Rows))
    }

    /// What follows attention, for tensors with a row for each of `extent`.
    fn feed_forward(
        &self,
        mixed: &Tensor,
        residual: &Tensor,
        (layout, extent): (&Layout, Extent),
    ) -> Result<Tensor, TchError> {
        if let Some(fused) = &layout.fused {
            let attended = self.attention_norm.forward_sum(&self.attention_output.forward(mixed)?, residual, fused)?;
            let widened = self.intermediate.forward_activated(&attended, self.activation)?;
            return self.output_norm.forward_sum(&self.output.forward(&widened)?, &attended, fused);
        }
        let attended = self.attention_output.forward_added(mixed, residual)?;
        layout.add((self.index, |own| own.attention_output.as_ref()), (mixed, &attended), extent)?;
        let attended = self.attention_norm.forward(&attended)?;
        let widened = self.widen(&attended, (layout, extent))?; // [.., intermediate]
        let narrowed = self.output.forward_added(&widened, &attended)?;
        layout.add((self.index, |own| own.output.as_ref()), (&widened, &narrowed), extent)?;
        self.output_norm.forward(&narrowed)
    }

    /// The activation is fused into the product unless an adapter adds something before it.
    fn widen(&self, attended: &Tensor, (layout, extent): (&Layout, Extent)) -> Result<Tensor, TchError> {
        let part = |own: &LayerAdditions| own.intermediate.as_ref().map(drop);
        if layout.adapted(self.index, part).next().is_none() {
            return self.intermediate.forward_activated(attended, self.activation);
        }
        let widened = self.intermediate.forward(attended)?;
        layout.add((self.index, |own| own.intermediate.as_ref()), (attended, &widened), extent)?;
        self.activation.apply(widened)
    }
}
