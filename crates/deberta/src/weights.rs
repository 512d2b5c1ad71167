//! The tensors of an encoder: read one by one from a safetensors file, under checks of our own.
//!
//! The whole file is never in memory at once, and never mapped: a file that shrinks must not end the process.

mod header;
mod numbers;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use tch::{Kind, TchError, Tensor};

use crate::error::LoadError;

/// Bytes read and converted at a time: small beside any encoder, large beside a disk's block.
const CHUNK_BYTES: usize = 256 << 10;

/// An open weight file. Tensors are taken by name; what is left at the end was not expected.
#[derive(Debug)]
pub(crate) struct Weights {
    file: File,
    data_start: u64,
    untaken: HashMap<String, TensorInfo>,
}

impl Weights {
    /// Opens `model.safetensors` in `encoder_dir` and checks its header.
    pub(crate) fn open(encoder_dir: &Path) -> Result<Self, LoadError> {
        let path = encoder_dir.join("model.safetensors");
        let read = |source| LoadError::Read { path: path.clone(), source };
        let file = File::open(&path).map_err(read)?;
        let (header, data_start) = header::read(&file).map_err(|failure| match failure {
            header::Failure::Io(source) => read(source),
            header::Failure::Form(reason) => LoadError::Container { reason },
        })?;
        let mut untaken = HashMap::new();
        for (stored_name, info) in header {
            let name = canonical(&stored_name);
            if is_first_generation(&name) {
                return Err(LoadError::FirstGeneration { name });
            }
            if untaken.insert(name.clone(), info).is_some() {
                return Err(LoadError::Container { reason: format!("{name} is there twice, under two spellings") });
            }
        }
        Ok(Self { file, data_start, untaken })
    }

    /// Whether the file still holds tensor `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.untaken.contains_key(name)
    }

    /// Takes tensor `name` of exactly `shape`, widened to fp32, on the processor.
    pub(crate) fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor, LoadError> {
        let whole = Tensor::f_empty(shape, (Kind::Float, tch::Device::Cpu))?;
        let flat = whole.f_view([-1])?;
        let mut first = 0;
        self.stream(name, shape, |numbers| {
            let piece = Tensor::f_from_slice(numbers)?;
            let count = piece.size1()?;
            flat.f_narrow(0, first, count)?.f_copy_(&piece)?;
            first += count;
            Ok(())
        })?;
        Ok(whole)
    }

    /// Takes tensor `name` of exactly `shape`, widened to fp32, row-major.
    pub(crate) fn take_numbers(&mut self, name: &str, shape: &[i64]) -> Result<Vec<f32>, LoadError> {
        let mut whole = Vec::new();
        let count = shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).product::<usize>();
        self.stream(name, shape, |numbers| {
            // Only now has the file shown that it holds so many.
            whole.reserve_exact(count - whole.len());
            whole.extend_from_slice(numbers);
            Ok(())
        })?;
        Ok(whole)
    }

    /// Takes tensor `name` of exactly `shape` and hands it to `sink` piece by piece, widened to fp32, row-major.
    pub(crate) fn stream(
        &mut self,
        name: &str,
        shape: &[i64],
        mut sink: impl FnMut(&[f32]) -> Result<(), TchError>,
    ) -> Result<(), LoadError> {
        let Some(info) = self.untaken.remove(name) else {
            return Err(LoadError::MissingTensor { name: name.to_owned() });
        };
        if !info.shape.iter().map(|size| i64::try_from(*size)).eq(shape.iter().map(|size| Ok(*size))) {
            let expected = shape.to_vec();
            return Err(LoadError::WrongShape { name: name.to_owned(), expected, found: info.shape });
        }
        let Some(stored) = numbers::Stored::of(info.dtype) else {
            return Err(LoadError::WrongType { name: name.to_owned(), dtype: format!("{:?}", info.dtype) });
        };
        let (mut start, end) = info.data_offsets;
        let mut bytes = vec![0u8; CHUNK_BYTES.min(end - start)];
        let mut widened = Vec::new();
        while start < end {
            let chunk = &mut bytes[..CHUNK_BYTES.min(end - start)];
            let at = self.data_start + start as u64;
            self.file.read_exact_at(chunk, at).map_err(|source| LoadError::Read { path: name.into(), source })?;
            stored.widen(chunk, &mut widened);
            if !numbers::all_finite(&widened) {
                return Err(LoadError::NotFinite { name: name.to_owned() });
            }
            sink(&widened)?;
            start += chunk.len();
        }
        Ok(())
    }

    /// Drops tensor `name`, which may be there but is not used.
    pub(crate) fn ignore(&mut self, name: &str) {
        self.untaken.remove(name);
    }

    /// Checks that nothing is left but what every encoder may carry along.
    pub(crate) fn finish(self) -> Result<(), LoadError> {
        let mut unexpected: Vec<_> = self.untaken.into_keys().filter(|name| !is_baggage(name)).collect();
        unexpected.sort();
        unexpected.into_iter().next().map_or(Ok(()), |name| Err(LoadError::UnexpectedTensor { name }))
    }
}

/// The name without the prefix of a model that wraps the encoder, and with today's names of a `LayerNorm`'s parts.
fn canonical(stored: &str) -> String {
    let name = stored.strip_prefix("deberta.").unwrap_or(stored);
    if let Some(owner) = name.strip_suffix("LayerNorm.gamma") {
        return format!("{owner}LayerNorm.weight");
    }
    if let Some(owner) = name.strip_suffix("LayerNorm.beta") {
        return format!("{owner}LayerNorm.bias");
    }
    name.to_owned()
}

fn is_first_generation(name: &str) -> bool {
    const ATTENTION: [&str; 5] = ["in_proj", "q_bias", "v_bias", "pos_proj", "pos_q_proj"];
    name.contains(".attention.self.") && name.split('.').any(|part| ATTENTION.contains(&part))
}

/// Heads and pre-training parts that saved models carry, and that the encoder does without.
fn is_baggage(name: &str) -> bool {
    const FIRST_PARTS: [&str; 5] = ["classifier", "qa_outputs", "lm_predictions", "mask_predictions", "cls"];
    name == "embeddings.position_ids" || name.split('.').next().is_some_and(|part| FIRST_PARTS.contains(&part))
}

#[cfg(test)]
mod tests;
