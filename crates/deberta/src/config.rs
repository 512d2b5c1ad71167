//! `config.json` of a DeBERTa v2 or v3 checkpoint, parsed once into values that cannot be wrong.

use std::path::Path;

use serde::Deserialize;

use crate::activation::Activation;
use crate::error::LoadError;

/// No dimension of a real encoder comes near it; below it no product of two overflows.
const MAX_DIMENSION: i64 = 1 << 24;

/// The geometry of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) vocabulary: i64,
    pub(crate) hidden: i64,
    pub(crate) embedding: i64,
    pub(crate) layers: i64,
    pub(crate) heads: i64,
    pub(crate) head_size: i64,
    pub(crate) intermediate: i64,
    pub(crate) activation: Activation,
    pub(crate) pooler_activation: Activation,
    pub(crate) layer_norm_eps: f64,
    /// Rows of the absolute position table, where absolute positions are added to the input.
    pub(crate) absolute_positions: Option<i64>,
    /// Rows of the token type table; 0 means that types are ignored.
    pub(crate) token_types: i64,
    /// `max_position_embeddings`, whether or not absolute positions are in use.
    pub(crate) max_position_embeddings: i64,
    pub(crate) content_to_position: bool,
    pub(crate) position_to_content: bool,
    pub(crate) relative: Option<Relative>,
    /// Whether `encoder.LayerNorm` exists: over the relative embeddings, if there are any.
    pub(crate) norm_relative: bool,
    pub(crate) convolution: Option<Convolution>,
}

/// How distances between tokens become rows of `rel_embeddings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relative {
    /// Distances in use on each side; the table has twice as many rows.
    pub(crate) span: i64,
    /// Logarithmic buckets instead of plain distances, if above 0.
    pub(crate) buckets: i64,
    /// Distance at which the logarithmic buckets end.
    pub(crate) max_distance: i64,
    /// Whether positions go through the content's query and key projections.
    pub(crate) shared: bool,
}

/// The convolution beside the first layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Convolution {
    pub(crate) kernel: i64,
    pub(crate) groups: i64,
    pub(crate) activation: Activation,
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

impl Config {
    /// Reads `config.json` in `encoder_dir`.
    pub(crate) fn open(encoder_dir: &Path) -> Result<Self, LoadError> {
        let path = encoder_dir.join("config.json");
        let text = std::fs::read(&path).map_err(|source| LoadError::Read { path, source })?;
        Self::parse(&text)
    }

    /// Parses the bytes of `config.json`.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, LoadError> {
        let keys: Keys =
            serde_json::from_slice(text).map_err(|source| LoadError::Json { file: "config.json", source })?;
        if let Some(other) = keys.model_type.as_deref().filter(|name| *name != "deberta-v2") {
            return refuse("model_type", format!("{other:?} is not deberta-v2"));
        }
        let hidden = required("hidden_size", keys.hidden_size)?;
        let heads = required("num_attention_heads", keys.num_attention_heads)?;
        let max_position_embeddings =
            dimension("max_position_embeddings", keys.max_position_embeddings.unwrap_or(512))?;
        if hidden % heads != 0 {
            return refuse("num_attention_heads", format!("{heads} heads do not divide a hidden size of {hidden}"));
        }
        let head_size = dimension("attention_head_size", keys.attention_head_size.unwrap_or(hidden / heads))?;
        if head_size * heads != hidden {
            return refuse("attention_head_size", format!("{heads} heads of {head_size} are not {hidden}"));
        }
        if keys.pooler_hidden_size.is_some_and(|size| size != hidden) {
            return refuse("pooler_hidden_size", format!("the pooler reads vectors of hidden_size {hidden}"));
        }
        let layer_norm_eps = keys.layer_norm_eps.unwrap_or(1e-7);
        if !(layer_norm_eps.is_finite() && layer_norm_eps >= 0.0) {
            return refuse("layer_norm_eps", format!("{layer_norm_eps} is not a small positive number"));
        }
        let token_types = keys.type_vocab_size.unwrap_or(0);
        let position_terms = position_terms(keys.pos_att_type.as_ref())?;
        Ok(Self {
            vocabulary: required("vocab_size", keys.vocab_size)?,
            hidden,
            embedding: dimension("embedding_size", keys.embedding_size.unwrap_or(hidden))?,
            layers: required("num_hidden_layers", keys.num_hidden_layers)?,
            heads,
            head_size,
            intermediate: required("intermediate_size", keys.intermediate_size)?,
            activation: activation("hidden_act", keys.hidden_act.as_deref().unwrap_or("gelu"))?,
            pooler_activation: activation("pooler_hidden_act", keys.pooler_hidden_act.as_deref().unwrap_or("gelu"))?,
            layer_norm_eps,
            absolute_positions: keys.position_biased_input.unwrap_or(true).then_some(max_position_embeddings),
            token_types: if token_types == 0 { 0 } else { dimension("type_vocab_size", token_types)? },
            max_position_embeddings,
            content_to_position: position_terms.contains(&"c2p"),
            position_to_content: position_terms.contains(&"p2c"),
            relative: relative(&keys, max_position_embeddings)?,
            norm_relative: norm_relative(keys.norm_rel_ebd.as_deref())?,
            convolution: convolution(&keys, hidden)?,
        })
    }

    /// What the scores are divided by: the square root of the head size times the number of terms in a score.
    /// The terms of `pos_att_type` count even where relative attention is off, as in the reference.
    pub(crate) fn score_scale(&self) -> f64 {
        let terms = 1 + i64::from(self.content_to_position) + i64::from(self.position_to_content);
        #[expect(clippy::cast_precision_loss, reason = "a head size times three is far below 2^24")]
        let scale = ((self.head_size * terms) as f32).sqrt();
        f64::from(scale)
    }
}

fn relative(keys: &Keys, max_position_embeddings: i64) -> Result<Option<Relative>, LoadError> {
    if !keys.relative_attention.unwrap_or(false) {
        return Ok(None);
    }
    let asked = keys.max_relative_positions.unwrap_or(-1);
    let max_distance = if asked < 1 { max_position_embeddings } else { dimension("max_relative_positions", asked)? };
    let buckets = keys.position_buckets.unwrap_or(-1);
    let span = if buckets > 0 { dimension("position_buckets", buckets)? } else { max_distance };
    if buckets == 1 || (buckets > 0 && max_distance == buckets / 2 + 1) {
        let reason = format!("{buckets} buckets up to distance {max_distance} make the reference divide by zero");
        return refuse("position_buckets", reason);
    }
    Ok(Some(Relative { span, buckets, max_distance, shared: keys.share_att_key.unwrap_or(false) }))
}

fn convolution(keys: &Keys, hidden: i64) -> Result<Option<Convolution>, LoadError> {
    let kernel = keys.conv_kernel_size.unwrap_or(0);
    if kernel <= 0 {
        return Ok(None);
    }
    if kernel % 2 == 0 || kernel > MAX_DIMENSION {
        return refuse("conv_kernel_size", format!("{kernel} would change the sequence's length: it must be odd"));
    }
    let groups = dimension("conv_groups", keys.conv_groups.unwrap_or(1))?;
    if hidden % groups != 0 {
        return refuse("conv_groups", format!("{groups} groups do not divide a hidden size of {hidden}"));
    }
    let activation = activation("conv_act", keys.conv_act.as_deref().unwrap_or("tanh"))?;
    Ok(Some(Convolution { kernel, groups, activation }))
}

fn position_terms(value: Option<&OneOrMany>) -> Result<Vec<&'static str>, LoadError> {
    let lower;
    let names: Vec<&str> = match value {
        None => Vec::new(),
        Some(OneOrMany::One(joined)) => {
            lower = joined.to_lowercase();
            lower.split('|').map(str::trim).collect()
        }
        Some(OneOrMany::Many(names)) => names.iter().map(String::as_str).collect(),
    };
    let mut terms = Vec::new();
    for name in names {
        match name {
            "" | "none" => {}
            "c2p" => terms.push("c2p"),
            "p2c" => terms.push("p2c"),
            other => return refuse("pos_att_type", format!("{other:?} is neither c2p nor p2c")),
        }
    }
    Ok(terms)
}

fn norm_relative(value: Option<&str>) -> Result<bool, LoadError> {
    let mut normed = false;
    for name in value.unwrap_or("none").to_lowercase().split('|').map(str::trim) {
        match name {
            "layer_norm" => normed = true,
            "" | "none" => {}
            other => return refuse("norm_rel_ebd", format!("{other:?} is neither layer_norm nor none")),
        }
    }
    Ok(normed)
}

fn activation(key: &'static str, name: &str) -> Result<Activation, LoadError> {
    Activation::named(name).map_or_else(|| refuse(key, format!("{name:?} is not a known activation")), Ok)
}

fn required(key: &'static str, value: Option<i64>) -> Result<i64, LoadError> {
    value.map_or_else(|| refuse(key, "is missing".to_owned()), |value| dimension(key, value))
}

fn dimension(key: &'static str, value: i64) -> Result<i64, LoadError> {
    if (1..=MAX_DIMENSION).contains(&value) {
        return Ok(value);
    }
    refuse(key, format!("{value} is not between 1 and {MAX_DIMENSION}"))
}

fn refuse<T>(key: &'static str, reason: String) -> Result<T, LoadError> {
    Err(LoadError::Config { key, reason })
}

#[cfg(test)]
mod tests;
