//! Checkpoints made from a seed: any preset's geometry with random weights and as many tasks as wanted, in the two
//! multi-task layouts. Nothing is downloaded, and no more than one tensor is ever in memory.

mod chance;
mod pickle_writer;
mod preset;
mod tasks;
mod vocabulary;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use registry::ElementType;
use serde_json::{Map, Value, json};

pub use preset::Preset;

use crate::encoder_config::EncoderConfig;
use crate::encoder_tensors::expected;
use crate::error::CheckpointError;
use crate::layout::Layout;
use crate::tensor_writer::{PlannedTensor, TensorWriter};
use chance::Chance;
use tasks::SyntheticTask;

/// How many numbers are made at a time.
const CHUNK_NUMBERS: usize = 1 << 18;
const MODEL_FOLDER: &str = "model";
const ADAPTERS_FOLDER: &str = "adapters";
const KINDS_FILE: &str = "kinds.tsv";
const INFERENCE_LABELS: [&str; 3] = ["entailment", "neutral", "contradiction"];

/// What to make.
#[derive(Debug, Clone)]
pub struct SynthOptions {
    /// The encoder's geometry.
    pub preset: Preset,
    /// Number of tasks, from 1 up.
    pub n_tasks: usize,
    /// [`Layout::OneFile`] or [`Layout::Adapters`].
    pub layout: Layout,
    /// Equal seeds make equal files.
    pub seed: u64,
    /// The folder to make; nothing may be there. Adapters get two folders in it, `model` and `adapters`.
    pub folder: PathBuf,
}

/// Where the parts of a synthetic checkpoint are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synthetic {
    /// The model's folder.
    pub model: PathBuf,
    /// The adapters' folder, in that layout.
    pub adapters: Option<PathBuf>,
    /// A table for [`ImportOptions::kinds_file`](crate::ImportOptions::kinds_file): what the files leave unsaid.
    pub kinds: PathBuf,
    /// Number of random weights in the encoder, heads not counted.
    pub parameters: u64,
}

/// Makes a checkpoint. On failure the folder is removed again.
///
/// # Errors
/// If something is in the way or the disk is full, or the layout has no tasks.
pub fn synth(options: &SynthOptions) -> Result<Synthetic, CheckpointError> {
    if options.n_tasks == 0 || !matches!(options.layout, Layout::OneFile | Layout::Adapters) {
        return Err(CheckpointError::UnknownLayout(
            "a synthetic checkpoint has tasks, in one file or as adapters".to_owned(),
        ));
    }
    if let Some(parent) = options.folder.parent() {
        fs::create_dir_all(parent).map_err(CheckpointError::io(parent))?;
    }
    fs::create_dir(&options.folder).map_err(CheckpointError::io(&options.folder))?;
    let made = write_all(options);
    if made.is_err() {
        fs::remove_dir_all(&options.folder).map_err(CheckpointError::io(&options.folder))?;
    }
    made
}

fn write_all(options: &SynthOptions) -> Result<Synthetic, CheckpointError> {
    let config = options.preset.config();
    let tasks = tasks::list(options.n_tasks, options.seed);
    let mut model_config = config.to_json();
    extend(&mut model_config, inference_keys());
    let one_file = options.layout == Layout::OneFile;
    let model = if one_file { options.folder.clone() } else { options.folder.join(MODEL_FOLDER) };
    fs::create_dir_all(&model).map_err(CheckpointError::io(&model))?;
    if one_file {
        extend(&mut model_config, tasks::config_keys(&tasks, config.hidden, false));
    }
    write_json(&model, "config.json", &model_config)?;
    let settings = json!({"model_max_length": config.max_positions, "tokenizer_class": "DebertaV2Tokenizer"});
    write_json(&model, "tokenizer_config.json", &settings)?;
    write_json(&model, "tokenizer.json", &vocabulary::tokenizer(config.vocabulary, options.seed))?;

    let kinds = options.folder.join(KINDS_FILE);
    fs::write(&kinds, tasks::kinds_table(&tasks)).map_err(CheckpointError::io(&kinds))?;

    let mut plan = planned(expected(&config, true));
    plan.extend(planned(vec![
        ("classifier.weight".to_owned(), vec![INFERENCE_LABELS.len(), config.hidden]),
        ("classifier.bias".to_owned(), vec![INFERENCE_LABELS.len()]),
    ]));
    let parameters = plan.iter().map(|tensor| tensor.bytes() / 4).sum();
    let heads = planned(tasks::tensors(&tasks, &config, if one_file { "Z.weight" } else { "Z" }));
    let mut adapters = None;
    if one_file {
        plan.extend(heads);
    } else {
        let folder = options.folder.join(ADAPTERS_FOLDER);
        fs::create_dir(&folder).map_err(CheckpointError::io(&folder))?;
        write_adapters(&folder, &config, &tasks, &heads, options.seed)?;
        adapters = Some(folder);
    }
    write_model(&model.join("model.safetensors"), &plan, &tasks, options.seed)?;
    Ok(Synthetic { model, adapters, kinds, parameters })
}

fn write_adapters(
    folder: &Path,
    config: &EncoderConfig,
    tasks: &[SyntheticTask],
    heads: &[PlannedTensor],
    seed: u64,
) -> Result<(), CheckpointError> {
    let mut keys = config.to_json();
    extend(&mut keys, tasks::config_keys(tasks, config.hidden, true));
    write_json(folder, "config.json", &keys)?;
    let path = folder.join("pytorch_model.bin");
    let written = File::create_new(&path).and_then(|file| {
        let mut archive = pickle_writer::Archive::begin(file, heads)?;
        for (index, tensor) in heads.iter().enumerate() {
            archive.begin_storage(index)?;
            numbers(tensor, &tasks::stream(&tensor.name, tasks), seed, |bytes| archive.write(bytes))?;
        }
        archive.finish()
    });
    written.map_err(CheckpointError::io(&path))
}

fn write_model(path: &Path, plan: &[PlannedTensor], tasks: &[SyntheticTask], seed: u64) -> Result<(), CheckpointError> {
    let written = File::create_new(path).and_then(|file| {
        let mut writer = TensorWriter::begin(file, plan)?;
        for tensor in plan {
            numbers(tensor, &tasks::stream(&tensor.name, tasks), seed, |bytes| writer.write(bytes))?;
        }
        writer.finish()
    });
    written.map(drop).map_err(CheckpointError::io(path))
}

/// Makes the numbers of `tensor` from the random stream `stream`, a piece at a time.
fn numbers(
    tensor: &PlannedTensor,
    stream: &str,
    seed: u64,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut chance = Chance::new(seed, stream);
    let (mean, deviation) = spread(tensor);
    let mut left = tensor.shape.iter().product::<usize>();
    let mut bytes = Vec::with_capacity(CHUNK_NUMBERS.min(left) * 4);
    while left > 0 {
        bytes.clear();
        for _ in 0..left.min(CHUNK_NUMBERS) {
            bytes.extend_from_slice(&(mean + chance.number(deviation)).to_le_bytes());
        }
        write(&bytes)?;
        left -= left.min(CHUNK_NUMBERS);
    }
    Ok(())
}

/// Mean and standard deviation that keep the activations of a random encoder in the range of a trained one, and every
/// bias away from zero.
fn spread(tensor: &PlannedTensor) -> (f32, f32) {
    let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
    match tensor.name.as_str() {
        name if name.ends_with("LayerNorm.weight") => (1.0, 0.1),
        name if name.ends_with("bias") => (0.0, 0.05),
        name if name.contains("embeddings") || name.starts_with('Z') => (0.0, 0.5),
        _ => (0.0, 1.0 / (columns as f32).sqrt()),
    }
}

fn planned(tensors: Vec<(String, Vec<usize>)>) -> Vec<PlannedTensor> {
    let plan = |(name, shape)| PlannedTensor { name, element: ElementType::F32, shape };
    tensors.into_iter().map(plan).collect()
}

fn inference_keys() -> Map<String, Value> {
    let names = INFERENCE_LABELS.iter().enumerate().map(|(index, label)| (index.to_string(), json!(label))).collect();
    let mut keys = Map::new();
    keys.insert("architectures".to_owned(), json!(["DebertaV2ForSequenceClassification"]));
    keys.insert("id2label".to_owned(), Value::Object(names));
    keys
}

fn extend(config: &mut Value, keys: Map<String, Value>) {
    if let Some(config) = config.as_object_mut() {
        config.extend(keys);
    }
}

fn write_json(folder: &Path, name: &str, value: &Value) -> Result<(), CheckpointError> {
    let path = folder.join(name);
    let text = serde_json::to_vec(value).map_err(|error| CheckpointError::json(name, error))?;
    fs::write(&path, text).map_err(CheckpointError::io(&path))
}
