//! Which tensors an encoder has, what each is called, and the copying of them into a bundle.

use std::collections::BTreeMap;
use std::fs::File;

use registry::ElementType;

use crate::encoder_config::EncoderConfig;
use crate::error::CheckpointError;
use crate::tensor_file::{as_f32, bad_element};
use crate::tensor_writer::{PlannedTensor, TensorWriter};
use crate::weights::Weights;

/// How much is copied at a time; a multiple of every element size.
const CHUNK_BYTES: usize = 4 << 20;
const PREFIX: &str = "deberta.";
const POOLER: &str = "pooler.dense.";

/// What a tensor of a checkpoint is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// Part of the encoder or its pooler, under its name in a bundle.
    Encoder(String),
    /// Left over from pre-training, or bookkeeping: passed over.
    Ignored,
    /// Something else: a head, a task embedding, or a mistake.
    Other,
}

/// Whether the tensor called `bundled` in a bundle is part of the pooler.
pub(crate) fn is_of_pooler(bundled: &str) -> bool {
    bundled.starts_with(POOLER)
}

/// What the tensor `name` is for in a checkpoint of `config`.
///
/// # Errors
/// [`CheckpointError::UnexpectedTensor`] for the names of DeBERTa's first version.
pub(crate) fn role(name: &str, config: &EncoderConfig) -> Result<Role, CheckpointError> {
    const OLD_PARTS: [&str; 5] = ["in_proj", "q_bias", "v_bias", "pos_proj", "pos_q_proj"];
    if name.split('.').any(|part| OLD_PARTS.contains(&part)) {
        let hint = Some("this is the first version of DeBERTa; v2 and v3 are read");
        return Err(CheckpointError::UnexpectedTensor { name: name.to_owned(), hint });
    }
    let bare = name.strip_prefix(PREFIX).unwrap_or(name);
    let ignored = bare == "embeddings.position_ids"
        || (bare == "embeddings.position_embeddings.weight" && !config.position_biased_input)
        || (bare.starts_with("encoder.LayerNorm.") && !config.relative_attention)
        || ["lm_predictions.", "mask_predictions.", "cls."].iter().any(|junk| bare.starts_with(junk));
    if ignored {
        return Ok(Role::Ignored);
    }
    let current = match bare.rsplit_once('.') {
        Some((module, "gamma")) => format!("{module}.weight"),
        Some((module, "beta")) => format!("{module}.bias"),
        Some(_) | None => bare.to_owned(),
    };
    Ok(if current.starts_with(POOLER) {
        Role::Encoder(current)
    } else if current.starts_with("embeddings.") || current.starts_with("encoder.") {
        Role::Encoder(format!("{PREFIX}{current}"))
    } else {
        Role::Other
    })
}

/// Names and shapes of every tensor of the encoder, in the order in which a bundle holds them.
pub(crate) fn expected(config: &EncoderConfig, has_pooler: bool) -> Vec<(String, Vec<usize>)> {
    let mut list = Expected::default();
    let (hidden, embedding) = (config.hidden, config.embedding);
    list.add("deberta.embeddings.word_embeddings.weight", &[config.vocabulary, embedding]);
    if config.position_biased_input {
        list.add("deberta.embeddings.position_embeddings.weight", &[config.max_positions, embedding]);
    }
    if config.token_types > 0 {
        list.add("deberta.embeddings.token_type_embeddings.weight", &[config.token_types, embedding]);
    }
    if embedding != hidden {
        list.add("deberta.embeddings.embed_proj.weight", &[hidden, embedding]);
    }
    list.pair("deberta.embeddings.LayerNorm", &[hidden]);
    if config.relative_attention {
        list.add("deberta.encoder.rel_embeddings.weight", &[2 * config.span(), hidden]);
        if config.norm_relative {
            list.pair("deberta.encoder.LayerNorm", &[hidden]);
        }
    }
    if let Some(convolution) = &config.convolution {
        list.pair("deberta.encoder.conv.conv", &[hidden, hidden / convolution.groups, convolution.kernel]);
        list.pair("deberta.encoder.conv.LayerNorm", &[hidden]);
    }
    let own_positions = config.relative_attention && !config.share_att_key;
    for layer in 0..config.layers {
        let layer = format!("deberta.encoder.layer.{layer}");
        for projection in ["query_proj", "key_proj", "value_proj"] {
            list.pair(&format!("{layer}.attention.self.{projection}"), &[hidden, hidden]);
        }
        if own_positions && config.content_to_position {
            list.pair(&format!("{layer}.attention.self.pos_key_proj"), &[hidden, hidden]);
        }
        if own_positions && config.position_to_content {
            list.pair(&format!("{layer}.attention.self.pos_query_proj"), &[hidden, hidden]);
        }
        list.pair(&format!("{layer}.attention.output.dense"), &[hidden, hidden]);
        list.pair(&format!("{layer}.attention.output.LayerNorm"), &[hidden]);
        list.pair(&format!("{layer}.intermediate.dense"), &[config.intermediate, hidden]);
        list.pair(&format!("{layer}.output.dense"), &[hidden, config.intermediate]);
        list.pair(&format!("{layer}.output.LayerNorm"), &[hidden]);
    }
    if has_pooler {
        list.pair("pooler.dense", &[hidden, hidden]);
    }
    list.0
}

#[derive(Default)]
struct Expected(Vec<(String, Vec<usize>)>);

impl Expected {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.push((name.to_owned(), shape.to_vec()));
    }

    /// A weight of `shape` and the bias that belongs to it.
    fn pair(&mut self, module: &str, shape: &[usize]) {
        self.add(&format!("{module}.weight"), shape);
        self.add(&format!("{module}.bias"), shape.get(..1).unwrap_or_default());
    }
}

/// The encoder of a checkpoint: every tensor found under its name, nothing missing, every shape as it must be.
#[derive(Debug)]
pub(crate) struct EncoderTensors {
    /// Name in the bundle, name in the source, shape.
    tensors: Vec<(String, String, Vec<usize>)>,
    /// Whether sequence heads can be served.
    pub(crate) has_pooler: bool,
}

impl EncoderTensors {
    /// Finds the encoder in `weights`. Gives back the names that are something else as well.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected within the encoder, of another shape, or there under two names.
    pub(crate) fn find(weights: &Weights, config: &EncoderConfig) -> Result<(Self, Vec<String>), CheckpointError> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        let mut others = Vec::new();
        for name in weights.names() {
            match role(name, config)? {
                Role::Encoder(bundled) => {
                    if let Some(twin) = found.insert(bundled, name.to_owned()) {
                        let hint = Some("it is there under an older name as well");
                        return Err(CheckpointError::UnexpectedTensor { name: twin, hint });
                    }
                }
                Role::Ignored => {}
                Role::Other => others.push(name.to_owned()),
            }
        }
        let has_pooler = found.keys().any(|name| name.starts_with(POOLER));
        let mut tensors = Vec::new();
        for (bundled, shape) in expected(config, has_pooler) {
            let source = found.remove(&bundled).ok_or(CheckpointError::MissingTensor { name: bundled.clone() })?;
            let entry = weights.entry(&source)?;
            if entry.shape != shape {
                let expected = format!("{shape:?} by config.json");
                return Err(CheckpointError::BadShape { name: source, found: entry.shape.clone(), expected });
            }
            if as_f32(&[], entry.element).is_none() {
                return Err(bad_element(entry));
            }
            tensors.push((bundled, source, shape));
        }
        match found.into_values().next() {
            Some(name) => {
                Err(CheckpointError::UnexpectedTensor { name, hint: Some("config.json does not call for it") })
            }
            None => Ok((Self { tensors, has_pooler }, others)),
        }
    }

    /// Every tensor's name in a bundle, and in the source.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tensors.iter().map(|(bundled, source, _)| (bundled.as_str(), source.as_str()))
    }

    /// The name in the source of what is called `bundled` in a bundle.
    pub(crate) fn source_of(&self, bundled: &str) -> Option<&str> {
        self.sources().find(|(name, _)| *name == bundled).map(|(_, source)| source)
    }

    /// Copies every tensor to `file`, in its own element type (64-bit numbers become 32-bit).
    ///
    /// # Errors
    /// If reading or writing fails, or a number is not finite.
    pub(crate) fn copy(&self, weights: &Weights, file: File) -> Result<(), CheckpointError> {
        let mut plan = Vec::with_capacity(self.tensors.len());
        for (bundled, source, shape) in &self.tensors {
            let element = weights.entry(source)?.element;
            let element = if element == ElementType::F64 { ElementType::F32 } else { element };
            plan.push(PlannedTensor { name: bundled.clone(), element, shape: shape.clone() });
        }
        let failed = || CheckpointError::io("model.safetensors");
        let mut writer = TensorWriter::begin(file, &plan).map_err(failed())?;
        for (_, source, _) in &self.tensors {
            copy_one(weights, source, &mut writer)?;
        }
        writer.finish().map_err(failed())?;
        Ok(())
    }
}

fn copy_one(weights: &Weights, name: &str, writer: &mut TensorWriter<File>) -> Result<(), CheckpointError> {
    let entry = weights.entry(name)?;
    let total = (entry.bytes.end - entry.bytes.start) as usize;
    let mut chunk = vec![0; CHUNK_BYTES.min(total)];
    let mut done = 0;
    while done < total {
        let length = chunk.len().min(total - done);
        let part = chunk.get_mut(..length).unwrap_or_default();
        weights.read_at(name, done as u64, part)?;
        let numbers = as_f32(part, entry.element).ok_or_else(|| bad_element(entry))?;
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(CheckpointError::NotFinite { name: name.to_owned() });
        }
        let written = if entry.element == ElementType::F64 {
            writer.write(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
        } else {
            writer.write(part)
        };
        written.map_err(CheckpointError::io("model.safetensors"))?;
        done += length;
    }
    Ok(())
}
