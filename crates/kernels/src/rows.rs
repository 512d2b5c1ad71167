//! What is done to whole rows between products: normalisation, and numbers to bytes.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use crate::buffer::Buffer;
use crate::isa::{Avx512Bf16, Isa, Kernel, LANES, first_lanes};
use crate::product::RowScale;
use crate::vector::Number;

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
    /// Rows hold `width` numbers; the processor has the instructions.
    pub(crate) unsafe fn row<I: Isa, N: Number<I>>(&self, from: *const f32, to: *mut f32, copy: *mut N) {
        // SAFETY: the caller's promise.
        unsafe { I::perform(NormOfRow { norm: self, from, to, copy, isa: PhantomData::<I> }) }
    }
}

struct NormOfRow<'a, N, I> {
    norm: &'a Norm,
    from: *const f32,
    to: *mut f32,
    copy: *mut N,
    isa: PhantomData<I>,
}

impl<I: Isa, N: Number<I>> Kernel for NormOfRow<'_, N, I> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let Self { norm, from, to, copy, .. } = self;
        // SAFETY: the caller's promise; no number beyond the width is touched.
        unsafe {
            let width = norm.width as f32;
            let mut sums = I::zero();
            for at in (0..norm.width).step_by(LANES) {
                sums = I::add(sums, I::load_first(norm.width - at, from.add(at)));
            }
            let mean = I::all(I::sum(sums) / width);
            let mut squares = I::zero();
            for at in (0..norm.width).step_by(LANES) {
                let count = norm.width - at;
                let difference = I::sub(I::load_first(count, from.add(at)), mean);
                let difference = I::keep_first(count, difference, I::zero());
                squares = I::fma(difference, difference, squares);
            }
            let variance = I::sum(squares) / width;
            let scale = I::all(1.0 / (variance + norm.epsilon).sqrt());
            for at in (0..norm.width).step_by(LANES) {
                let count = norm.width - at;
                let (weight, bias) = (I::load(norm.weight.pointer().add(at)), I::load(norm.bias.pointer().add(at)));
                let centred = I::mul(I::sub(I::load_first(count, from.add(at)), mean), scale);
                let normal = I::fma(centred, weight, bias);
                I::store_first(count, to.add(at), normal);
                N::store_first(count, copy.add(at), normal);
            }
        }
    }
}

/// Writes `width` numbers as bytes over their own range, 0 among them, and says how to read them.
///
/// # Safety
/// `from` and `to` hold `width` numbers, `from` is readable to the end of its last register; the processor has the
/// instructions.
pub(crate) unsafe fn to_bytes<N: Number<Avx512Bf16>>(from: *const N, width: usize, to: *mut u8) -> RowScale {
    // SAFETY: the caller's promise.
    unsafe { Avx512Bf16::perform(ToBytes { from, width, to }) }
}

struct ToBytes<N> {
    from: *const N,
    width: usize,
    to: *mut u8,
}

impl<N: Number<Avx512Bf16>> Kernel for ToBytes<N> {
    type Output = RowScale;

    #[inline(always)]
    unsafe fn run(self) -> RowScale {
        let Self { from, width, to } = self;
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
}
