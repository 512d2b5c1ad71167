//! A head and its encoder as a directory that the `transformers` package loads: one model, streamed piece by piece.
//!
//! What the package has no place for is put where its arithmetic makes the same of it. An adapter is merged into the
//! weights that it changes. A task embedding, which the engine adds to the word embedding of position 0, is added to the row of the
//! token that stands there: exact for every text in which that token stands nowhere else. Tensors that are changed are
//! written in F32, all others as they lie.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use engine::{Head, LowRank, TaskName};
use half::{bf16, f16};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::RegistryError;
use crate::files;
use crate::linear_layers::linear_module;
use crate::safetensors_guard::{ElementType, TensorEntry, TensorIndex, TensorLimits};
use crate::transformers_config;
use crate::weights::little_endian;

/// Bytes handed on at a time, at most.
pub const EXPORT_CHUNK_BYTES: usize = 512 << 10;

const CONFIG: &str = "config.json";
const MODEL: &str = "model.safetensors";
const COPIED: [&str; 2] = ["tokenizer.json", "tokenizer_config.json"];
const WORDS: &str = "deberta.embeddings.word_embeddings.weight";
const POOLER: &str = "pooler.";
const MAX_CONFIG_BYTES: u64 = 8 << 20;
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// An export that is planned: its files and their sizes are known, nothing large was read.
#[derive(Debug)]
pub struct TransformersExport {
    small: Vec<(&'static str, Vec<u8>)>,
    model: ModelFile,
}

/// `model.safetensors` to be written.
#[derive(Debug)]
struct ModelFile {
    source: File,
    header: Vec<u8>,
    tensors: Vec<(TensorEntry, Change)>,
    bytes: u64,
}

/// What becomes of a tensor on its way.
#[derive(Debug, Clone)]
enum Change {
    /// Nothing.
    Copied,
    /// Other numbers stand in its place.
    Replaced(Arc<[f32]>),
    /// A low-rank product is added.
    Merged(LowRank),
    /// These numbers are added from number `first` on.
    Shifted { first: usize, numbers: Arc<[f32]> },
}

impl TransformersExport {
    /// Plans the export of `head` with the encoder in `encoder_dir`. `first_token` is the id with which every sequence
    /// begins and which stands nowhere else; it is asked for only where the head answers with a task embedding unless told
    /// otherwise.
    ///
    /// # Errors
    /// If the encoder's files cannot be read, lack a tensor that the head needs, or no first token is known for a head with
    /// a task embedding.
    pub fn plan(
        encoder_dir: &Path,
        task: &TaskName,
        head: &Head,
        first_token: Option<u32>,
    ) -> Result<Self, RegistryError> {
        let config_path = encoder_dir.join(CONFIG);
        let bytes = read_small(&config_path, MAX_CONFIG_BYTES)?;
        let encoder: Map<String, Value> = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::folder(&config_path, format!("no JSON object: {error}")))?;
        let config = Value::Object(transformers_config::config(encoder, task, head));
        let mut config = serde_json::to_vec_pretty(&config)
            .map_err(|error| RegistryError::folder(&config_path, error.to_string()))?;
        config.push(b'\n');
        let mut small = vec![(CONFIG, config)];
        for name in COPIED {
            let path = encoder_dir.join(name);
            if path.symlink_metadata().is_ok() {
                small.push((name, read_small(&path, MAX_TOKENIZER_BYTES)?));
            }
        }
        Ok(Self { small, model: ModelFile::plan(&encoder_dir.join(MODEL), head, first_token)? })
    }

    /// Names and sizes in bytes, in the order in which [`TransformersExport::write`] gives them.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let small = self.small.iter().map(|(name, bytes)| (*name, bytes.len() as u64));
        small.chain([(MODEL, self.model.bytes)])
    }

    /// Names, sizes and digests, in that order too; reads everything once.
    ///
    /// # Errors
    /// As [`TransformersExport::write`].
    pub fn declared(&self) -> Result<Vec<(&'static str, u64, Digest)>, RegistryError> {
        let mut hashers: Vec<_> = self.files().map(|(name, bytes)| (name, bytes, Sha256::new())).collect();
        self.write(|name, bytes: &[u8]| {
            if let Some((.., hasher)) = hashers.iter_mut().find(|(known, ..)| *known == name) {
                hasher.update(bytes);
            }
            Ok::<_, RegistryError>(())
        })?;
        let done = |(name, bytes, hasher): (&'static str, u64, Sha256)| {
            (name, bytes, Digest::from_bytes(hasher.finalize().into()))
        };
        Ok(hashers.into_iter().map(done).collect())
    }

    /// Gives the files piece by piece to `sink`, each piece with its file's name and at most [`EXPORT_CHUNK_BYTES`] long.
    ///
    /// # Errors
    /// The first of `sink`, or of reading the encoder.
    pub fn write<E: From<RegistryError>>(
        &self,
        mut sink: impl FnMut(&'static str, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for (name, bytes) in &self.small {
            bytes.chunks(EXPORT_CHUNK_BYTES).try_for_each(|piece| sink(name, piece))?;
        }
        self.model.write(&mut |bytes: &[u8]| bytes.chunks(EXPORT_CHUNK_BYTES).try_for_each(|piece| sink(MODEL, piece)))
    }
}

impl ModelFile {
    fn plan(path: &Path, head: &Head, first_token: Option<u32>) -> Result<Self, RegistryError> {
        let mut source = files::open_regular(path)?;
        let length = source.metadata().map_err(RegistryError::io("read", path))?.len();
        let index = TensorIndex::read(&mut source, length, &TensorLimits::CHECKPOINT)?;
        let parts = head.parts();
        let missing = |name: &str| RegistryError::folder(path, format!("no tensor {name}, which this head needs"));
        let mut tensors = Vec::new();
        for entry in index.entries() {
            if head.kind().reads_tokens() && entry.name.starts_with(POOLER) {
                continue;
            }
            tensors.push((entry.clone(), Change::Copied));
        }
        let mut change = |name: &str, change: Change, numbers: usize| {
            let found = tensors.iter_mut().find(|(entry, _)| entry.name == name).ok_or_else(|| missing(name))?;
            if found.0.shape.iter().product::<usize>() != numbers {
                return Err(RegistryError::folder(
                    path,
                    format!("tensor {name} has another shape than this head needs"),
                ));
            }
            found.1 = change;
            Ok(())
        };
        if let Some(adapter) = &parts.adapter {
            for (layer, site, part) in adapter.parts() {
                let name = format!("{}.weight", linear_module(layer, site));
                change(&name, Change::Merged(part.clone()), part.outputs() * part.inputs())?;
            }
            if let Some(pooler) = adapter.pooler().filter(|_| !head.kind().reads_tokens()) {
                change("pooler.dense.weight", Change::Replaced(Arc::clone(&pooler.weight)), pooler.weight.len())?;
                change("pooler.dense.bias", Change::Replaced(Arc::clone(&pooler.bias)), pooler.bias.len())?;
            }
        }
        if let Some(numbers) = parts.task_embedding.as_ref().filter(|_| parts.task_embedding_by_default) {
            let token = first_token.ok_or_else(|| {
                let reason = "the head has a task embedding, and texts do not all begin with one token of their own";
                RegistryError::folder(path, reason)
            })?;
            let rows = index.entry(WORDS).and_then(|entry| entry.shape.first().copied()).unwrap_or(0);
            if token as usize >= rows {
                return Err(RegistryError::folder(path, format!("token {token} is beyond a vocabulary of {rows}")));
            }
            let first = token as usize * numbers.len();
            change(WORDS, Change::Shifted { first, numbers: Arc::clone(numbers) }, rows * numbers.len())?;
        }
        for (name, shape, numbers) in [
            ("classifier.weight", vec![head.outputs(), head.hidden()], &parts.weight),
            ("classifier.bias", vec![head.outputs()], &parts.bias),
        ] {
            let entry = TensorEntry { name: name.to_owned(), element: ElementType::F32, shape, bytes: 0..0 };
            tensors.push((entry, Change::Replaced(Arc::clone(numbers))));
        }
        let (header, bytes) = header(&tensors);
        Ok(Self { source, header, tensors, bytes })
    }

    fn write<E: From<RegistryError>>(&self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        sink(&self.header)?;
        for (entry, change) in &self.tensors {
            match change {
                Change::Replaced(numbers) => sink(&little_endian(numbers))?,
                Change::Copied => {
                    for at in entry.bytes.clone().step_by(EXPORT_CHUNK_BYTES) {
                        let end = entry.bytes.end.min(at + EXPORT_CHUNK_BYTES as u64);
                        sink(&self.read(at, (end - at) as usize)?)?;
                    }
                }
                Change::Merged(part) => {
                    let inputs = part.inputs();
                    self.numbers(entry, inputs, |row, numbers| {
                        add_product(part, row / inputs.max(1), numbers);
                        sink(&little_endian(numbers))
                    })?;
                }
                Change::Shifted { first, numbers: added } => {
                    self.numbers(entry, added.len(), |at, numbers| {
                        if at == *first {
                            numbers.iter_mut().zip(added.iter()).for_each(|(number, added)| *number += added);
                        }
                        sink(&little_endian(numbers))
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with the numbers of a tensor, `width` at a time, and the place of the first of them.
    fn numbers<E: From<RegistryError>>(
        &self,
        entry: &TensorEntry,
        width: usize,
        mut each: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let row_bytes = width * entry.element.bytes() as usize;
        let rows = EXPORT_CHUNK_BYTES.div_ceil(row_bytes.max(1));
        let mut place = 0;
        for at in entry.bytes.clone().step_by((rows * row_bytes).max(1)) {
            let end = entry.bytes.end.min(at + (rows * row_bytes) as u64);
            let bytes = self.read(at, (end - at) as usize)?;
            let mut numbers = widened(&bytes, entry)?;
            for row in numbers.chunks_mut(width.max(1)) {
                each(place, row)?;
                place += width;
            }
        }
        Ok(())
    }

    fn read(&self, at: u64, count: usize) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = vec![0; count];
        self.source.read_exact_at(&mut bytes, at).map_err(RegistryError::io("read", Path::new(MODEL)))?;
        Ok(bytes)
    }
}

/// Adds row `row` of `up * down`.
fn add_product(part: &LowRank, row: usize, numbers: &mut [f32]) {
    let rank = part.rank();
    let up = part.up().get(row * rank..(row + 1) * rank).unwrap_or_default();
    for (factor, down) in up.iter().zip(part.down().chunks_exact(part.inputs().max(1))) {
        numbers.iter_mut().zip(down).for_each(|(number, down)| *number += factor * down);
    }
}

/// The header of a file of `tensors`, padded so that the numbers begin at a multiple of eight bytes, and the file's size.
fn header(tensors: &[(TensorEntry, Change)]) -> (Vec<u8>, u64) {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({"format": "pt"}));
    let mut offset = 0u64;
    for (entry, change) in tensors {
        let element = match change {
            Change::Copied => entry.element,
            Change::Replaced(_) | Change::Merged(_) | Change::Shifted { .. } => ElementType::F32,
        };
        let end = offset + entry.shape.iter().product::<usize>() as u64 * element.bytes();
        let info = serde_json::json!({"dtype": element.as_str(), "shape": entry.shape, "data_offsets": [offset, end]});
        header.insert(entry.name.clone(), info);
        offset = end;
    }
    let mut text = Value::Object(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    let size = bytes.len() as u64 + offset;
    (bytes, size)
}

fn widened(bytes: &[u8], entry: &TensorEntry) -> Result<Vec<f32>, RegistryError> {
    let two = |number: fn([u8; 2]) -> f32| bytes.as_chunks::<2>().0.iter().map(|two| number(*two)).collect();
    match entry.element {
        ElementType::F32 => Ok(bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()),
        ElementType::F16 => Ok(two(|two| f16::from_le_bytes(two).to_f32())),
        ElementType::BF16 => Ok(two(|two| bf16::from_le_bytes(two).to_f32())),
        ElementType::Bool
        | ElementType::U8
        | ElementType::I8
        | ElementType::I16
        | ElementType::I32
        | ElementType::I64
        | ElementType::F64 => {
            let reason = format!("tensor {} is {}, expected F32, F16 or BF16", entry.name, entry.element.as_str());
            Err(RegistryError::folder(Path::new(MODEL), reason))
        }
    }
}

fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let read = files::open_regular(path)?.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(RegistryError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(RegistryError::folder(path, format!("larger than the limit of {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
