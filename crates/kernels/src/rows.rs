//! What is done to whole rows between products: normalisation, and numbers to bytes.

use std::arch::x86_64::*;

use crate::buffer::Buffer;
use crate::product::RowScale;
use crate::vector::{LANES, Number, first_lanes};

/// Weight and bias of a normalisation over `width` numbers.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Buffer<f32>,
    bias: Buffer<f32>,
    width: usize,
    epsilon: f32,
}

impl Norm {
    /// A normalisation from `[width]` numbers each.
    pub(crate) fn new(weight: &[f32], bias: &[f32], epsilon: f32) -> Self {
        Self { weight: Buffer::from_slice(weight), bias: Buffer::from_slice(bias), width: weight.len(), epsilon }
    }

    /// Normalises the row at `from` to `to`, which may be the same, and a copy in `N` to `copy`.
    ///
    /// # Safety
    /// Rows hold `width` numbers, and registers' worth may be read and written up to the row's padded end; the
    /// processor is a supported one.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma")]
    pub(crate) unsafe fn row<N: Number>(&self, from: *const f32, to: *mut f32, copy: *mut N) {
        // SAFETY: the caller's promise; loads beyond `width` are masked.
        unsafe {
            let width = self.width as f32;
            let part = |at: usize| _mm512_maskz_loadu_ps(first_lanes(self.width - at), from.add(at));
            let mut sums = _mm512_setzero_ps();
            for at in (0..self.width).step_by(LANES) {
                sums = _mm512_add_ps(sums, part(at));
            }
            let mean = _mm512_set1_ps(_mm512_reduce_add_ps(sums) / width);
            let mut squares = _mm512_setzero_ps();
            for at in (0..self.width).step_by(LANES) {
                let difference = _mm512_maskz_sub_ps(first_lanes(self.width - at), part(at), mean);
                squares = _mm512_fmadd_ps(difference, difference, squares);
            }
            let variance = _mm512_reduce_add_ps(squares) / width;
            let scale = _mm512_set1_ps(1.0 / (variance + self.epsilon).sqrt());
            for at in (0..self.width).step_by(LANES) {
                let mask = first_lanes(self.width - at);
                let weight = _mm512_loadu_ps(self.weight.pointer().add(at));
                let bias = _mm512_loadu_ps(self.bias.pointer().add(at));
                let centred = _mm512_mul_ps(_mm512_sub_ps(part(at), mean), scale);
                let normal = _mm512_maskz_fmadd_ps(mask, centred, weight, bias);
                _mm512_mask_storeu_ps(to.add(at), mask, normal);
                N::store_masked(copy.add(at), mask, normal);
            }
        }
    }
}

/// Writes `width` numbers as bytes over their own range, 0 among them, and says how to read them.
///
/// # Safety
/// `from` and `to` hold `width` numbers, `from` is readable to the end of its last register; the processor is a
/// supported one.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma")]
pub(crate) unsafe fn to_bytes<N: Number>(from: *const N, width: usize, to: *mut u8) -> RowScale {
    // SAFETY: the caller's promise; lanes beyond `width` are masked out.
    unsafe {
        let part = |at: usize| _mm512_maskz_mov_ps(first_lanes(width - at), N::load(from.add(at)));
        let (mut least, mut most) = (_mm512_setzero_ps(), _mm512_setzero_ps());
        for at in (0..width).step_by(LANES) {
            let numbers = part(at);
            least = _mm512_min_ps(least, numbers);
            most = _mm512_max_ps(most, numbers);
        }
        let (least, most) = (_mm512_reduce_min_ps(least), _mm512_reduce_max_ps(most));
        let scale = if most > least { (most - least) / 255.0 } else { 1.0 };
        let zero = (-least / scale).round();
        let (factor, offset) = (_mm512_set1_ps(1.0 / scale), _mm512_set1_ps(zero));
        for at in (0..width).step_by(LANES) {
            let level = _mm512_fmadd_ps(part(at), factor, offset);
            let level = _mm512_max_epi32(_mm512_cvtps_epi32(level), _mm512_setzero_si512());
            _mm_mask_storeu_epi8(to.add(at).cast(), first_lanes(width - at), _mm512_cvtusepi32_epi8(level));
        }
        RowScale { scale, zero }
    }
}
