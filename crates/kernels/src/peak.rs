//! What the processor can do at most: products of registers, with no memory in the way.

use std::marker::PhantomData;
#[expect(clippy::disallowed_types, reason = "a measurement of the machine, which no test pauses")]
use std::time::Instant;

use crate::encoder::Precision;
use crate::isa::{Avx2, Avx512, Isa, Kernel, LANES};
use crate::support::{Instructions, Unsupported};
use crate::tile::{Arithmetic, Brain, Byte, Single, TILE_BLOCKS, TILE_ROWS};

/// Rounds of a measurement: some tens of milliseconds.
const ROUNDS: usize = 4_000_000;
const REPEATS: usize = 5;

/// Operations a second, a product and a sum being two, that `threads` threads reach in products of `precision`: the
/// best of a few measurements.
///
/// # Errors
/// [`Unsupported`] on a processor without the instructions.
pub fn peak(precision: Precision, threads: usize) -> Result<f64, Unsupported> {
    Ok(match (precision, Instructions::best(precision)?) {
        (Precision::Fp32, Instructions::Avx2) => measured::<Single<Avx2>, 1>(threads),
        (Precision::Fp32, Instructions::Avx512 | Instructions::Avx512Bf16) => {
            measured::<Single<Avx512>, TILE_BLOCKS>(threads)
        }
        (Precision::Bf16, _) => measured::<Brain, TILE_BLOCKS>(threads),
        (Precision::Int8, _) => measured::<Byte, TILE_BLOCKS>(threads),
    })
}

#[expect(clippy::disallowed_types, reason = "a measurement of the machine, which no test pauses")]
fn measured<A: Arithmetic, const BLOCKS: usize>(threads: usize) -> f64 {
    let operations = 2 * TILE_ROWS * BLOCKS * LANES * A::PER_STEP * ROUNDS * threads.max(1);
    let rate = || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                // SAFETY: the processor has been asked.
                scope.spawn(|| unsafe { A::Isa::perform(Multiply::<A, BLOCKS>(PhantomData)) });
            }
        });
        operations as f64 / started.elapsed().as_secs_f64()
    };
    (0..REPEATS).map(|_| rate()).fold(0.0, f64::max)
}

/// As many sums at a time as a tile of `BLOCKS` column blocks has.
struct Multiply<A, const BLOCKS: usize>(PhantomData<A>);

impl<A: Arithmetic, const BLOCKS: usize> Kernel for Multiply<A, BLOCKS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: arithmetic on registers.
        unsafe {
            let value = std::hint::black_box(A::Isa::zero());
            let mut sums = [[A::zero(); BLOCKS]; TILE_ROWS];
            for _ in 0..ROUNDS {
                for sum in sums.as_flattened_mut() {
                    *sum = A::add(*sum, value, value);
                }
            }
            std::hint::black_box(&sums);
        }
    }
}
