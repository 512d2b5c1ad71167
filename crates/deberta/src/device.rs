//! Where the encoder runs.

use std::fmt;
use std::str::FromStr;

use crate::error::LoadError;
use crate::shim;

/// A place that holds tensors and computes with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of that index.
    Cuda(usize),
}

impl Device {
    /// libtorch's name for the device, once it is known to exist. A GPU becomes this thread's own: what the thread
    /// launches goes there, on a stream beside the default one, because that one cannot be recorded.
    pub(crate) fn open(self) -> Result<tch::Device, LoadError> {
        let Self::Cuda(index) = self else { return Ok(tch::Device::Cpu) };
        let unavailable = |reason: String| LoadError::Unavailable { wanted: self.to_string(), reason };
        if !tch::Cuda::is_available() {
            let reason =
                "this libtorch sees no GPU; it takes NVIDIA's driver, and HEADWATER_LIBTORCH at a PyTorch with CUDA";
            return Err(unavailable(reason.to_owned()));
        }
        let devices = tch::Cuda::device_count();
        if i64::try_from(index).map_or(true, |index| index >= devices) {
            return Err(unavailable(format!("there are {devices} GPUs, counted from 0")));
        }
        shim::forbid_rounding()?;
        if let Err(reason) = shim::take_stream(index) {
            tracing::warn!(%reason, "batches run without CUDA graphs");
        }
        Ok(tch::Device::Cuda(index))
    }
}

impl FromStr for Device {
    type Err = LoadError;

    fn from_str(name: &str) -> Result<Self, LoadError> {
        let unknown = || LoadError::Unavailable {
            wanted: format!("device {name:?}"),
            reason: "expected cpu, cuda or cuda:N".to_owned(),
        };
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let index = name.strip_prefix("cuda:").ok_or_else(unknown)?;
                index.parse().map(Self::Cuda).map_err(|_| unknown())
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for name in ["cpu", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(name.parse::<Device>().is_err(), "{name}");
        }
    }
}
