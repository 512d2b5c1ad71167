//! What the processor can do at most: products of registers, with no memory in the way.

use std::arch::x86_64::*;
#[expect(clippy::disallowed_types, reason = "a measurement of the machine, which no test pauses")]
use std::time::Instant;

use crate::encoder::Precision;
use crate::support::{Unsupported, check};
use crate::tile::{Arithmetic, Brain, Byte, Single, TILE_BLOCKS, TILE_ROWS};
use crate::vector::LANES;

/// Rounds of a measurement: some tens of milliseconds.
const ROUNDS: usize = 4_000_000;
const REPEATS: usize = 5;

/// Operations a second, a product and a sum being two, that `threads` threads reach in products of `precision`: the
/// best of a few measurements.
///
/// # Errors
/// [`Unsupported`] on a processor without the instructions.
pub fn peak(precision: Precision, threads: usize) -> Result<f64, Unsupported> {
    check()?;
    Ok(match precision {
        Precision::Fp32 => measured::<Single>(threads),
        Precision::Bf16 => measured::<Brain>(threads),
        Precision::Int8 => measured::<Byte>(threads),
    })
}

#[expect(clippy::disallowed_types, reason = "a measurement of the machine, which no test pauses")]
fn measured<A: Arithmetic>(threads: usize) -> f64 {
    let operations = 2 * TILE_ROWS * TILE_BLOCKS * LANES * A::PER_STEP * ROUNDS * threads.max(1);
    let rate = || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                // SAFETY: the processor has been asked.
                scope.spawn(|| unsafe { multiply::<A>() });
            }
        });
        operations as f64 / started.elapsed().as_secs_f64()
    };
    (0..REPEATS).map(|_| rate()).fold(0.0, f64::max)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma")]
unsafe fn multiply<A: Arithmetic>() {
    // SAFETY: arithmetic on registers.
    unsafe {
        let value = std::hint::black_box(_mm512_setzero_si512());
        let mut sums = [[A::zero(); TILE_BLOCKS]; TILE_ROWS];
        for _ in 0..ROUNDS {
            for sum in sums.as_flattened_mut() {
                *sum = A::add(*sum, value, value);
            }
        }
        std::hint::black_box(&sums);
    }
}
