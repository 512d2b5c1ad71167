//! The two layers everything else is made of: a linear map and a normalisation.

use tch::{TchError, Tensor};

use crate::activation::Activation;
use crate::fused::FusedBatch;
use crate::precision::Placement;
use crate::shim::{Epilogue, PackedWeight};

/// `x * weightᵀ + bias`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    /// `[outputs]`.
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Weight {
    /// `[outputs, inputs]`.
    Plain(Tensor),
    /// The same in oneDNN's layout: two to three times faster on processors, with what follows fused in.
    Packed(PackedWeight),
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
    /// A layer from fp32 tensors. Where the processor's library cannot pack the weight, it stays plain.
    pub(crate) fn new(weight: &Tensor, bias: Option<&Tensor>, placement: Placement) -> Result<Self, TchError> {
        let bias = bias.map(|bias| placement.place(bias)).transpose()?;
        let weight = placement.place(weight)?;
        if placement.device != tch::Device::Cpu || placement.differentiable {
            return Ok(Self { weight: Weight::Plain(weight), bias });
        }
        let weight = match PackedWeight::new(&weight) {
            Ok(packed) => Weight::Packed(packed),
            Err(reason) => {
                tracing::warn!(%reason, "weight stays unpacked");
                Weight::Plain(weight)
            }
        };
        Ok(Self { weight, bias })
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Plain(weight) => input.f_linear(weight, self.bias.as_ref()),
            Weight::Packed(weight) => weight.linear(input, self.bias.as_ref(), Epilogue::Nothing),
        }
    }

    /// [`Linear::forward`], then `activation`.
    pub(crate) fn forward_activated(&self, input: &Tensor, activation: Activation) -> Result<Tensor, TchError> {
        let epilogue = match activation {
            Activation::Gelu => Epilogue::Gelu,
            Activation::GeluTanh => Epilogue::GeluTanh,
            Activation::Relu => Epilogue::Relu,
            Activation::Silu | Activation::Sigmoid | Activation::Tanh | Activation::Identity => Epilogue::Nothing,
        };
        match &self.weight {
            Weight::Packed(weight) if epilogue != Epilogue::Nothing => {
                weight.linear(input, self.bias.as_ref(), epilogue)
            }
            Weight::Packed(_) | Weight::Plain(_) => activation.apply(self.forward(input)?),
        }
    }

    /// [`Linear::forward`] plus `residual`, of the output's shape.
    pub(crate) fn forward_added(&self, input: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Plain(weight) => input.f_linear(weight, self.bias.as_ref())?.f_add_(residual),
            Weight::Packed(weight) => weight.linear_add(input, self.bias.as_ref(), residual),
        }
    }
}

impl LayerNorm {
    /// A layer from fp32 tensors of the hidden size.
    pub(crate) fn new(weight: &Tensor, bias: &Tensor, epsilon: f64, placement: Placement) -> Result<Self, TchError> {
        let width = weight.f_view([-1])?.size1()?;
        Ok(Self { weight: placement.place(weight)?, bias: placement.place(bias)?, width, epsilon })
    }

    /// [`LayerNorm::forward`] of `product + residual`, in a kernel of our own.
    pub(crate) fn forward_sum(
        &self,
        product: &Tensor,
        residual: &Tensor,
        fused: &FusedBatch,
    ) -> Result<Tensor, TchError> {
        fused.add_norm(product, residual, (&self.weight, &self.bias), self.epsilon)
    }

    /// Same shape as `input`.
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_layer_norm([self.width], Some(&self.weight), Some(&self.bias), self.epsilon, true)
    }
}
