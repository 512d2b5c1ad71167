//! Sixteen fp32 lanes on each set of instructions.
//!
//! All other kernels are written once, over [`Isa`], and compiled for each set: what carries the processor's features is
//! [`Isa::perform`] alone, and everything that a [`Kernel`] does is inlined into it.

mod avx2;
mod avx512;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::{Avx512, Avx512Bf16, first_lanes};

/// Numbers that are worked on together.
pub(crate) const LANES: usize = 16;

/// Work that is compiled for the instructions it is performed with.
pub(crate) trait Kernel {
    type Output;
    /// # Safety
    /// What the kernel says; and it is called by [`Isa::perform`] of the instructions that it names.
    unsafe fn run(self) -> Self::Output;
}

/// Lanes and what can be done with them. Counts of lanes may be larger than there are: then all are meant.
pub(crate) trait Isa: Copy + Send + Sync + 'static {
    type Lanes: Copy;
    /// Column blocks of a tile whose sums the registers hold.
    const BLOCKS: usize;

    /// # Safety
    /// The processor has the instructions, and the kernel's own conditions hold.
    unsafe fn perform<K: Kernel>(kernel: K) -> K::Output;

    unsafe fn zero() -> Self::Lanes;
    unsafe fn all(number: f32) -> Self::Lanes;
    /// The four bytes at `from`, in every lane.
    unsafe fn broadcast(from: *const u8) -> Self::Lanes;
    unsafe fn load(from: *const f32) -> Self::Lanes;
    unsafe fn store(to: *mut f32, lanes: Self::Lanes);
    /// The first `count` numbers, and zeros; no others are read.
    unsafe fn load_first(count: usize, from: *const f32) -> Self::Lanes;
    /// No others are written.
    unsafe fn store_first(count: usize, to: *mut f32, lanes: Self::Lanes);
    /// The first `count` of `lanes`, and the others of `rest`.
    unsafe fn keep_first(count: usize, lanes: Self::Lanes, rest: Self::Lanes) -> Self::Lanes;
    /// Sixteen numbers from `from` on, or where `places`, if it is not null, says within them.
    unsafe fn pick(from: *const f32, places: *const u8) -> Self::Lanes;

    unsafe fn add(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    unsafe fn sub(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    unsafe fn mul(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    unsafe fn div(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    unsafe fn min(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    unsafe fn max(a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    unsafe fn abs(x: Self::Lanes) -> Self::Lanes;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    /// `c - a * b`, rounded once.
    unsafe fn fnma(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    /// To the nearest whole number.
    unsafe fn round(x: Self::Lanes) -> Self::Lanes;
    /// `x` times two to the power of the whole numbers `powers`, within -150 and 128.
    unsafe fn scale(x: Self::Lanes, powers: Self::Lanes) -> Self::Lanes;
    /// `1 / x` of positive numbers, within two units in the last place.
    unsafe fn reciprocal(x: Self::Lanes) -> Self::Lanes;

    unsafe fn sum(lanes: Self::Lanes) -> f32;
    unsafe fn largest(lanes: Self::Lanes) -> f32;
    /// Row `r`, lane `c` of the result is row `c`, lane `r` of `rows`. The lanes may hold any four bytes.
    unsafe fn transpose(rows: [Self::Lanes; LANES]) -> [Self::Lanes; LANES];
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;

    use super::*;
    use crate::support::Instructions;
    use crate::vector::exp;

    /// Calls the body with a type of each set that this processor has.
    macro_rules! on_each {
        ($isa:ident => $body:expr) => {
            if Instructions::Avx2.missing().is_none() {
                type $isa = Avx2;
                $body;
            }
            if Instructions::Avx512.missing().is_none() {
                type $isa = Avx512;
                $body;
            }
        };
    }

    struct Turned<I>([[f32; LANES]; LANES], PhantomData<I>);

    impl<I: Isa> Kernel for Turned<I> {
        type Output = [[f32; LANES]; LANES];

        #[inline(always)]
        unsafe fn run(self) -> Self::Output {
            let mut result = [[0.0; LANES]; LANES];
            // SAFETY: sixteen numbers a row on both sides.
            unsafe {
                let rows = I::transpose(self.0.map(|row| I::load(row.as_ptr())));
                for (row, to) in rows.into_iter().zip(&mut result) {
                    I::store(to.as_mut_ptr(), row);
                }
            }
            result
        }
    }

    #[test]
    fn rows_become_columns() {
        let square = std::array::from_fn(|row| std::array::from_fn(|column| (row * 100 + column) as f32));
        on_each!(I => {
            // SAFETY: the processor has been asked.
            let result = unsafe { I::perform(Turned::<I>(square, PhantomData)) };
            for (row, line) in result.iter().enumerate() {
                for (column, value) in line.iter().enumerate() {
                    assert_eq!(*value, (column * 100 + row) as f32);
                }
            }
        });
    }

    struct Firsts<'a, I>(usize, &'a [f32; 2 * LANES], PhantomData<I>);

    impl<I: Isa> Kernel for Firsts<'_, I> {
        type Output = ([f32; 2 * LANES], [f32; LANES], [f32; LANES]);

        #[inline(always)]
        unsafe fn run(self) -> Self::Output {
            let Self(count, numbers, _) = self;
            let (mut stored, mut kept, mut picked) = ([-1.0; 2 * LANES], [0.0; LANES], [0.0; LANES]);
            let places: [u8; LANES] = std::array::from_fn(|lane| (LANES - 1 - lane / 2) as u8);
            // SAFETY: all arrays hold sixteen numbers or more.
            unsafe {
                I::store_first(count, stored.as_mut_ptr(), I::load_first(count, numbers.as_ptr()));
                I::store(kept.as_mut_ptr(), I::keep_first(count, I::load(numbers.as_ptr()), I::all(-2.0)));
                I::store(picked.as_mut_ptr(), I::pick(numbers.as_ptr().add(count), places.as_ptr()));
            }
            (stored, kept, picked)
        }
    }

    #[test]
    fn counts_and_places_choose_lanes() {
        let numbers: [f32; 2 * LANES] = std::array::from_fn(|at| at as f32 + 1.0);
        on_each!(I => for count in 0..=LANES {
            // SAFETY: the processor has been asked.
            let (stored, kept, picked) = unsafe { I::perform(Firsts::<I>(count, &numbers, PhantomData)) };
            for at in 0..LANES {
                assert_eq!(stored[at], if at < count { numbers[at] } else { -1.0 });
                assert_eq!(kept[at], if at < count { numbers[at] } else { -2.0 });
                assert_eq!(picked[at], numbers[count + LANES - 1 - at / 2]);
            }
            assert!(stored[LANES..].iter().all(|number| *number == -1.0));
        });
    }

    struct Functions<I>([f32; LANES], PhantomData<I>);

    impl<I: Isa> Kernel for Functions<I> {
        /// exp, reciprocal, sum and largest.
        type Output = ([f32; LANES], [f32; LANES], f32, f32);

        #[inline(always)]
        unsafe fn run(self) -> Self::Output {
            let (mut powers, mut reciprocals) = ([0.0; LANES], [0.0; LANES]);
            // SAFETY: all arrays hold sixteen numbers.
            unsafe {
                let x = I::load(self.0.as_ptr());
                I::store(powers.as_mut_ptr(), exp::<I>(x));
                I::store(reciprocals.as_mut_ptr(), I::reciprocal(I::add(I::abs(x), I::all(0.25))));
                (powers, reciprocals, I::sum(x), I::largest(x))
            }
        }
    }

    #[test]
    fn functions_are_as_exact_as_fp32() {
        let numbers: [f32; LANES] =
            [-103.0, -95.5, -87.4, -60.0, -20.25, -3.0, -0.7, -1e-3, 0.0, 1e-6, 0.3, 1.0, 2.5, 17.0, 60.0, 88.0];
        on_each!(I => {
            // SAFETY: the processor has been asked.
            let (powers, reciprocals, sum, largest) = unsafe { I::perform(Functions::<I>(numbers, PhantomData)) };
            for (x, power) in numbers.iter().zip(powers) {
                let exact = f64::from(*x).exp();
                // Below 2^-126 numbers have fewer bits.
                let allowed = (exact * 2e-7).max(1.5e-45);
                assert!((f64::from(power) - exact).abs() <= allowed, "exp({x}) = {power:e}, {exact:e} expected");
            }
            for (x, reciprocal) in numbers.iter().zip(reciprocals) {
                let exact = 1.0 / (f64::from(x.abs()) + 0.25);
                assert!((f64::from(reciprocal) / exact - 1.0).abs() < 3e-7);
            }
            assert!((f64::from(sum) - numbers.iter().map(|x| f64::from(*x)).sum::<f64>()).abs() < 1e-4);
            assert_eq!(largest, 88.0);
        });
    }
}
