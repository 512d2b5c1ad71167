//! The convolution that the xlarge models run beside their first layer.

use tch::{Kind, TchError, Tensor};

use crate::activation::Activation;
use crate::config::Convolution;
use crate::error::LoadError;
use crate::layout::Layout;
use crate::linear::{LayerNorm, Linear};
use crate::loading::Loading;
use crate::packing::Packing;

/// A one-dimensional convolution over positions, its activation and its normalisation.
///
/// It is computed as a product over windows of the zero-padded row, which lie overlapping in memory: so GPUs keep full
/// fp32 (their convolutions round to TF32) and no transposed copy is made.
#[derive(Debug)]
pub(crate) struct ConvolutionLayer {
    /// `[hidden, kernel * hidden]`.
    windows: Linear,
    norm: LayerNorm,
    activation: Activation,
    kernel: i64,
    hidden: i64,
}

impl ConvolutionLayer {
    pub(crate) fn load(loading: &mut Loading<'_>, config: Convolution) -> Result<Self, LoadError> {
        let hidden = loading.config.hidden;
        let Convolution { kernel, groups, activation } = config;
        let per_group = hidden / groups;
        let weight = loading.weights.take("encoder.conv.conv.weight", &[hidden, per_group, kernel])?;
        let bias = loading.weights.take("encoder.conv.conv.bias", &[hidden])?;
        // An output reads the inputs of its own group: the others get zeros.
        let dense = Tensor::f_zeros([hidden, kernel, hidden], (Kind::Float, tch::Device::Cpu))?;
        for group in 0..groups {
            let own = weight.f_narrow(0, group * per_group, per_group)?.f_permute([0, 2, 1])?;
            let outputs = dense.f_narrow(0, group * per_group, per_group)?;
            outputs.f_narrow(2, group * per_group, per_group)?.f_copy_(&own)?;
        }
        let dense = dense.f_view([hidden, kernel * hidden])?;
        let windows = Linear::new(&dense, Some(&bias), loading.placement)?;
        let norm = loading.norm("encoder.conv.LayerNorm")?;
        Ok(Self { windows, norm, activation, kernel, hidden })
    }

    /// `output` of the first layer with the convolution of its `input` added; all `[tokens, hidden]`, with spare rows at
    /// the end.
    pub(crate) fn forward(&self, input: &Tensor, output: &Tensor, layout: &Layout) -> Result<Tensor, TchError> {
        let margin = (self.kernel - 1) / 2;
        // Beyond its last token a row is zero, as if it stood alone.
        let silenced = layout.silenced(input)?;
        let input = silenced.as_ref().unwrap_or(input);
        let mut parts = Vec::with_capacity(layout.groups.len());
        for group in &layout.groups {
            let (rows, length, hidden) = (group.rows, group.length, self.hidden);
            let by_row = group.of(input)?.f_view([rows, length, hidden])?;
            let padded = by_row.f_constant_pad_nd([0, 0, margin, margin])?; // [rows, length + 2 * margin, hidden]
            let windows = padded.f_as_strided(
                [rows, length, self.kernel * hidden],
                [(length + 2 * margin) * hidden, hidden, 1],
                0,
            )?;
            parts.push(self.windows.forward_activated(&windows, self.activation)?.f_view([rows * length, hidden])?);
        }
        let convolved = Packing::join(parts, input)?; // [tokens, hidden]
        self.norm.forward(&output.f_add(&convolved)?)
    }
}
