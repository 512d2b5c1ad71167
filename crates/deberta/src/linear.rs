//! The two layers everything else is made of: a linear map and a normalisation.

use tch::{TchError, Tensor};

use crate::precision::Placement;

/// `x * weightᵀ + bias`.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `[outputs, inputs]`.
    weight: Tensor,
    /// `[outputs]`.
    bias: Option<Tensor>,
}

/// Normalisation over the last dimension with weight and bias; statistics are fp32 in every mode.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    width: i64,
    epsilon: f64,
}

impl Linear {
    /// A layer from fp32 tensors.
    pub(crate) fn new(weight: &Tensor, bias: Option<&Tensor>, placement: Placement) -> Result<Self, TchError> {
        let bias = bias.map(|bias| placement.place(bias)).transpose()?;
        Ok(Self { weight: placement.place(weight)?, bias })
    }

    /// The layer that computes `count` of the outputs from `first` on, over the same memory.
    pub(crate) fn outputs(&self, first: i64, count: i64) -> Result<Self, TchError> {
        let bias = self.bias.as_ref().map(|bias| bias.f_narrow(0, first, count)).transpose()?;
        Ok(Self { weight: self.weight.f_narrow(0, first, count)?, bias })
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_linear(&self.weight, self.bias.as_ref())
    }
}

impl LayerNorm {
    /// A layer from fp32 tensors of the hidden size.
    pub(crate) fn new(weight: &Tensor, bias: &Tensor, epsilon: f64, placement: Placement) -> Result<Self, TchError> {
        let width = weight.f_view([-1])?.size1()?;
        Ok(Self { weight: placement.place(weight)?, bias: placement.place(bias)?, width, epsilon })
    }

    /// Same shape as `input`.
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_layer_norm([self.width], Some(&self.weight), Some(&self.bias), self.epsilon, true)
    }
}
