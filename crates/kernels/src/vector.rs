//! Numbers as they are stored, and the functions between products.

use std::arch::x86_64::*;

use crate::isa::{Avx512Bf16, Isa, first_lanes};

/// A number as activations are stored, for kernels on `I`.
pub(crate) trait Number<I: Isa>: Copy + Default + Send + Sync + 'static {
    /// Sixteen numbers from `from`, widened.
    unsafe fn load(from: *const Self) -> I::Lanes;
    /// Sixteen lanes to `to`, rounded to nearest even.
    unsafe fn store(to: *mut Self, lanes: I::Lanes);
    /// The first `count` lanes to `to`.
    unsafe fn store_first(count: usize, to: *mut Self, lanes: I::Lanes);
}

/// The upper half of an fp32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Bf16(pub(crate) u16);

impl<I: Isa> Number<I> for f32 {
    #[inline(always)]
    unsafe fn load(from: *const Self) -> I::Lanes {
        // SAFETY: the caller vouches for sixteen readable numbers.
        unsafe { I::load(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut Self, lanes: I::Lanes) {
        // SAFETY: the caller vouches for sixteen writable numbers.
        unsafe { I::store(to, lanes) }
    }

    #[inline(always)]
    unsafe fn store_first(count: usize, to: *mut Self, lanes: I::Lanes) {
        // SAFETY: the caller vouches for `count` writable numbers.
        unsafe { I::store_first(count, to, lanes) }
    }
}

impl Number<Avx512Bf16> for Bf16 {
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
    unsafe fn store_first(count: usize, to: *mut Self, lanes: __m512) {
        // SAFETY: the caller vouches for `count` writable numbers; the types as in `store`.
        unsafe {
            let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(lanes));
            _mm256_mask_storeu_epi16(to.cast(), first_lanes(count), halves);
        }
    }
}

impl Bf16 {
    /// To nearest, ties to even. Weights are finite, which loading has checked.
    pub(crate) fn from_f32(number: f32) -> Self {
        let bits = number.to_bits();
        Self(((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u16)
    }

    pub(crate) fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// e to the power of each lane, within about one unit in the last place. Cephes' `expf`: powers of two apart, the rest
/// is a polynomial.
#[inline(always)]
pub(crate) unsafe fn exp<I: Isa>(x: I::Lanes) -> I::Lanes {
    // SAFETY: arithmetic on registers.
    unsafe {
        let x = I::max(I::min(x, I::all(88.3)), I::all(-103.0));
        let powers = I::round(I::mul(x, I::all(std::f32::consts::LOG2_E)));
        let rest = I::fnma(powers, I::all(0.693_359_4), x);
        let rest = I::fnma(powers, I::all(-2.121_944_4e-4), rest);
        let mut p = I::all(1.987_569_1e-4);
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = I::fma(p, rest, I::all(coefficient));
        }
        let p = I::fma(p, I::mul(rest, rest), I::add(rest, I::all(1.0)));
        I::scale(p, powers)
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
    pub(crate) unsafe fn apply<I: Isa>(self, x: I::Lanes) -> I::Lanes {
        // SAFETY: arithmetic on registers.
        unsafe {
            match self {
                Self::Gelu => gelu::<I>(x),
                Self::GeluTanh => {
                    let cube = I::mul(I::mul(x, x), x);
                    let inner = I::fma(cube, I::all(0.044_715), x);
                    // (1 + tanh(z)) / 2 = sigmoid(2z)
                    I::mul(x, sigmoid::<I>(I::mul(inner, I::all(2.0 * 0.797_884_6))))
                }
                Self::Relu => I::max(x, I::zero()),
                Self::Silu => I::mul(x, sigmoid::<I>(x)),
                Self::Sigmoid => sigmoid::<I>(x),
                Self::Tanh => I::fma(sigmoid::<I>(I::add(x, x)), I::all(2.0), I::all(-1.0)),
                Self::Identity => x,
            }
        }
    }
}

/// `x * Φ(x)` with the tail of the normal distribution after Abramowitz and Stegun 7.1.26: within 1.5e-7 of `|x|`.
#[inline(always)]
unsafe fn gelu<I: Isa>(x: I::Lanes) -> I::Lanes {
    // SAFETY: arithmetic on registers.
    unsafe {
        let size = I::abs(x);
        let t = I::reciprocal(I::fma(size, I::all(0.327_591_1 * 0.707_106_77), I::all(1.0)));
        let mut p = I::all(0.5 * 1.061_405_4);
        for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            p = I::fma(p, t, I::all(0.5 * coefficient));
        }
        let decay = exp::<I>(I::mul(I::mul(x, x), I::all(-0.5)));
        let tail = I::mul(I::mul(p, t), decay);
        I::fnma(size, tail, I::max(x, I::zero()))
    }
}

#[inline(always)]
unsafe fn sigmoid<I: Isa>(x: I::Lanes) -> I::Lanes {
    // SAFETY: arithmetic on registers.
    unsafe {
        let one = I::all(1.0);
        I::div(one, I::add(one, exp::<I>(I::sub(I::zero(), x))))
    }
}
