//! What can go wrong before an encoder or a tokenizer serves, and how libtorch's failures are told apart.

use std::path::PathBuf;

use engine::ModelError;
use tch::TchError;

/// Why the files of an encoder do not become a model or a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read. Usual cause: a wrong folder.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is not the JSON it should be.
    #[error("{file} is not valid")]
    Json {
        /// The file's name.
        file: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration asks for something this encoder does not compute. Usual cause: another architecture.
    #[error("config.json: {key}: {reason}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// The weights are not a well-formed safetensors file.
    #[error("the weights are not a usable safetensors file: {reason}")]
    Container {
        /// The first rule that is broken.
        reason: String,
    },
    /// A tensor that the configuration needs is absent.
    #[error("the weights lack tensor {name}")]
    MissingTensor {
        /// Its name without the `deberta.` prefix.
        name: String,
    },
    /// A tensor that the configuration does not know. Usual cause: weights of another model.
    #[error("the weights hold {name}, which config.json does not ask for")]
    UnexpectedTensor {
        /// Its name without the `deberta.` prefix.
        name: String,
    },
    /// The weights belong to the first DeBERTa, whose attention has other tensors.
    #[error("the weights hold {name}, a tensor of DeBERTa v1: only v2 and v3 are served")]
    FirstGeneration {
        /// The tensor that gave it away.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {name} has shape {found:?}, config.json needs {expected:?}")]
    WrongShape {
        /// Its name without the `deberta.` prefix.
        name: String,
        /// Shape by the configuration.
        expected: Vec<i64>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor's elements are not fp32, fp16 or bf16.
    #[error("tensor {name} holds {dtype}: only F32, F16 and BF16 are read")]
    WrongType {
        /// Its name without the `deberta.` prefix.
        name: String,
        /// Element type in the file.
        dtype: String,
    },
    /// A tensor holds NaN or infinity.
    #[error("tensor {name} holds a number that is not finite")]
    NotFinite {
        /// Its name without the `deberta.` prefix.
        name: String,
    },
    /// The device or the element type cannot be had here.
    #[error("{wanted} is not available: {reason}")]
    Unavailable {
        /// What was asked for.
        wanted: String,
        /// Why not.
        reason: String,
    },
    /// `tokenizer.json` is absent, damaged or of a kind that cannot serve.
    #[error("tokenizer.json: {reason}")]
    Tokenizer {
        /// What is wrong with it.
        reason: String,
    },
    /// libtorch failed while the model was built.
    #[error("libtorch failed")]
    Torch(#[from] TchError),
}

impl From<LoadError> for ModelError {
    fn from(error: LoadError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self::Load(text)
    }
}

/// Tells a lack of memory, which a smaller batch mends, from every other failure of libtorch.
pub(crate) fn backend_error(error: &TchError) -> ModelError {
    let text = error.to_string();
    if text.contains("out of memory") || text.contains("not enough memory") || text.contains("can't allocate memory") {
        return ModelError::OutOfMemory;
    }
    ModelError::Backend(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_hears_the_cause_too() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "nothing there");
        let error = LoadError::Read { path: "config.json".into(), source };
        assert_eq!(error.to_string(), "cannot read config.json");
        assert_eq!(ModelError::from(error), ModelError::Load("cannot read config.json: nothing there".to_owned()));
    }

    #[test]
    fn a_lack_of_memory_is_told_from_other_failures() {
        let cpu = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried";
        let cuda = "CUDA out of memory. Tried to allocate 20.00 MiB";
        for text in [cpu, cuda] {
            assert_eq!(backend_error(&TchError::Torch(text.to_owned())), ModelError::OutOfMemory);
        }
        let other = backend_error(&TchError::Torch("mat1 and mat2 shapes cannot be multiplied\nframe #0".to_owned()));
        assert_eq!(
            other,
            ModelError::Backend("Internal torch error: mat1 and mat2 shapes cannot be multiplied".to_owned())
        );
    }
}
