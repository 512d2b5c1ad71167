//! The encoder's part of `config.json`: read with the defaults of the published code, refused where it asks for
//! something that is not served, and written out complete.

#[cfg(test)]
mod tests;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::CheckpointError;

/// No dimension of a real encoder comes near it; below it no product of two overflows.
const MAX_DIMENSION: usize = 1 << 24;
/// A file of tensors cannot hold more layers than this.
const MAX_LAYERS: i64 = 1_024;
const ACTIVATIONS: [&str; 12] = [
    "gelu",
    "gelu_python",
    "gelu_new",
    "gelu_pytorch_tanh",
    "gelu_fast",
    "gelu_accurate",
    "relu",
    "silu",
    "swish",
    "sigmoid",
    "tanh",
    "linear",
];

/// Everything that decides which tensors an encoder has and what is done with them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EncoderConfig {
    pub(crate) vocabulary: usize,
    pub(crate) hidden: usize,
    pub(crate) embedding: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) intermediate: usize,
    pub(crate) activation: String,
    pub(crate) pooler_activation: String,
    pub(crate) layer_norm_eps: f64,
    pub(crate) max_positions: usize,
    pub(crate) position_biased_input: bool,
    pub(crate) token_types: usize,
    pub(crate) relative_attention: bool,
    pub(crate) content_to_position: bool,
    pub(crate) position_to_content: bool,
    pub(crate) share_att_key: bool,
    /// As written: below 1 means `max_positions`.
    pub(crate) max_relative_positions: i64,
    /// As written: below 1 means plain distances.
    pub(crate) position_buckets: i64,
    pub(crate) norm_relative: bool,
    pub(crate) convolution: Option<Convolution>,
}

/// The convolution beside the first layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Convolution {
    pub(crate) kernel: usize,
    pub(crate) groups: usize,
    pub(crate) activation: String,
}

/// The keys as they stand in the file; absent and null are the same.
#[derive(Debug, Default, Deserialize)]
struct Keys {
    model_type: Option<String>,
    vocab_size: Option<i64>,
    hidden_size: Option<i64>,
    embedding_size: Option<i64>,
    num_hidden_layers: Option<i64>,
    num_attention_heads: Option<i64>,
    attention_head_size: Option<i64>,
    intermediate_size: Option<i64>,
    hidden_act: Option<String>,
    pooler_hidden_act: Option<String>,
    pooler_hidden_size: Option<i64>,
    layer_norm_eps: Option<f64>,
    max_position_embeddings: Option<i64>,
    position_biased_input: Option<bool>,
    type_vocab_size: Option<i64>,
    relative_attention: Option<bool>,
    pos_att_type: Option<OneOrMany>,
    share_att_key: Option<bool>,
    max_relative_positions: Option<i64>,
    position_buckets: Option<i64>,
    norm_rel_ebd: Option<String>,
    conv_kernel_size: Option<i64>,
    conv_groups: Option<i64>,
    conv_act: Option<String>,
}

/// `"p2c|c2p"` or `["p2c", "c2p"]`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl EncoderConfig {
    /// Parses a whole `config.json`, whatever else stands in it.
    ///
    /// # Errors
    /// [`CheckpointError::BadJson`] or [`CheckpointError::BadConfig`], naming the key.
    pub(crate) fn parse(config: &Value) -> Result<Self, CheckpointError> {
        let keys = Keys::deserialize(config).map_err(|error| CheckpointError::json("config.json", error))?;
        if let Some(other) = keys.model_type.as_deref().filter(|name| *name != "deberta-v2") {
            return Err(refuse("model_type", other, "expected deberta-v2 (the name of v2 and v3 alike)"));
        }
        let hidden = dimension("hidden_size", keys.hidden_size.unwrap_or(1536))?;
        let heads = dimension("num_attention_heads", keys.num_attention_heads.unwrap_or(24))?;
        if !hidden.is_multiple_of(heads) {
            return Err(refuse("num_attention_heads", heads, "which does not divide hidden_size"));
        }
        let same_as_hidden = |key, value: Option<i64>, product: usize, expected| match value {
            Some(size) if usize::try_from(size).ok().and_then(|size| size.checked_mul(product)) != Some(hidden) => {
                Err(refuse(key, size, expected))
            }
            Some(_) | None => Ok(()),
        };
        let expected = "expected hidden_size divided by num_attention_heads";
        same_as_hidden("attention_head_size", keys.attention_head_size, heads, expected)?;
        same_as_hidden("pooler_hidden_size", keys.pooler_hidden_size, 1, "expected hidden_size")?;
        let layer_norm_eps = keys.layer_norm_eps.unwrap_or(1e-7);
        if !(layer_norm_eps.is_finite() && layer_norm_eps >= 0.0) {
            return Err(refuse("layer_norm_eps", layer_norm_eps, "expected a small positive number"));
        }
        let token_types = keys.type_vocab_size.unwrap_or(0);
        let (content_to_position, position_to_content) = position_terms(keys.pos_att_type.as_ref())?;
        let norm_relative = norm_relative(keys.norm_rel_ebd.as_deref())?;
        let max_relative_positions = keys.max_relative_positions.unwrap_or(-1);
        let position_buckets = keys.position_buckets.unwrap_or(-1);
        for (key, size) in [("max_relative_positions", max_relative_positions), ("position_buckets", position_buckets)]
        {
            dimension(key, size.max(1))?;
        }
        let n_layers = keys.num_hidden_layers.unwrap_or(24);
        if n_layers > MAX_LAYERS {
            return Err(refuse("num_hidden_layers", n_layers, "expected at most 1024"));
        }
        let max_positions = dimension("max_position_embeddings", keys.max_position_embeddings.unwrap_or(512))?;
        let farthest = usize::try_from(max_relative_positions).ok().filter(|size| *size > 0).unwrap_or(max_positions);
        let buckets = usize::try_from(position_buckets).unwrap_or(0);
        if buckets == 1 || (buckets > 0 && farthest == buckets / 2 + 1) {
            return Err(refuse("position_buckets", buckets, "which makes the distance formula divide by zero"));
        }
        Ok(Self {
            vocabulary: dimension("vocab_size", keys.vocab_size.unwrap_or(128_100))?,
            hidden,
            embedding: keys.embedding_size.map_or(Ok(hidden), |size| dimension("embedding_size", size))?,
            layers: dimension("num_hidden_layers", n_layers)?,
            heads,
            intermediate: dimension("intermediate_size", keys.intermediate_size.unwrap_or(6144))?,
            activation: activation("hidden_act", keys.hidden_act)?,
            pooler_activation: activation("pooler_hidden_act", keys.pooler_hidden_act)?,
            layer_norm_eps,
            max_positions,
            position_biased_input: keys.position_biased_input.unwrap_or(true),
            token_types: if token_types == 0 { 0 } else { dimension("type_vocab_size", token_types)? },
            relative_attention: keys.relative_attention.unwrap_or(false),
            content_to_position,
            position_to_content,
            share_att_key: keys.share_att_key.unwrap_or(false),
            max_relative_positions,
            position_buckets,
            norm_relative,
            convolution: convolution(keys.conv_kernel_size, keys.conv_groups, keys.conv_act, hidden)?,
        })
    }

    /// Distances in use on each side; `rel_embeddings` has twice as many rows.
    pub(crate) fn span(&self) -> usize {
        let positive = |size: i64| usize::try_from(size).ok().filter(|size| *size > 0);
        positive(self.position_buckets).or_else(|| positive(self.max_relative_positions)).unwrap_or(self.max_positions)
    }

    /// The configuration as a file, every key spelt out, so that one encoder has one text wherever it came from.
    pub(crate) fn to_json(&self) -> Value {
        let terms = [(self.position_to_content, "p2c"), (self.content_to_position, "c2p")];
        let terms: Vec<&str> = terms.iter().filter(|(used, _)| *used).map(|(_, name)| *name).collect();
        let mut config = json!({
            "model_type": "deberta-v2",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "embedding_size": self.embedding,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "attention_head_size": self.hidden / self.heads,
            "intermediate_size": self.intermediate,
            "hidden_act": self.activation,
            "pooler_hidden_act": self.pooler_activation,
            "pooler_hidden_size": self.hidden,
            "layer_norm_eps": self.layer_norm_eps,
            "max_position_embeddings": self.max_positions,
            "position_biased_input": self.position_biased_input,
            "type_vocab_size": self.token_types,
            "relative_attention": self.relative_attention,
            "pos_att_type": terms,
            "share_att_key": self.share_att_key,
            "max_relative_positions": self.max_relative_positions,
            "position_buckets": self.position_buckets,
            // Without relative attention the reference still keeps a LayerNorm that normalises nothing.
            "norm_rel_ebd": if self.norm_relative && self.relative_attention { "layer_norm" } else { "none" },
        });
        if let (Some(convolution), Some(keys)) = (&self.convolution, config.as_object_mut()) {
            keys.insert("conv_kernel_size".to_owned(), json!(convolution.kernel));
            keys.insert("conv_groups".to_owned(), json!(convolution.groups));
            keys.insert("conv_act".to_owned(), json!(convolution.activation));
        }
        config
    }
}

fn refuse(key: &'static str, value: impl ToString, expected: &'static str) -> CheckpointError {
    CheckpointError::BadConfig { key, value: value.to_string().chars().take(100).collect(), expected }
}

fn dimension(key: &'static str, value: i64) -> Result<usize, CheckpointError> {
    let size = usize::try_from(value).ok().filter(|size| (1..=MAX_DIMENSION).contains(size));
    size.ok_or_else(|| refuse(key, value, "expected a size from 1 to 16777216"))
}

fn activation(key: &'static str, name: Option<String>) -> Result<String, CheckpointError> {
    let name = name.unwrap_or_else(|| "gelu".to_owned());
    if ACTIVATIONS.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(refuse(key, name, "which is not a known activation"))
}

fn position_terms(value: Option<&OneOrMany>) -> Result<(bool, bool), CheckpointError> {
    let names: Vec<String> = match value {
        None => Vec::new(),
        Some(OneOrMany::One(joined)) => joined.to_lowercase().split('|').map(|name| name.trim().to_owned()).collect(),
        Some(OneOrMany::Many(names)) => names.clone(),
    };
    let unknown = |name: &&String| !["", "none", "c2p", "p2c"].contains(&name.as_str());
    if let Some(name) = names.iter().find(unknown) {
        return Err(refuse("pos_att_type", name, "expected c2p, p2c or both"));
    }
    let has = |term: &str| names.iter().any(|name| name == term);
    Ok((has("c2p"), has("p2c")))
}

fn norm_relative(value: Option<&str>) -> Result<bool, CheckpointError> {
    let lower = value.unwrap_or("none").to_lowercase();
    let names: Vec<&str> = lower.split('|').map(str::trim).collect();
    match names.iter().find(|name| !["", "none", "layer_norm"].contains(name)) {
        Some(name) => Err(refuse("norm_rel_ebd", name, "expected layer_norm or none")),
        None => Ok(names.contains(&"layer_norm")),
    }
}

fn convolution(
    kernel: Option<i64>,
    groups: Option<i64>,
    name: Option<String>,
    hidden: usize,
) -> Result<Option<Convolution>, CheckpointError> {
    let Some(kernel) = kernel.filter(|kernel| *kernel > 0) else { return Ok(None) };
    if kernel % 2 == 0 {
        return Err(refuse("conv_kernel_size", kernel, "which would change the sequence's length; it must be odd"));
    }
    let kernel = dimension("conv_kernel_size", kernel)?;
    let groups = dimension("conv_groups", groups.unwrap_or(1))?;
    if !hidden.is_multiple_of(groups) {
        return Err(refuse("conv_groups", groups, "which does not divide hidden_size"));
    }
    let activation = activation("conv_act", Some(name.unwrap_or_else(|| "tanh".to_owned())))?;
    Ok(Some(Convolution { kernel, groups, activation }))
}
