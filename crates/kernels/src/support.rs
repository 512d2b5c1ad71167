//! What the processor must offer for this crate to run on it.

/// Why this crate cannot run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this processor lacks {missing}, one of the AVX-512 extensions with bf16 and VNNI")]
pub struct Unsupported {
    /// The first extension that is missing.
    pub missing: &'static str,
}

/// Whether every instruction in use is there: Zen 4 and later, Cooper Lake, Sapphire Rapids and later.
///
/// # Errors
/// [`Unsupported`], naming the first extension that is not.
pub fn check() -> Result<(), Unsupported> {
    macro_rules! needs {
        ($($name:tt),*) => { $(if !std::arch::is_x86_feature_detected!($name) { return Err(Unsupported { missing: $name }); })* };
    }
    needs!("fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni", "avx512bf16");
    Ok(())
}

/// Whether the processor multiplies whole tiles of bf16 and int8 (AMX), which this crate does not use and libtorch does.
#[must_use]
pub fn has_tiles() -> bool {
    /// Leaf 7, register EDX: AMX-BF16 and AMX-TILE.
    const TILES: u32 = 1 << 22 | 1 << 24;
    let leaves = std::arch::x86_64::__cpuid(0).eax;
    leaves >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & TILES == TILES
}
