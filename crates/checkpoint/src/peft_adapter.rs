//! A LoRA adapter as PEFT saves it: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! What is not in the tensors, or changes what they mean, is refused by the name of its key.

use std::collections::{BTreeMap, BTreeSet};

use engine::{HeadKind, LowRank, OwnPooler, Site};
use registry::linear_site;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::encoder_config::EncoderConfig;
use crate::error::CheckpointError;
use crate::folder::SourceFolder;
use crate::raw_head::{RawHead, read_linear};
use crate::tensor_file::TensorFile;
use crate::weights::Weights;

/// The file that says that a folder is an adapter.
pub(crate) const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";
const PICKLE: &str = "adapter_model.bin";
const MAX_CONFIG_BYTES: u64 = 4 << 20;
const MAX_TENSOR_BYTES: u64 = 4 << 30;
const PREFIX: &str = "base_model.model.";
const POOLER: &str = "pooler.dense";
const CLASSIFIER: &str = "classifier";

/// Keys that ask for something else than `x * Aᵀ * Bᵀ * scale` where they are set.
const UNSERVED: [&str; 19] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "corda_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "lora_ga_config",
    "megatron_config",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
    "loftq_config",
];
/// Ways to begin the training that leave the base model's weights as they are.
const PLAIN_BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

#[derive(Debug, Deserialize)]
struct Keys {
    peft_type: Option<String>,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    bias: Option<String>,
    task_type: Option<String>,
    modules_to_save: Option<Vec<String>>,
    init_lora_weights: Option<Value>,
    base_model_name_or_path: Option<String>,
}

/// An adapter's parts, and the classifier that was saved with it.
#[derive(Debug)]
pub(crate) struct PeftAdapter {
    pub(crate) parts: BTreeMap<(usize, Site), LowRank>,
    /// What is added to the pooler's weight.
    pub(crate) pooler_addition: Option<LowRank>,
    /// A pooler that was saved whole.
    pub(crate) pooler: Option<OwnPooler>,
    pub(crate) head: RawHead,
    /// What the adapter's own files say of the base model.
    pub(crate) base: Option<String>,
}

/// Whether `folder` holds an adapter.
pub(crate) fn is_adapter(folder: &SourceFolder) -> bool {
    folder.has(CONFIG)
}

/// Reads the adapter in `folder` for an encoder of configuration `encoder`.
///
/// # Errors
/// By name: a setting that is not served, a tensor of another module, or shapes that fit neither the rank nor the encoder.
pub(crate) fn read(folder: &SourceFolder, encoder: &EncoderConfig) -> Result<PeftAdapter, CheckpointError> {
    let keys = read_keys(folder)?;
    let scale =
        if keys.use_rslora { keys.lora_alpha / (keys.r as f64).sqrt() } else { keys.lora_alpha / keys.r as f64 };
    let hint = folder.has(PICKLE).then_some("save it with safe_serialization=True");
    let file = folder.file(TENSORS, MAX_TENSOR_BYTES)?.ok_or_else(|| folder.missing(TENSORS, hint))?;
    let weights = Weights::of_one_file(TensorFile::open(TENSORS, file)?, TENSORS);
    let modules = modules(&weights)?;
    let addition = |name: &str| read_addition(&weights, name, keys.r, scale);
    let mut parts = BTreeMap::new();
    let mut pooler_addition = None;
    for name in &modules {
        let part = addition(name)?;
        if name == POOLER {
            check_widths(name, &part, (encoder.hidden, encoder.hidden))?;
            pooler_addition = Some(part);
            continue;
        }
        let place = linear_site(name).filter(|(layer, _)| *layer < encoder.layers);
        let Some((layer, site)) = place else {
            let hint = Some("an adapter changes query_proj, key_proj, value_proj and the dense layers of the encoder");
            return Err(CheckpointError::UnexpectedTensor { name: format!("{PREFIX}{name}.lora_A.weight"), hint });
        };
        check_widths(name, &part, widths(site, encoder))?;
        parts.insert((layer, site), part);
    }
    let pooler = read_pooler(&weights, encoder.hidden)?;
    let mut head = read_linear(&weights, &format!("{PREFIX}{CLASSIFIER}"), encoder.hidden)?;
    head.said = kind(keys.task_type.as_deref(), head.bias.len())?;
    Ok(PeftAdapter { parts, pooler_addition, pooler, head, base: keys.base_model_name_or_path })
}

fn read_keys(folder: &SourceFolder) -> Result<Keys, CheckpointError> {
    let bytes = folder.required_bytes(CONFIG, MAX_CONFIG_BYTES, None)?;
    let all: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| CheckpointError::json(CONFIG, error))?;
    let keys: Keys = serde_json::from_slice(&bytes).map_err(|error| CheckpointError::json(CONFIG, error))?;
    let refuse = |key: &str, found: &str, expected: &str| {
        CheckpointError::json(CONFIG, format!("{key} is {found}, which is not served: {expected}"))
    };
    let kind = keys.peft_type.as_deref().unwrap_or("absent");
    if kind != "LORA" {
        return Err(refuse("peft_type", kind, "expected LORA"));
    }
    if keys.r == 0 || keys.r > engine::MAX_ADAPTER_RANK {
        return Err(refuse("r", &keys.r.to_string(), "expected 1 to 256"));
    }
    if !keys.lora_alpha.is_finite() {
        return Err(refuse("lora_alpha", "not finite", "expected a number"));
    }
    let bias = keys.bias.as_deref().unwrap_or("none");
    if bias != "none" {
        return Err(refuse("bias", bias, "expected none"));
    }
    if let Some(key) = UNSERVED.into_iter().find(|key| all.get(*key).is_some_and(is_set)) {
        let found: String = all.get(key).map(Value::to_string).unwrap_or_default().chars().take(60).collect();
        return Err(refuse(key, &found, "it must not be set"));
    }
    match &keys.init_lora_weights {
        None | Some(Value::Null | Value::Bool(_)) => {}
        Some(Value::String(name)) if PLAIN_BEGINNINGS.contains(&name.to_lowercase().as_str()) => {}
        Some(other) => {
            let expected = "such a beginning changes the base model, and the adapter fits the changed one alone";
            return Err(refuse("init_lora_weights", &other.to_string(), expected));
        }
    }
    let known = |name: &&String| !["classifier", "score", "pooler", "pooler.dense"].contains(&name.as_str());
    if let Some(name) = keys.modules_to_save.iter().flatten().find(known) {
        return Err(refuse("modules_to_save", name, "expected classifier and pooler alone"));
    }
    Ok(keys)
}

/// Whether a setting is more than absent, empty or off.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

/// The modules with an addition, by their names in a bundle. Every tensor must belong to one of them, to the classifier
/// or to the pooler.
fn modules(weights: &Weights) -> Result<BTreeSet<String>, CheckpointError> {
    let mut modules = BTreeSet::new();
    for name in weights.names() {
        let inside = name.strip_prefix(PREFIX).unwrap_or(name);
        let module = inside.strip_suffix(".lora_A.weight").or_else(|| inside.strip_suffix(".lora_B.weight"));
        let saved = [CLASSIFIER, POOLER]
            .iter()
            .any(|module| inside.strip_prefix(module).is_some_and(|part| part == ".weight" || part == ".bias"));
        match module {
            Some(module) if name.starts_with(PREFIX) => drop(modules.insert(module.to_owned())),
            None if saved && name.starts_with(PREFIX) => {}
            Some(_) | None => {
                let hint = Some("an adapter holds lora_A, lora_B, a classifier and a pooler");
                return Err(CheckpointError::UnexpectedTensor { name: name.to_owned(), hint });
            }
        }
    }
    Ok(modules)
}

/// The addition to `module`, with the scale in its upper half.
fn read_addition(weights: &Weights, module: &str, rank: usize, scale: f64) -> Result<LowRank, CheckpointError> {
    let read = |half: &str, rank_at: usize| -> Result<Vec<f32>, CheckpointError> {
        let name = format!("{PREFIX}{module}.lora_{half}.weight");
        let shape = &weights.entry(&name)?.shape;
        if shape.len() != 2 || shape.get(rank_at) != Some(&rank) {
            let expected = format!("two dimensions, {rank} by adapter_config.json");
            return Err(CheckpointError::BadShape { name, found: shape.clone(), expected });
        }
        weights.numbers(&name)
    };
    let (down, mut up) = (read("A", 0)?, read("B", 1)?);
    up.iter_mut().for_each(|number| *number = (f64::from(*number) * scale) as f32);
    Ok(LowRank::new(rank, down.into(), up.into()))
}

fn widths(site: Site, encoder: &EncoderConfig) -> (usize, usize) {
    match site {
        Site::Query | Site::Key | Site::Value | Site::AttentionOutput => (encoder.hidden, encoder.hidden),
        Site::Intermediate => (encoder.hidden, encoder.intermediate),
        Site::Output => (encoder.intermediate, encoder.hidden),
    }
}

fn check_widths(module: &str, part: &LowRank, (inputs, outputs): (usize, usize)) -> Result<(), CheckpointError> {
    if (part.inputs(), part.outputs()) == (inputs, outputs) {
        return Ok(());
    }
    Err(CheckpointError::BadShape {
        name: format!("{PREFIX}{module}.lora_A and lora_B"),
        found: vec![part.outputs(), part.inputs()],
        expected: format!("[{outputs}, {inputs}] between them, as the encoder has"),
    })
}

fn read_pooler(weights: &Weights, hidden: usize) -> Result<Option<OwnPooler>, CheckpointError> {
    let name = |part: &str| format!("{PREFIX}{POOLER}.{part}");
    if weights.entry(&name("weight")).is_err() && weights.entry(&name("bias")).is_err() {
        return Ok(None);
    }
    let read = |part: &str, shape: &[usize]| {
        let entry = weights.entry(&name(part))?;
        if entry.shape != shape {
            let expected = format!("{shape:?}, as the encoder has");
            return Err(CheckpointError::BadShape { name: name(part), found: entry.shape.clone(), expected });
        }
        weights.numbers(&name(part))
    };
    Ok(Some(OwnPooler { weight: read("weight", &[hidden, hidden])?.into(), bias: read("bias", &[hidden])?.into() }))
}

fn kind(task_type: Option<&str>, outputs: usize) -> Result<Option<(HeadKind, &'static str)>, CheckpointError> {
    match task_type {
        Some("SEQ_CLS") if outputs == 1 => Ok(Some((HeadKind::Regression, "task_type, one output"))),
        Some("SEQ_CLS") => Ok(Some((HeadKind::Classification, "task_type"))),
        Some("TOKEN_CLS") => Ok(Some((HeadKind::TokenClassification, "task_type"))),
        None => Ok(None),
        Some(other) => {
            let reason = format!("task_type is {other}, expected SEQ_CLS or TOKEN_CLS");
            Err(CheckpointError::json(CONFIG, reason))
        }
    }
}
