//! Sixteen fp32 lanes: loads and stores of the stored number types, and the functions between products.
//!
//! Everything here is inlined into functions that carry the target features; [`crate::check`] has been asked before
//! any of them runs.

use std::arch::x86_64::*;

/// Lanes of a register.
pub(crate) const LANES: usize = 16;

/// A number as activations are stored.
pub(crate) trait Number: Copy + Default + Send + Sync + 'static {
    /// Sixteen numbers from `from`, widened.
    unsafe fn load(from: *const Self) -> __m512;
    /// Sixteen lanes to `to`, rounded to nearest even.
    unsafe fn store(to: *mut Self, lanes: __m512);
    /// The lanes that `mask` names to `to`.
    unsafe fn store_masked(to: *mut Self, mask: __mmask16, lanes: __m512);
    /// One number.
    fn from_f32(number: f32) -> Self;
}

/// The upper half of an fp32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Bf16(pub(crate) u16);

impl Number for f32 {
    #[inline(always)]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller vouches for sixteen readable numbers.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut Self, lanes: __m512) {
        // SAFETY: the caller vouches for sixteen writable numbers.
        unsafe { _mm512_storeu_ps(to, lanes) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut Self, mask: __mmask16, lanes: __m512) {
        // SAFETY: the caller vouches for the numbers that the mask names.
        unsafe { _mm512_mask_storeu_ps(to, mask, lanes) }
    }

    fn from_f32(number: f32) -> Self {
        number
    }
}

impl Number for Bf16 {
    #[inline(always)]
    unsafe fn load(from: *const Self) -> __m512 {
        // SAFETY: the caller vouches for sixteen readable numbers.
        unsafe {
            let halves = _mm256_loadu_si256(from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }

    #[inline(always)]
    unsafe fn store(to: *mut Self, lanes: __m512) {
        // SAFETY: the caller vouches for sixteen writable numbers; both types are 32 bytes without invalid values.
        unsafe { _mm256_storeu_si256(to.cast(), std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(lanes))) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut Self, mask: __mmask16, lanes: __m512) {
        // SAFETY: the caller vouches for the numbers that the mask names; the types as in `store`.
        unsafe {
            let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(lanes));
            _mm256_mask_storeu_epi16(to.cast(), mask, halves);
        }
    }

    fn from_f32(number: f32) -> Self {
        let bits = number.to_bits();
        // To nearest, ties to even. Weights are finite, which loading has checked.
        Self(((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u16)
    }
}

impl Bf16 {
    pub(crate) fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// The first `count` lanes, all of them from 16 on.
#[inline(always)]
pub(crate) fn first_lanes(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

/// e to the power of each lane, within about one unit in the last place. Cephes' `expf`: powers of two apart, the rest
/// is a polynomial.
#[inline(always)]
pub(crate) unsafe fn exp(x: __m512) -> __m512 {
    // SAFETY: arithmetic on registers.
    unsafe {
        let x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(88.3)), _mm512_set1_ps(-103.0));
        let powers = _mm512_roundscale_ps::<8>(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E)));
        let rest = _mm512_fnmadd_ps(powers, _mm512_set1_ps(0.693_359_4), x);
        let rest = _mm512_fnmadd_ps(powers, _mm512_set1_ps(-2.121_944_4e-4), rest);
        let mut p = _mm512_set1_ps(1.987_569_1e-4);
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(coefficient));
        }
        let p = _mm512_fmadd_ps(p, _mm512_mul_ps(rest, rest), _mm512_add_ps(rest, _mm512_set1_ps(1.0)));
        _mm512_scalef_ps(p, powers)
    }
}

/// What stands between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The error-function form.
    Gelu,
    /// The tanh approximation.
    GeluTanh,
    /// The positive part.
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// Nothing.
    Identity,
}

impl Activation {
    /// The function of each lane.
    #[inline(always)]
    pub(crate) unsafe fn apply(self, x: __m512) -> __m512 {
        // SAFETY: arithmetic on registers.
        unsafe {
            match self {
                Self::Gelu => gelu(x),
                Self::GeluTanh => {
                    let cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
                    let inner = _mm512_fmadd_ps(cube, _mm512_set1_ps(0.044_715), x);
                    // (1 + tanh(z)) / 2 = sigmoid(2z)
                    _mm512_mul_ps(x, sigmoid(_mm512_mul_ps(inner, _mm512_set1_ps(2.0 * 0.797_884_6))))
                }
                Self::Relu => _mm512_max_ps(x, _mm512_setzero_ps()),
                Self::Silu => _mm512_mul_ps(x, sigmoid(x)),
                Self::Sigmoid => sigmoid(x),
                Self::Tanh => {
                    let twice = sigmoid(_mm512_add_ps(x, x));
                    _mm512_fmsub_ps(twice, _mm512_set1_ps(2.0), _mm512_set1_ps(1.0))
                }
                Self::Identity => x,
            }
        }
    }
}

/// `x * Φ(x)` with the tail of the normal distribution after Abramowitz and Stegun 7.1.26: within 1.5e-7 of `|x|`.
#[inline(always)]
unsafe fn gelu(x: __m512) -> __m512 {
    // SAFETY: arithmetic on registers.
    unsafe {
        let size = _mm512_abs_ps(x);
        let t = reciprocal(_mm512_fmadd_ps(size, _mm512_set1_ps(0.327_591_1 * 0.707_106_77), _mm512_set1_ps(1.0)));
        let mut p = _mm512_set1_ps(0.5 * 1.061_405_4);
        for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5 * coefficient));
        }
        let decay = exp(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-0.5)));
        let tail = _mm512_mul_ps(_mm512_mul_ps(p, t), decay);
        _mm512_fnmadd_ps(size, tail, _mm512_max_ps(x, _mm512_setzero_ps()))
    }
}

#[inline(always)]
unsafe fn sigmoid(x: __m512) -> __m512 {
    // SAFETY: arithmetic on registers.
    unsafe {
        let one = _mm512_set1_ps(1.0);
        _mm512_div_ps(one, _mm512_add_ps(one, exp(_mm512_sub_ps(_mm512_setzero_ps(), x))))
    }
}

/// An estimate of 14 bits and one step of Newton's method.
#[inline(always)]
unsafe fn reciprocal(x: __m512) -> __m512 {
    // SAFETY: arithmetic on registers.
    unsafe {
        let estimate = _mm512_rcp14_ps(x);
        _mm512_mul_ps(estimate, _mm512_fnmadd_ps(x, estimate, _mm512_set1_ps(2.0)))
    }
}
