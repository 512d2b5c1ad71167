//! All tensors of one checkpoint, wherever they lie: one file, shards, or pickles that were converted first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use registry::TensorEntry;
use serde::Deserialize;

use crate::error::CheckpointError;
use crate::folder::SourceFolder;
use crate::jail::Jail;
use crate::tensor_file::TensorFile;

/// The largest file of weights.
const MAX_WEIGHT_FILE_BYTES: u64 = 64 << 30;
/// The largest list of shards.
const MAX_INDEX_BYTES: u64 = 8 << 20;
/// The most shards.
const MAX_SHARDS: usize = 1_000;

const SAFETENSORS: &str = "model.safetensors";
const SAFETENSORS_INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";
const PICKLE_INDEX: &str = "pytorch_model.bin.index.json";

/// The files that may hold weights; the first that is there is read.
pub(crate) const WEIGHT_FILES: [&str; 4] = [SAFETENSORS, SAFETENSORS_INDEX, PICKLE, PICKLE_INDEX];

/// Open weight files and which of them holds which tensor.
#[derive(Debug)]
pub(crate) struct Weights {
    files: Vec<TensorFile>,
    places: BTreeMap<String, usize>,
    /// The file that was chosen, for the report.
    pub(crate) read_from: &'static str,
}

/// `{"weight_map": {"tensor": "file"}}`
#[derive(Debug, Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn parse(name: &'static str, text: &[u8]) -> Result<Self, CheckpointError> {
        let index: Self = serde_json::from_slice(text).map_err(|error| CheckpointError::json(name, error))?;
        let shards: BTreeSet<&String> = index.weight_map.values().collect();
        if shards.len() > MAX_SHARDS {
            return Err(CheckpointError::json(name, format!("{} shards, the limit is {MAX_SHARDS}", shards.len())));
        }
        Ok(index)
    }
}

/// What turns pickles into tensor files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conversion<'a> {
    /// The process that does it.
    pub(crate) jail: &'a Jail,
    /// A folder with room for the result, which lies there as a nameless file.
    pub(crate) scratch: &'a Path,
}

impl Weights {
    /// Opens the weights in `folder`.
    ///
    /// # Errors
    /// If there are none, a file breaks a rule of its format, or a shard does not hold what the index says.
    pub(crate) fn open(folder: &SourceFolder, conversion: Conversion<'_>) -> Result<Self, CheckpointError> {
        let chosen = WEIGHT_FILES.into_iter().find(|name| folder.has(name));
        let read_from = chosen.ok_or_else(|| folder.missing(SAFETENSORS, Some("nor pytorch_model.bin")))?;
        let open = |name: &str| -> Result<TensorFile, CheckpointError> {
            let file = folder.file(name, MAX_WEIGHT_FILE_BYTES)?.ok_or_else(|| folder.missing(name, None))?;
            if name.ends_with(".safetensors") {
                return TensorFile::open(name, file);
            }
            TensorFile::open(name, convert(name, file, conversion)?)
        };
        if read_from == SAFETENSORS || read_from == PICKLE {
            return Ok(Self::of_one_file(open(read_from)?, read_from));
        }
        let index = folder.required_bytes(read_from, MAX_INDEX_BYTES, None)?;
        let index = Index::parse(read_from, &index)?;
        let shards: BTreeSet<&String> = index.weight_map.values().collect();
        let suffix = if read_from == SAFETENSORS_INDEX { ".safetensors" } else { ".bin" };
        let mut files = Vec::new();
        let mut places = BTreeMap::new();
        for shard in shards {
            if !shard.ends_with(suffix) {
                return Err(CheckpointError::json(read_from, format!("shard {shard:?} does not end in {suffix}")));
            }
            let file = open(shard)?;
            for TensorEntry { name, .. } in file.entries() {
                if index.weight_map.get(name) != Some(shard) {
                    return Err(CheckpointError::json(read_from, format!("{shard} holds {name:?} as well")));
                }
                places.insert(name.clone(), files.len());
            }
            files.push(file);
        }
        match index.weight_map.into_keys().find(|name| !places.contains_key(name)) {
            Some(name) => Err(CheckpointError::MissingTensor { name }),
            None => Ok(Self { files, places, read_from }),
        }
    }

    /// The tensors of one open file.
    pub(crate) fn of_one_file(file: TensorFile, read_from: &'static str) -> Self {
        let places = file.entries().iter().map(|entry| (entry.name.clone(), 0)).collect();
        Self { files: vec![file], places, read_from }
    }

    /// Every tensor's name, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    fn place(&self, name: &str) -> Result<(&TensorFile, &TensorEntry), CheckpointError> {
        let file = self.places.get(name).and_then(|place| self.files.get(*place));
        let found = file.and_then(|file| Some((file, file.entry(name)?)));
        found.ok_or_else(|| CheckpointError::MissingTensor { name: name.to_owned() })
    }

    /// Shape and element type of a tensor.
    pub(crate) fn entry(&self, name: &str) -> Result<&TensorEntry, CheckpointError> {
        self.place(name).map(|(_, entry)| entry)
    }

    /// Fills `bytes` from the tensor `name`, starting `offset` bytes into it.
    pub(crate) fn read_at(&self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        let (file, entry) = self.place(name)?;
        file.read_at(entry, offset, bytes)
    }

    /// All numbers of the tensor `name` as 32-bit floats.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let (file, entry) = self.place(name)?;
        file.numbers(entry)
    }
}

/// The shards that the index file `path`, called `name`, lists; none where `name` is no index.
///
/// # Errors
/// If the index is malformed or lists too many.
pub(crate) fn shards_of(name: &'static str, path: &Path) -> Result<BTreeSet<String>, CheckpointError> {
    if !name.ends_with(".index.json") {
        return Ok(BTreeSet::new());
    }
    let bytes = std::fs::metadata(path).map_err(CheckpointError::io(path))?.len();
    if bytes > MAX_INDEX_BYTES {
        return Err(CheckpointError::TooLarge { path: path.to_owned(), bytes, limit: MAX_INDEX_BYTES });
    }
    let text = std::fs::read(path).map_err(CheckpointError::io(path))?;
    Ok(Index::parse(name, &text)?.weight_map.into_values().collect())
}

fn convert(name: &str, pickle: File, conversion: Conversion<'_>) -> Result<File, CheckpointError> {
    let scratch = conversion.scratch;
    let output = tempfile::tempfile_in(scratch).map_err(CheckpointError::io(scratch))?;
    conversion.jail.convert(name, pickle, &output)?;
    Ok(output)
}
