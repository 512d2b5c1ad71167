//! What training changed of an encoder's linear layers, as low-rank factors, and how much of the change that leaves out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use engine::{LowRank, OwnPooler, Site};
use registry::linear_site;

use crate::encoder_difference::{EncoderDifference, OpenEncoder};
use crate::error::CheckpointError;
use crate::low_rank::{Factors, factorise};

/// The factors of every changed linear layer.
#[derive(Debug, Default)]
pub(crate) struct EncoderChange {
    pub(crate) parts: BTreeMap<(usize, Site), LowRank>,
    /// In words: how much of the change is in the factors.
    pub(crate) notes: Vec<String>,
}

/// Squares of lengths, summed over linear layers.
#[derive(Debug, Default)]
struct Squares {
    weights: f64,
    change: f64,
    missing: f64,
}

/// Whether the tensor of this name in a bundle is the weight of a linear layer that an adapter may change.
pub(crate) fn has_place(name: &str) -> bool {
    place(name).is_some()
}

fn place(name: &str) -> Option<(usize, Site)> {
    linear_site(name.strip_suffix(".weight")?)
}

/// Factors of rank `rank` or less for every tensor that `difference` names; each has a place in an adapter.
///
/// # Errors
/// If a tensor cannot be read.
pub(crate) fn factors(
    own: OpenEncoder<'_>,
    found: OpenEncoder<'_>,
    difference: &EncoderDifference,
    rank: usize,
) -> Result<EncoderChange, CheckpointError> {
    let named = difference.tensors.iter();
    let wanted: Vec<_> = named.filter_map(|tensor| Some((place(&tensor.name)?, tensor.name.as_str()))).collect();
    let made = on_all_cores(&wanted, |(_, name)| factor_one(own, found, name, rank));
    let mut change = EncoderChange::default();
    let mut squares = Squares::default();
    for (((layer, site), _), made) in wanted.iter().zip(made) {
        let (factors, own) = made?;
        squares.weights += own.weights;
        squares.change += own.change;
        squares.missing += factors.residual;
        if factors.rank > 0 {
            let part = LowRank::new(factors.rank, factors.down.into(), factors.up.into());
            change.parts.insert((*layer, *site), part);
        }
    }
    if !wanted.is_empty() {
        let (missing, all) = (squares.missing / squares.change, squares.missing / squares.weights);
        change.notes.push(format!(
            "{} linear layers changed; factors of rank {rank} miss {:.2e} of the change, {:.2e} of the weights",
            wanted.len(),
            missing.sqrt(),
            all.sqrt()
        ));
    }
    Ok(change)
}

/// The pooler of `found`, where `difference` names one.
///
/// # Errors
/// If a tensor cannot be read.
pub(crate) fn pooler(
    found: OpenEncoder<'_>,
    difference: &EncoderDifference,
) -> Result<Option<OwnPooler>, CheckpointError> {
    if difference.tensors.is_empty() {
        return Ok(None);
    }
    let numbers = |name| numbers(found, name);
    Ok(Some(OwnPooler { weight: numbers("pooler.dense.weight")?.into(), bias: numbers("pooler.dense.bias")?.into() }))
}

/// All numbers of the tensor called `name` in a bundle.
pub(crate) fn numbers(encoder: OpenEncoder<'_>, name: &str) -> Result<Vec<f32>, CheckpointError> {
    let missing = || CheckpointError::MissingTensor { name: name.to_owned() };
    encoder.weights.numbers(encoder.tensors.source_of(name).ok_or_else(missing)?)
}

fn factor_one(
    own: OpenEncoder<'_>,
    found: OpenEncoder<'_>,
    name: &str,
    rank: usize,
) -> Result<(Factors, Squares), CheckpointError> {
    let (own_numbers, mut change) = (numbers(own, name)?, numbers(found, name)?);
    let source = own.tensors.source_of(name).unwrap_or(name);
    let inputs = own.weights.entry(source)?.shape.last().copied().unwrap_or(1);
    let mut squares = Squares::default();
    for (change, own) in change.iter_mut().zip(&own_numbers) {
        *change -= own;
        squares.weights += f64::from(*own) * f64::from(*own);
        squares.change += f64::from(*change) * f64::from(*change);
    }
    Ok((factorise(&change, inputs, rank), squares))
}

/// `work` on every item, in order of the items, by as many threads as there are cores.
fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let waiting = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((number, item)) = next else { break };
                    let result = work(item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
