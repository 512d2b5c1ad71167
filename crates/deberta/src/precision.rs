//! The element type of the encoder's products, and putting weights into it.

use std::fmt;
use std::str::FromStr;

use tch::{Kind, TchError, Tensor};

use crate::device::Device;
use crate::error::LoadError;
use crate::shim;

/// Element type of weights and activations. Embedding sums, pooler and heads stay in fp32 in every mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Equal to the reference within 1e-4 on the logits.
    #[default]
    Fp32,
    /// Faster where the device multiplies bf16 natively; logits move by about 1e-2.
    Bf16,
    /// For GPUs only: processors have no arithmetic for it.
    Fp16,
    /// For processors only: int8 linear layers around bf16 attention.
    Int8,
}

/// Device and element type that the model's weights are put into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement {
    pub(crate) device: tch::Device,
    pub(crate) kind: Kind,
    /// Whether gradients shall flow through what is placed: it then lies as libtorch knows it.
    pub(crate) differentiable: bool,
    /// Whether a GPU may run kernels of our own.
    pub(crate) is_fused: bool,
}

impl Placement {
    pub(crate) fn new(device: Device, precision: Precision) -> Result<Self, LoadError> {
        let kind = match (precision, device) {
            (Precision::Fp32, _) => Kind::Float,
            (Precision::Bf16, _) => Kind::BFloat16,
            (Precision::Fp16, Device::Cuda(_)) => Kind::Half,
            (Precision::Fp16, Device::Cpu) => {
                let reason = "processors do not compute in it; use fp32 or bf16".to_owned();
                return Err(LoadError::Unavailable { wanted: "fp16 on cpu".to_owned(), reason });
            }
            (Precision::Int8, _) => {
                let reason = "libtorch's path has no int8; use another element type".to_owned();
                return Err(LoadError::Unavailable { wanted: format!("int8 on {device}"), reason });
            }
        };
        Ok(Self { device: device.open()?, kind, differentiable: false, is_fused: true })
    }

    /// A copy of `numbers` on the device.
    pub(crate) fn copy_of<T: tch::kind::Element>(self, numbers: &[T]) -> Result<Tensor, TchError> {
        if self.device == tch::Device::Cpu {
            return Tensor::f_from_slice(numbers);
        }
        let copy = Tensor::f_empty([numbers.len() as i64], (T::KIND, self.device))?;
        match shim::overwrite(&copy, numbers) {
            Ok(()) => Ok(copy),
            // A build without CUDA's headers copies as libtorch does, and waits.
            Err(_) => Tensor::f_from_slice(numbers)?.f_to_device(self.device),
        }
    }

    /// `tensor` on the device, in the mode's element type.
    pub(crate) fn place(self, tensor: &Tensor) -> Result<Tensor, TchError> {
        tensor.f_to_device(self.device)?.f_to_kind(self.kind)?.f_contiguous()
    }

    /// `tensor` on the device, in fp32 whatever the mode.
    pub(crate) fn place_exact(self, tensor: &Tensor) -> Result<Tensor, TchError> {
        tensor.f_to_device(self.device)?.f_to_kind(Kind::Float)?.f_contiguous()
    }
}

impl FromStr for Precision {
    type Err = LoadError;

    fn from_str(name: &str) -> Result<Self, LoadError> {
        match name {
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            "fp16" => Ok(Self::Fp16),
            "int8" => Ok(Self::Int8),
            _ => Err(LoadError::Unavailable {
                wanted: format!("element type {name:?}"),
                reason: "expected fp32, bf16, int8 or fp16".to_owned(),
            }),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_refused_on_a_processor() {
        assert!(matches!(Placement::new(Device::Cpu, Precision::Fp16), Err(LoadError::Unavailable { .. })));
        assert!(Placement::new(Device::Cpu, Precision::Bf16).is_ok());
    }

    #[test]
    fn names_are_read_and_written_alike() {
        for name in ["fp32", "bf16", "fp16", "int8"] {
            assert_eq!(name.parse::<Precision>().unwrap().to_string(), name);
        }
        assert!("float32".parse::<Precision>().is_err());
    }
}
