//! An encoder's tensors, taken from its file one by one and packed as they come.

use kernels::{
    Activation as KernelActivation, Builder, Dense, EmbeddingArrays, Geometry, Instructions, PackedLayer, Scaling,
    Table,
};
use tch::Tensor;

use super::unavailable;
use crate::activation::Activation;
use crate::config::Config;
use crate::encoder::relative_rows;
use crate::error::LoadError;
use crate::shim::give_back_memory;
use crate::tensors::unsigned;
use crate::weights::Weights;

/// Bare encoders and token classifiers do without.
pub(super) fn has_pooler(weights: &Weights) -> bool {
    weights.has("pooler.dense.weight") || weights.has("pooler.dense.bias")
}

/// Packs everything that `config` asks for; and gives the (normalised) relative embeddings, `[2 * span, hidden]`.
pub(super) fn load(
    weights: &mut Weights,
    config: &Config,
    (precision, instructions): (kernels::Precision, Instructions),
) -> Result<(kernels::SharedWeights, Option<Tensor>), LoadError> {
    let geometry = Geometry {
        hidden: unsigned(config.hidden),
        embedding: unsigned(config.embedding),
        heads: unsigned(config.heads),
        activation: activation(config.activation),
        pooler_activation: activation(config.pooler_activation),
        #[expect(clippy::cast_possible_truncation, reason = "a small number, as fp32 in the reference's kernels too")]
        epsilon: config.layer_norm_eps as f32,
        slots: config.relative.map_or(0, |relative| unsigned(2 * relative.span)),
    };
    let relative_rows = relative_rows(weights, config)?;
    let mut builder = Builder::new(precision, instructions, geometry).map_err(|error| unavailable(&error))?;
    for index in 0..config.layers {
        let layer = layer(weights, config, index, (&builder, relative_rows.as_ref()))?;
        builder.push(layer);
    }
    let pooler =
        if has_pooler(weights) { Some(dense(weights, "pooler.dense", config.hidden, config.hidden)?) } else { None };
    // The largest table comes last, in its final form: what packing took beside the weights is free again by then.
    give_back_memory();
    let embeddings = embeddings(weights, config, precision)?;
    Ok((builder.finish(embeddings, pooler.as_ref()), relative_rows))
}

fn embeddings(
    weights: &mut Weights,
    config: &Config,
    precision: kernels::Precision,
) -> Result<EmbeddingArrays, LoadError> {
    let (vocabulary, embedding) = (config.vocabulary, config.embedding);
    let numbers = unsigned(vocabulary * embedding);
    let mut words = match precision {
        kernels::Precision::Fp32 => Table::Single(Vec::with_capacity(numbers)),
        kernels::Precision::Bf16 | kernels::Precision::Int8 => Table::Brain(Vec::with_capacity(numbers)),
    };
    weights.stream("embeddings.word_embeddings.weight", &[vocabulary, embedding], |numbers| {
        words.extend(numbers);
        Ok(())
    })?;
    let mut table =
        |name: &str, rows: i64| weights.take_numbers(&format!("embeddings.{name}.weight"), &[rows, embedding]);
    let positions = config.absolute_positions.map(|rows| table("position_embeddings", rows)).transpose()?;
    let has_types = config.token_types > 0;
    let types = has_types.then(|| table("token_type_embeddings", config.token_types)).transpose()?;
    let projects = embedding != config.hidden;
    let projection = projects
        .then(|| weights.take_numbers("embeddings.embed_proj.weight", &[config.hidden, embedding]))
        .transpose()?;
    if positions.is_none() {
        weights.ignore("embeddings.position_embeddings.weight");
    }
    let norm = scaling(weights, "embeddings.LayerNorm", config.hidden)?;
    Ok(EmbeddingArrays { words, positions, types, projection, norm })
}

/// One layer, packed as it comes. `relative_rows` are the (normalised) relative embeddings, `[2 * span, hidden]`.
fn layer(
    weights: &mut Weights,
    config: &Config,
    index: i64,
    (builder, relative_rows): (&Builder, Option<&Tensor>),
) -> Result<PackedLayer, LoadError> {
    let (hidden, intermediate) = (config.hidden, config.intermediate);
    let name = format!("encoder.layer.{index}");
    let of_attention = |projection: &str| format!("{name}.attention.self.{projection}");
    let relative = config.relative.zip(relative_rows);
    let query = scaled(dense(weights, &of_attention("query_proj"), hidden, hidden)?, config);
    let position_queries = match relative.filter(|_| config.position_to_content) {
        Some((relative, rows)) if relative.shared => Some(projected(rows, &query, hidden)?),
        Some((_, rows)) => {
            let own = scaled(dense(weights, &of_attention("pos_query_proj"), hidden, hidden)?, config);
            Some(projected(rows, &own, hidden)?)
        }
        None => None,
    };
    let query = builder.pack(&query);
    let key = dense(weights, &of_attention("key_proj"), hidden, hidden)?;
    let position_keys = match relative.filter(|_| config.content_to_position) {
        Some((relative, rows)) if relative.shared => Some(projected(rows, &key, hidden)?),
        Some((_, rows)) => {
            let own = dense(weights, &of_attention("pos_key_proj"), hidden, hidden)?;
            Some(projected(rows, &own, hidden)?)
        }
        None => None,
    };
    let positions = builder.pack_positions(position_keys.as_deref(), position_queries.as_deref());
    let value = dense(weights, &of_attention("value_proj"), hidden, hidden)?;
    let key_value = builder.pack_pair(key, &value);
    let mut packed = |part: &str, outputs: i64, inputs: i64| {
        Ok::<_, LoadError>(builder.pack(&dense(weights, &format!("{name}.{part}.dense"), outputs, inputs)?))
    };
    Ok(PackedLayer {
        query,
        key_value,
        positions,
        attention_output: packed("attention.output", hidden, hidden)?,
        intermediate: packed("intermediate", intermediate, hidden)?,
        output: packed("output", hidden, intermediate)?,
        attention_norm: scaling(weights, &format!("{name}.attention.output.LayerNorm"), hidden)?,
        output_norm: scaling(weights, &format!("{name}.output.LayerNorm"), hidden)?,
    })
}

fn dense(weights: &mut Weights, name: &str, outputs: i64, inputs: i64) -> Result<Dense, LoadError> {
    let weight = weights.take_numbers(&format!("{name}.weight"), &[outputs, inputs])?;
    let bias = weights.take_numbers(&format!("{name}.bias"), &[outputs])?;
    Ok(Dense { weight, bias })
}

fn scaling(weights: &mut Weights, name: &str, width: i64) -> Result<Scaling, LoadError> {
    let weight = weights.take_numbers(&format!("{name}.weight"), &[width])?;
    let bias = weights.take_numbers(&format!("{name}.bias"), &[width])?;
    Ok(Scaling { weight, bias })
}

/// `dense` with the score's scale in it.
fn scaled(mut dense: Dense, config: &Config) -> Dense {
    #[expect(clippy::cast_possible_truncation, reason = "the scale is an fp32 number in the reference")]
    let scale = config.score_scale().recip() as f32;
    dense.weight.iter_mut().chain(&mut dense.bias).for_each(|number| *number *= scale);
    dense
}

/// `rows`, `[2 * span, hidden]`, through `dense`.
fn projected(rows: &Tensor, dense: &Dense, hidden: i64) -> Result<Vec<f32>, LoadError> {
    let weight = Tensor::f_from_slice(&dense.weight)?.f_view([hidden, hidden])?;
    let bias = Tensor::f_from_slice(&dense.bias)?;
    let product = rows.f_linear(&weight, Some(&bias))?.f_contiguous()?; // [2 * span, hidden]
    let count = product.numel();
    let mut numbers = vec![0f32; count];
    product.f_copy_data(&mut numbers, count)?;
    Ok(numbers)
}

fn activation(activation: Activation) -> KernelActivation {
    match activation {
        Activation::Gelu => KernelActivation::Gelu,
        Activation::GeluTanh => KernelActivation::GeluTanh,
        Activation::Relu => KernelActivation::Relu,
        Activation::Silu => KernelActivation::Silu,
        Activation::Sigmoid => KernelActivation::Sigmoid,
        Activation::Tanh => KernelActivation::Tanh,
        Activation::Identity => KernelActivation::Identity,
    }
}
