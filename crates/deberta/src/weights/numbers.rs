//! Stored numbers, widened to fp32.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;

/// The element types that encoders are stored in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stored {
    Single,
    Half,
    Brain,
}

impl Stored {
    pub(super) fn of(dtype: Dtype) -> Option<Self> {
        [(Dtype::F32, Self::Single), (Dtype::F16, Self::Half), (Dtype::BF16, Self::Brain)]
            .into_iter()
            .find_map(|(known, stored)| (known == dtype).then_some(stored))
    }

    /// Replaces `numbers` by those in `bytes`, little-endian.
    pub(super) fn widen(self, bytes: &[u8], numbers: &mut Vec<f32>) {
        numbers.clear();
        let (halves, _) = bytes.as_chunks::<2>();
        match self {
            Self::Single => numbers.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            Self::Half => {
                let halves: Vec<f16> = halves.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect();
                numbers.resize(halves.len(), 0.0);
                halves.convert_to_f32_slice(numbers);
            }
            Self::Brain => {
                numbers.extend(halves.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()));
            }
        }
    }
}

/// Whether no number is NaN or infinite.
pub(super) fn all_finite(numbers: &[f32]) -> bool {
    numbers.iter().all(|number| number.is_finite())
}
