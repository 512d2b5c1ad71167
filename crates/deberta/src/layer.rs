//! One layer of the encoder: attention, then a feed-forward pair, each with its residual and normalisation.

use tch::{TchError, Tensor};

use crate::activation::Activation;
use crate::attention::Attention;
use crate::error::LoadError;
use crate::layout::Layout;
use crate::linear::{LayerNorm, Linear};
use crate::loading::Loading;
use crate::relative_position::Diagonals;

/// A layer's weights.
#[derive(Debug)]
pub(crate) struct Layer {
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
            attention: Attention::load(loading, &name, relative_rows, diagonals)?,
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

    /// Every token: `[tokens, hidden]` to `[tokens, hidden]`.
    pub(crate) fn forward(&self, input: &Tensor, layout: &Layout) -> Result<Tensor, TchError> {
        let mixed = self.attention.forward(input, layout)?;
        self.feed_forward(&mixed, input)
    }

    /// Every row's first token: `[tokens, hidden]` to `[rows, hidden]`.
    pub(crate) fn forward_first(&self, input: &Tensor, layout: &Layout) -> Result<Tensor, TchError> {
        let first = input.f_index_select(0, &layout.first_tokens)?; // [rows, hidden]
        let mixed = self.attention.forward_first(input, layout)?;
        self.feed_forward(&mixed, &first)
    }

    fn feed_forward(&self, mixed: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        let attended = self.attention_norm.forward(&self.attention_output.forward_added(mixed, residual)?)?;
        let widened = self.intermediate.forward_activated(&attended, self.activation)?; // [.., intermediate]
        self.output_norm.forward(&self.output.forward_added(&widened, &attended)?)
    }
}
