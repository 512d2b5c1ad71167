//! Attention and normalisation on a GPU in half precision, in kernels of our own: rows lie end to end without padding.
//!
//! The kernels are the text in `shim/gpu`, compiled for the GPU at hand when an encoder is loaded. What they do is tested
//! there on lanes that a processor plays.

use std::ffi::CString;
use std::rc::Rc;

use tch::{Kind, TchError, Tensor};

use crate::config::Config;
use crate::precision::Placement;
use crate::relative_position::PositionTables;
use crate::shim::{Attended, GpuKernels};

const FP16: &str = "#define ELEMENT \"f16\"\n";
const BF16: &str = "#define ELEMENT \"bf16\"\n#define ELEMENT_IS_BF16\n";
const LANES: &str = include_str!("../shim/gpu/lanes.cuh");
const ATTENTION: &str = include_str!("../shim/gpu/attention.cuh");
const NORM: &str = include_str!("../shim/gpu/norm.cuh");

/// Numbers in a head: the kernels are made for those of every published encoder.
const HEAD_SIZE: i64 = 64;
/// The widest rows that are normalised.
const MOST_HIDDEN: i64 = 2_048;

/// The kernels for one encoder on one GPU.
#[derive(Debug)]
pub(crate) struct Fused {
    kernels: GpuKernels,
    heads: i32,
}

/// A batch as the kernels see it.
#[derive(Debug)]
pub(crate) struct FusedBatch {
    fused: Rc<Fused>,
    /// `[tiles, 5]` in i32, every token of every row.
    every: Tensor,
    /// `[rows, 5]` in i32, every row's first token.
    first: Tensor,
    reach: i32,
}

/// Which tokens attention answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// All of them.
    Every,
    /// Every row's first.
    First,
}

impl Fused {
    /// The kernels for an encoder of `config`, where it and its GPU have what they take.
    pub(crate) fn open(config: &Config, placement: Placement) -> Option<Rc<Self>> {
        let elements = [(Kind::Half, FP16), (Kind::BFloat16, BF16)];
        let (_, element) = elements.into_iter().find(|(kind, _)| *kind == placement.kind)?;
        let is_served = placement.is_fused
            && config.head_size == HEAD_SIZE
            && config.hidden == config.heads * HEAD_SIZE
            && config.hidden <= MOST_HIDDEN
            && config.convolution.is_none();
        if placement.device == tch::Device::Cpu || placement.differentiable || !is_served {
            return None;
        }
        let source = CString::new([element, LANES, ATTENTION, NORM].concat()).ok()?;
        match GpuKernels::compile(&source) {
            Ok(kernels) => Some(Rc::new(Self { kernels, heads: narrow(config.heads) })),
            Err(reason) => {
                tracing::warn!(%reason, "attention runs without our own kernels");
                None
            }
        }
    }
}

impl FusedBatch {
    /// The tiles `every` and `first`, on the device.
    pub(crate) fn new(fused: &Rc<Fused>, every: Tensor, first: Tensor, reach: i64) -> Self {
        Self { fused: Rc::clone(fused), every, first, reach: narrow(reach) }
    }

    /// The mixed values of the tokens `answered`, `[tokens, hidden]` or `[rows, hidden]`; spare ones hold anything.
    pub(crate) fn attend(
        &self,
        projected: &Tensor,
        positions: Option<&PositionTables>,
        answered: Answered,
    ) -> Result<Tensor, TchError> {
        let (tiles, outputs) = match answered {
            Answered::Every => (&self.every, projected.size2()?.0),
            Answered::First => (&self.first, self.first.size2()?.0),
        };
        let hidden = i64::from(self.fused.heads) * HEAD_SIZE;
        let mixed = Tensor::f_empty([outputs, hidden], (projected.f_kind()?, projected.device()))?;
        let (keys_at, queries_at) = positions.map_or((None, None), PositionTables::by_distance);
        let Self { fused, reach, .. } = self;
        let attended = Attended { projected, keys_at, queries_at, tiles, heads: fused.heads, reach: *reach };
        fused.kernels.attend(attended, &mixed)?;
        Ok(mixed)
    }

    /// `LayerNorm(product + residual)`.
    pub(crate) fn add_norm(
        &self,
        product: &Tensor,
        residual: &Tensor,
        parameters: (&Tensor, &Tensor),
        epsilon: f64,
    ) -> Result<Tensor, TchError> {
        #[expect(clippy::cast_possible_truncation, reason = "the kernel computes in fp32")]
        self.fused.kernels.add_norm(product, residual, parameters, epsilon as f32)
    }
}

fn narrow(size: i64) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    /// The very text that a GPU gets, on lanes that the processor plays, against plain loops.
    #[test]
    fn the_kernels_compute_what_plain_loops_do() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/gpu");
        let program = Path::new(env!("OUT_DIR")).join("played");
        let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
        let built = Command::new(compiler)
            .args(["-std=c++17", "-O1", "-Wall", "-Wno-unknown-pragmas", "-o"])
            .args([program.as_os_str(), folder.join("played.cpp").as_os_str()])
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let ran = Command::new(program).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }
}
