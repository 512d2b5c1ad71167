//! AVX-512: a register holds all sixteen lanes.

use std::arch::x86_64::*;

use super::{Isa, Kernel, LANES};

/// The foundation with byte, word, double word and short-vector instructions; and, where `BF16`, products of bf16 and of
/// int8 as well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wide<const BF16: bool>;

/// For fp32.
pub(crate) type Avx512 = Wide<false>;
/// For bf16 and int8.
pub(crate) type Avx512Bf16 = Wide<true>;

/// The first `count` lanes, all of them from 16 on.
#[inline(always)]
pub(crate) fn first_lanes(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
unsafe fn perform_plain<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { kernel.run() }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma")]
unsafe fn perform_bf16<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { kernel.run() }
}

macro_rules! operations {
    ($($name:ident($($lanes:ident),+) => $result:expr;)+) => { $(
        #[inline(always)]
        unsafe fn $name($($lanes: __m512),+) -> __m512 {
            // SAFETY: arithmetic on registers.
            unsafe { $result }
        }
    )+ };
}

impl<const BF16: bool> Isa for Wide<BF16> {
    type Lanes = __m512;
    const BLOCKS: usize = 4;

    #[inline(always)]
    unsafe fn perform<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller's promise.
        unsafe { if BF16 { perform_bf16(kernel) } else { perform_plain(kernel) } }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn all(number: f32) -> __m512 {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_set1_ps(number) }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const u8) -> __m512 {
        // SAFETY: the caller vouches for four bytes.
        unsafe { _mm512_castsi512_ps(_mm512_set1_epi32(from.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for sixteen numbers.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, lanes: __m512) {
        // SAFETY: the caller vouches for room for sixteen numbers.
        unsafe { _mm512_storeu_ps(to, lanes) }
    }

    #[inline(always)]
    unsafe fn load_first(count: usize, from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for `count` numbers.
        unsafe { _mm512_maskz_loadu_ps(first_lanes(count), from) }
    }

    #[inline(always)]
    unsafe fn store_first(count: usize, to: *mut f32, lanes: __m512) {
        // SAFETY: the caller vouches for room for `count` numbers.
        unsafe { _mm512_mask_storeu_ps(to, first_lanes(count), lanes) }
    }

    #[inline(always)]
    unsafe fn keep_first(count: usize, lanes: __m512, rest: __m512) -> __m512 {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_mask_mov_ps(rest, first_lanes(count), lanes) }
    }

    #[inline(always)]
    unsafe fn pick(from: *const f32, places: *const u8) -> __m512 {
        // SAFETY: the caller vouches for sixteen numbers, and for as many places below sixteen or none.
        unsafe {
            let numbers = _mm512_loadu_ps(from);
            if places.is_null() {
                return numbers;
            }
            _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(places.cast())), numbers)
        }
    }

    operations! {
        add(a, b) => _mm512_add_ps(a, b);
        sub(a, b) => _mm512_sub_ps(a, b);
        mul(a, b) => _mm512_mul_ps(a, b);
        div(a, b) => _mm512_div_ps(a, b);
        min(a, b) => _mm512_min_ps(a, b);
        max(a, b) => _mm512_max_ps(a, b);
        abs(x) => _mm512_abs_ps(x);
        fma(a, b, c) => _mm512_fmadd_ps(a, b, c);
        fnma(a, b, c) => _mm512_fnmadd_ps(a, b, c);
        round(x) => _mm512_roundscale_ps::<8>(x);
        scale(x, powers) => _mm512_scalef_ps(x, powers);
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

    #[inline(always)]
    unsafe fn sum(lanes: __m512) -> f32 {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_reduce_add_ps(lanes) }
    }

    #[inline(always)]
    unsafe fn largest(lanes: __m512) -> f32 {
        // SAFETY: arithmetic on registers.
        unsafe { _mm512_reduce_max_ps(lanes) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: [__m512; LANES]) -> [__m512; LANES] {
        // SAFETY: arithmetic on registers.
        unsafe {
            let mut pairs = rows;
            for pair in 0..LANES / 2 {
                let (upper, lower) = (rows[2 * pair], rows[2 * pair + 1]);
                pairs[2 * pair] = _mm512_unpacklo_ps(upper, lower);
                pairs[2 * pair + 1] = _mm512_unpackhi_ps(upper, lower);
            }
            // Row `4q + c`: in each quarter of the register, column `c` of that quarter, of rows `4q` to `4q + 3`.
            let mut quads = pairs;
            for quad in 0..LANES / 4 {
                let at = 4 * quad;
                quads[at] = _mm512_shuffle_ps::<0x44>(pairs[at], pairs[at + 2]);
                quads[at + 1] = _mm512_shuffle_ps::<0xEE>(pairs[at], pairs[at + 2]);
                quads[at + 2] = _mm512_shuffle_ps::<0x44>(pairs[at + 1], pairs[at + 3]);
                quads[at + 3] = _mm512_shuffle_ps::<0xEE>(pairs[at + 1], pairs[at + 3]);
            }
            let mut turned = quads;
            for column in 0..4 {
                let even_upper = _mm512_shuffle_f32x4::<0x88>(quads[column], quads[column + 4]);
                let odd_upper = _mm512_shuffle_f32x4::<0xDD>(quads[column], quads[column + 4]);
                let even_lower = _mm512_shuffle_f32x4::<0x88>(quads[column + 8], quads[column + 12]);
                let odd_lower = _mm512_shuffle_f32x4::<0xDD>(quads[column + 8], quads[column + 12]);
                turned[column] = _mm512_shuffle_f32x4::<0x88>(even_upper, even_lower);
                turned[column + 4] = _mm512_shuffle_f32x4::<0x88>(odd_upper, odd_lower);
                turned[column + 8] = _mm512_shuffle_f32x4::<0xDD>(even_upper, even_lower);
                turned[column + 12] = _mm512_shuffle_f32x4::<0xDD>(odd_upper, odd_lower);
            }
            turned
        }
    }
}
