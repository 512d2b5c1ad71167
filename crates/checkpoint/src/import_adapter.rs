//! A head whose training changed the encoder: the change becomes the head's adapter.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Adapter, HeadError, HeadKind, LowRank, OwnPooler, Site};

use crate::encoder_difference::{EncoderDifference, OpenEncoder};
use crate::encoder_low_rank::{self, EncoderChange, numbers};
use crate::encoder_tensors::is_of_pooler;
use crate::error::CheckpointError;
use crate::fine_tuned;
use crate::import_head::{HeadOptions, ImportedHead, Served, check_tokenizer, finish, task_name};
use crate::left_out;
use crate::model_config;
use crate::peft_adapter::{self, PeftAdapter};
use crate::raw_head::RawHead;
use crate::source::OpenSource;

const MODEL_CONFIG: &str = "config.json";

/// The head of a LoRA adapter's folder.
///
/// # Errors
/// If nobody asked for adapters, or the adapter is not one that is served.
pub(crate) fn of_adapter(
    options: &HeadOptions,
    own: &Served,
    source: &OpenSource,
) -> Result<ImportedHead, CheckpointError> {
    if options.lora.is_none() {
        return Err(CheckpointError::IsAdapter);
    }
    let read = peft_adapter::read(&source.folder, &own.config)?;
    let PeftAdapter { parts, pooler_addition, pooler, head: mut raw, base } = read;
    if source.folder.has(MODEL_CONFIG) {
        let config = model_config::read(&source.folder)?;
        let said = raw.said;
        fine_tuned::describe(&mut raw, &config, own.encoder().tensors.has_pooler)?;
        // Without an architecture it says no more than the number of outputs does.
        if config.get("architectures").is_none() {
            raw.said = said.or(raw.said);
        }
    }
    raw.name = task_name(options, source)?;
    if let Some(kind) = options.kind {
        raw.said = Some((kind, "your option"));
    }
    raw.notes.append(&mut check_tokenizer(&own.folder, &source.folder)?);
    let base = base.unwrap_or_else(|| "a model that it does not name".to_owned());
    raw.notes.push(format!("trained upon {base}; whether that is the served encoder, its files do not tell"));
    let pooler = match (pooler, pooler_addition) {
        (Some(_), Some(_)) => {
            let name = "pooler.dense.lora_A.weight".to_owned();
            let hint = Some("the adapter has a whole pooler as well");
            return Err(CheckpointError::UnexpectedTensor { name, hint });
        }
        (pooler, None) => pooler,
        (None, Some(addition)) => Some(merged_pooler(own.encoder(), &addition)?),
    };
    let (n_parts, ranks) = (parts.len(), parts.values().map(LowRank::rank).max().unwrap_or(0));
    adapt(&mut raw, own.config.hidden, (parts, pooler))?;
    let pooler =
        if raw.adapter.as_ref().is_some_and(|adapter| adapter.pooler().is_some()) { ", and a pooler" } else { "" };
    let said = format!("the served one with an adapter: {n_parts} linear layers, rank {ranks}{pooler}");
    finish(raw, own, source, (format!("{}, LoRA adapter", source.origin), said))
}

/// Gives `raw` what training changed of the encoder, where it did; `difference` is between `own` and `found`.
///
/// # Errors
/// If a tensor cannot be read, or the factors are too many numbers; [`CheckpointError::NoPlaceInAdapter`] where changes have
/// no place in an adapter and `leave_out_rest` does not say to go on without them.
pub(crate) fn of_difference(
    (own, found): (OpenEncoder<'_>, OpenEncoder<'_>),
    difference: EncoderDifference,
    raw: &mut RawHead,
    (rank, leave_out_rest): (usize, bool),
) -> Result<(), CheckpointError> {
    let (pooler, encoder) = difference.split(is_of_pooler);
    let (encoder, rest) = encoder.split(encoder_low_rank::has_place);
    if let Some(largest) = rest.largest().filter(|_| !leave_out_rest) {
        let (tensor, relative) = (largest.name.clone(), largest.relative);
        return Err(CheckpointError::NoPlaceInAdapter { tensors: rest.tensors.len(), tensor, relative });
    }
    let EncoderChange { parts, mut notes } = encoder_low_rank::factors(own, found, &encoder, rank)?;
    raw.notes.append(&mut notes);
    raw.notes.append(&mut left_out::lines(&rest.tensors));
    let pooler = if reads_tokens(raw) { None } else { encoder_low_rank::pooler(found, &pooler)? };
    let hidden = raw.weight.len() / raw.bias.len().max(1);
    if pooler.is_some() {
        raw.notes.push("its pooler was trained too and comes along whole".to_owned());
    }
    adapt(raw, hidden, (parts, pooler))
}

/// Puts an adapter of `parts` and `pooler` at `raw`, unless both are nothing. A head on tokens does not read a pooler.
fn adapt(
    raw: &mut RawHead,
    hidden: usize,
    (parts, pooler): (BTreeMap<(usize, Site), LowRank>, Option<OwnPooler>),
) -> Result<(), CheckpointError> {
    let pooler = pooler.filter(|_| !reads_tokens(raw));
    if parts.is_empty() && pooler.is_none() {
        return Ok(());
    }
    let adapter = Adapter::new(hidden, parts, pooler);
    let bad = |error| CheckpointError::BadHead { task: raw.name.clone(), source: HeadError::Adapter(error) };
    raw.adapter = Some(Arc::new(adapter.map_err(bad)?));
    Ok(())
}

fn reads_tokens(raw: &RawHead) -> bool {
    raw.said.is_some_and(|(kind, _): (HeadKind, _)| kind.reads_tokens())
}

/// The served encoder's pooler with `addition` in its weight.
fn merged_pooler(own: OpenEncoder<'_>, addition: &LowRank) -> Result<OwnPooler, CheckpointError> {
    let mut weight = numbers(own, "pooler.dense.weight")?;
    let (rank, inputs) = (addition.rank(), addition.inputs());
    for (row, up) in weight.chunks_exact_mut(inputs).zip(addition.up().chunks_exact(rank)) {
        for (column, number) in row.iter_mut().enumerate() {
            let down = addition.down().iter().skip(column).step_by(inputs);
            let sum: f64 = up.iter().zip(down).map(|(up, down)| f64::from(*up) * f64::from(*down)).sum();
            *number = (f64::from(*number) + sum) as f32;
        }
    }
    Ok(OwnPooler { weight: weight.into(), bias: numbers(own, "pooler.dense.bias")?.into() })
}
