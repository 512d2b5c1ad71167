//! AVX2 with fused products: two registers hold the sixteen lanes.

use std::arch::x86_64::*;

use super::{Isa, Kernel, LANES};

/// For fp32 on processors without AVX-512.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2;

/// The first eight lanes, and the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair(__m256, __m256);

const HALF: usize = LANES / 2;

/// Sixteen lanes of ones and sixteen of zeros: from `LANES - count` on they choose the first `count`.
static CHOICES: [i32; 2 * LANES] = {
    let mut choices = [0; 2 * LANES];
    let mut lane = 0;
    while lane < LANES {
        choices[lane] = -1;
        lane += 1;
    }
    choices
};

#[inline(always)]
unsafe fn first_lanes(count: usize) -> (__m256i, __m256i) {
    // SAFETY: sixteen choices lie from the start on.
    unsafe {
        let start = CHOICES.as_ptr().add(LANES - count.min(LANES));
        (_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(HALF).cast()))
    }
}

/// Two to the power of whole numbers within -126 and 127.
#[inline(always)]
unsafe fn power_of_two(powers: __m256i) -> __m256 {
    // SAFETY: arithmetic on registers.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(powers, _mm256_set1_epi32(127)))) }
}

/// In two steps, because the smallest numbers have no power of two of their own.
#[inline(always)]
unsafe fn scaled(x: __m256, powers: __m256) -> __m256 {
    // SAFETY: arithmetic on registers.
    unsafe {
        let powers = _mm256_cvtps_epi32(powers);
        let half = _mm256_srai_epi32::<1>(powers);
        let once = _mm256_mul_ps(x, power_of_two(half));
        _mm256_mul_ps(once, power_of_two(_mm256_sub_epi32(powers, half)))
    }
}

/// The lanes of both halves and of both quarters, joined by `join`.
macro_rules! joined {
    ($pair:expr, $both:ident, $four:ident, $one:ident) => {{
        let halves = $both($pair.0, $pair.1);
        let quarters = $four(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
        let twos = $four(quarters, _mm_movehl_ps(quarters, quarters));
        _mm_cvtss_f32($one(twos, _mm_shuffle_ps::<1>(twos, twos)))
    }};
}

macro_rules! operations {
    ($($name:ident($($lanes:ident),+) => $instruction:ident;)+) => { $(
        #[inline(always)]
        unsafe fn $name($($lanes: Pair),+) -> Pair {
            // SAFETY: arithmetic on registers.
            unsafe { Pair($instruction($($lanes.0),+), $instruction($($lanes.1),+)) }
        }
    )+ };
}

#[inline(always)]
unsafe fn absolute(x: __m256) -> __m256 {
    // SAFETY: arithmetic on registers.
    unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), x) }
}

#[inline(always)]
unsafe fn rounded(x: __m256) -> __m256 {
    // SAFETY: arithmetic on registers.
    unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
}

#[inline(always)]
unsafe fn inverted(x: __m256) -> __m256 {
    // SAFETY: arithmetic on registers.
    unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), x) }
}

impl Isa for Avx2 {
    type Lanes = Pair;
    // Six rows of one block take twelve registers of sixteen.
    const BLOCKS: usize = 1;

    #[target_feature(enable = "avx2,fma")]
    unsafe fn perform<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller's promise.
        unsafe { kernel.run() }
    }

    #[inline(always)]
    unsafe fn zero() -> Pair {
        // SAFETY: arithmetic on registers.
        unsafe { Pair(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn all(number: f32) -> Pair {
        // SAFETY: arithmetic on registers.
        unsafe { Pair(_mm256_set1_ps(number), _mm256_set1_ps(number)) }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const u8) -> Pair {
        // SAFETY: the caller vouches for four bytes.
        unsafe {
            let four = _mm256_castsi256_ps(_mm256_set1_epi32(from.cast::<i32>().read_unaligned()));
            Pair(four, four)
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Pair {
        // SAFETY: the caller vouches for sixteen numbers.
        unsafe { Pair(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(HALF))) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, lanes: Pair) {
        // SAFETY: the caller vouches for room for sixteen numbers.
        unsafe {
            _mm256_storeu_ps(to, lanes.0);
            _mm256_storeu_ps(to.add(HALF), lanes.1);
        }
    }

    #[inline(always)]
    unsafe fn load_first(count: usize, from: *const f32) -> Pair {
        // SAFETY: the caller vouches for `count` numbers; what is not chosen is not touched.
        unsafe {
            let (low, high) = first_lanes(count);
            Pair(_mm256_maskload_ps(from, low), _mm256_maskload_ps(from.wrapping_add(HALF), high))
        }
    }

    #[inline(always)]
    unsafe fn store_first(count: usize, to: *mut f32, lanes: Pair) {
        // SAFETY: the caller vouches for room for `count` numbers; what is not chosen is not touched.
        unsafe {
            let (low, high) = first_lanes(count);
            _mm256_maskstore_ps(to, low, lanes.0);
            _mm256_maskstore_ps(to.wrapping_add(HALF), high, lanes.1);
        }
    }

    #[inline(always)]
    unsafe fn keep_first(count: usize, lanes: Pair, rest: Pair) -> Pair {
        // SAFETY: arithmetic on registers.
        unsafe {
            let (low, high) = first_lanes(count);
            Pair(
                _mm256_blendv_ps(rest.0, lanes.0, _mm256_castsi256_ps(low)),
                _mm256_blendv_ps(rest.1, lanes.1, _mm256_castsi256_ps(high)),
            )
        }
    }

    #[inline(always)]
    unsafe fn pick(from: *const f32, places: *const u8) -> Pair {
        // SAFETY: the caller vouches for sixteen numbers, and for as many places below sixteen or none.
        unsafe {
            if places.is_null() {
                return Self::load(from);
            }
            let low = _mm_loadu_si128(places.cast());
            let high = _mm_srli_si128::<8>(low);
            Pair(
                _mm256_i32gather_ps::<4>(from, _mm256_cvtepu8_epi32(low)),
                _mm256_i32gather_ps::<4>(from, _mm256_cvtepu8_epi32(high)),
            )
        }
    }

    operations! {
        add(a, b) => _mm256_add_ps;
        sub(a, b) => _mm256_sub_ps;
        mul(a, b) => _mm256_mul_ps;
        div(a, b) => _mm256_div_ps;
        min(a, b) => _mm256_min_ps;
        max(a, b) => _mm256_max_ps;
        abs(x) => absolute;
        fma(a, b, c) => _mm256_fmadd_ps;
        fnma(a, b, c) => _mm256_fnmadd_ps;
        round(x) => rounded;
        scale(x, powers) => scaled;
        reciprocal(x) => inverted;
    }

    #[inline(always)]
    unsafe fn sum(lanes: Pair) -> f32 {
        // SAFETY: arithmetic on registers.
        unsafe { joined!(lanes, _mm256_add_ps, _mm_add_ps, _mm_add_ss) }
    }

    #[inline(always)]
    unsafe fn largest(lanes: Pair) -> f32 {
        // SAFETY: arithmetic on registers.
        unsafe { joined!(lanes, _mm256_max_ps, _mm_max_ps, _mm_max_ss) }
    }

    /// Four squares of eight by eight.
    #[inline(always)]
    unsafe fn transpose(rows: [Pair; LANES]) -> [Pair; LANES] {
        // SAFETY: arithmetic on registers.
        unsafe {
            let mut turned = rows;
            for first in [0, HALF] {
                let (mut left, mut right) = ([_mm256_setzero_ps(); HALF], [_mm256_setzero_ps(); HALF]);
                for row in 0..HALF {
                    (left[row], right[row]) = (rows[first + row].0, rows[first + row].1);
                }
                let (left, right) = (transpose_eight(left), transpose_eight(right));
                for row in 0..HALF {
                    if first == 0 {
                        (turned[row].0, turned[HALF + row].0) = (left[row], right[row]);
                    } else {
                        (turned[row].1, turned[HALF + row].1) = (left[row], right[row]);
                    }
                }
            }
            turned
        }
    }
}

#[inline(always)]
unsafe fn transpose_eight(rows: [__m256; HALF]) -> [__m256; HALF] {
    // SAFETY: arithmetic on registers.
    unsafe {
        let mut pairs = rows;
        for pair in 0..HALF / 2 {
            let (upper, lower) = (rows[2 * pair], rows[2 * pair + 1]);
            pairs[2 * pair] = _mm256_unpacklo_ps(upper, lower);
            pairs[2 * pair + 1] = _mm256_unpackhi_ps(upper, lower);
        }
        // Row `4q + c`: in each half of the register, column `c` of that half, of rows `4q` to `4q + 3`.
        let mut quads = pairs;
        for quad in 0..2 {
            let at = 4 * quad;
            quads[at] = _mm256_shuffle_ps::<0x44>(pairs[at], pairs[at + 2]);
            quads[at + 1] = _mm256_shuffle_ps::<0xEE>(pairs[at], pairs[at + 2]);
            quads[at + 2] = _mm256_shuffle_ps::<0x44>(pairs[at + 1], pairs[at + 3]);
            quads[at + 3] = _mm256_shuffle_ps::<0xEE>(pairs[at + 1], pairs[at + 3]);
        }
        let mut turned = quads;
        for column in 0..4 {
            turned[column] = _mm256_permute2f128_ps::<0x20>(quads[column], quads[column + 4]);
            turned[column + 4] = _mm256_permute2f128_ps::<0x31>(quads[column], quads[column + 4]);
        }
        turned
    }
}
