//! What the processor must offer for this crate to run on it.

use crate::encoder::Precision;

/// Sets of instructions that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// AVX2 with fused products: Haswell and Zen, and later. fp32 alone.
    Avx2,
    /// AVX-512 in fp32: Skylake-SP and Zen 4, and later. fp32 alone.
    Avx512,
    /// AVX-512 with bf16 and VNNI: Cooper Lake, Sapphire Rapids and Zen 4, and later.
    Avx512Bf16,
}

/// Why this crate cannot run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("kernels of our own in {precision} need {missing}, which this processor or the choice of kernels lacks")]
pub struct Unsupported {
    /// The first extension that is missing.
    pub missing: &'static str,
    /// For what.
    pub precision: Precision,
}

impl Instructions {
    /// The best for encoders in `precision` that this processor has.
    ///
    /// # Errors
    /// [`Unsupported`], naming the first extension that the least demanding set misses.
    pub fn best(precision: Precision) -> Result<Self, Unsupported> {
        match precision {
            Precision::Fp32 => Self::Avx512.serving(precision).or_else(|_| Self::Avx2.serving(precision)),
            Precision::Bf16 | Precision::Int8 => Self::Avx512Bf16.serving(precision),
        }
    }

    /// The same set, if encoders in `precision` run on it here.
    ///
    /// # Errors
    /// [`Unsupported`], naming what is missing.
    pub fn serving(self, precision: Precision) -> Result<Self, Unsupported> {
        let needs = if precision == Precision::Fp32 { self } else { Self::Avx512Bf16 };
        let missing = needs.missing().or_else(|| (needs != self).then_some("avx512bf16"));
        missing.map_or(Ok(self), |missing| Err(Unsupported { missing, precision }))
    }

    /// The first extension of the set that this processor lacks.
    #[must_use]
    pub fn missing(self) -> Option<&'static str> {
        macro_rules! found {
            ($($name:tt),*) => { vec![$(($name, std::arch::is_x86_feature_detected!($name))),*] };
        }
        let found = match self {
            Self::Avx2 => found!("avx2", "fma"),
            Self::Avx512 => found!("fma", "avx512f", "avx512bw", "avx512vl", "avx512dq"),
            Self::Avx512Bf16 => {
                found!("fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni", "avx512bf16")
            }
        };
        found.into_iter().find_map(|(name, is_there)| (!is_there).then_some(name))
    }
}

/// Whether the processor multiplies whole tiles of bf16 and int8 (AMX), which this crate does not use and libtorch does.
#[must_use]
pub fn has_tiles() -> bool {
    /// Leaf 7, register EDX: AMX-BF16 and AMX-TILE.
    const TILES: u32 = 1 << 22 | 1 << 24;
    let leaves = std::arch::x86_64::__cpuid(0).eax;
    leaves >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & TILES == TILES
}
