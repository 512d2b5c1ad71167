//! The activation functions a checkpoint may name.

use tch::{TchError, Tensor};

/// An elementwise function between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// The error-function form: what every published DeBERTa uses.
    Gelu,
    /// The tanh approximation, about 1e-3 away from [`Activation::Gelu`].
    GeluTanh,
    Relu,
    Silu,
    Sigmoid,
    Tanh,
    Identity,
}

impl Activation {
    /// The function of that name in `config.json`, if it is one of ours.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "gelu" | "gelu_python" => Some(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => Some(Self::GeluTanh),
            "relu" => Some(Self::Relu),
            "silu" | "swish" => Some(Self::Silu),
            "sigmoid" => Some(Self::Sigmoid),
            "tanh" => Some(Self::Tanh),
            "linear" => Some(Self::Identity),
            _ => None,
        }
    }

    /// Applies the function; may overwrite `input`, which the caller gives up.
    pub(crate) fn apply(self, mut input: Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Gelu => input.f_gelu_("none"),
            Self::GeluTanh => input.f_gelu_("tanh"),
            Self::Relu => input.f_relu_(),
            Self::Silu => input.f_silu_(),
            Self::Sigmoid => input.f_sigmoid_(),
            Self::Tanh => input.f_tanh_(),
            Self::Identity => Ok(input),
        }
    }
}
