//! The tensors of a head's adapter, in its `weights.safetensors` and as one object of the registry.
//!
//! ```text
//! adapter.<layer>.<site>.down  [rank, inputs]     site: query, key, value, attention_output, intermediate or output
//! adapter.<layer>.<site>.up    [outputs, rank]    every scale multiplied in
//! adapter.pooler.weight        [hidden, hidden]   a pooler in place of the encoder's
//! adapter.pooler.bias          [hidden]
//! ```
//! Layers count from 0. A row that carries the adapter gets `(input * downᵀ) * upᵀ` added to that linear layer's output.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Adapter, AdapterError, LowRank, MAX_ADAPTER_LAYERS, OwnPooler, Site};

use crate::safetensors_guard::{TensorEntry, TensorIndex, TensorLimits};
use crate::weights::{Array, widened, written};
use crate::weights_error::WeightsError;

const PREFIX: &str = "adapter.";
const POOLER_WEIGHT: &str = "adapter.pooler.weight";
const POOLER_BIAS: &str = "adapter.pooler.bias";
/// In an object the hidden size stands beside the tensors, as the length of this one.
const HIDDEN: &str = "hidden";

const LIMITS: TensorLimits =
    TensorLimits { header_bytes: 256 << 10, tensors: 3 + 2 * Site::ALL.len() * MAX_ADAPTER_LAYERS };

/// Whether `name` is that of an adapter's tensor.
pub(crate) fn is_ours(name: &str) -> bool {
    name == POOLER_WEIGHT || name == POOLER_BIAS || place_of(name).is_some()
}

/// The adapter among the tensors of `bytes`, if they hold one.
///
/// # Errors
/// If its tensors do not make an adapter for an encoder of that hidden size.
pub(crate) fn parse(bytes: &[u8], index: &TensorIndex, hidden: usize) -> Result<Option<Adapter>, WeightsError> {
    let ours = |entry: &&TensorEntry| is_ours(&entry.name);
    if !index.entries().iter().any(|entry| ours(&entry)) {
        return Ok(None);
    }
    let read = |name: &str| -> Result<(Arc<[f32]>, &TensorEntry), WeightsError> {
        let entry = index.entry(name).ok_or_else(|| WeightsError::MissingHalf { name: name.to_owned() })?;
        Ok((widened(bytes, index, entry)?, entry))
    };
    let mut parts = BTreeMap::new();
    for entry in index.entries().iter().filter(ours) {
        let Some((layer, site, _)) = place_of(&entry.name) else { continue };
        let stem = stem(layer, site);
        let (down, down_entry) = read(&format!("{stem}.down"))?;
        let (up, up_entry) = read(&format!("{stem}.up"))?;
        let rank = down_entry.shape.first().copied().unwrap_or(0);
        check_matrix(down_entry, &[rank, down.len().checked_div(rank).unwrap_or(0)])?;
        check_matrix(up_entry, &[up.len().checked_div(rank).unwrap_or(0), rank])?;
        parts.insert((layer, site), LowRank::new(rank, down, up));
    }
    let has_pooler = index.entry(POOLER_WEIGHT).is_some() || index.entry(POOLER_BIAS).is_some();
    let pooler = if has_pooler {
        let ((weight, weight_entry), (bias, bias_entry)) = (read(POOLER_WEIGHT)?, read(POOLER_BIAS)?);
        check_matrix(weight_entry, &[hidden, hidden])?;
        check_matrix(bias_entry, &[hidden])?;
        Some(OwnPooler { weight, bias })
    } else {
        None
    };
    Ok(Some(Adapter::new(hidden, parts, pooler)?))
}

/// Names, shapes and numbers of an adapter's tensors.
pub(crate) fn arrays(adapter: &Adapter) -> Vec<Array<'_>> {
    let mut arrays = Vec::new();
    for (layer, site, part) in adapter.parts() {
        let stem = stem(layer, site);
        arrays.push((format!("{stem}.down"), vec![part.rank(), part.inputs()], part.down().as_ref()));
        arrays.push((format!("{stem}.up"), vec![part.outputs(), part.rank()], part.up().as_ref()));
    }
    if let Some(OwnPooler { weight, bias }) = adapter.pooler() {
        arrays.push((POOLER_WEIGHT.to_owned(), vec![adapter.hidden(), adapter.hidden()], weight));
        arrays.push((POOLER_BIAS.to_owned(), vec![adapter.hidden()], bias));
    }
    arrays
}

/// An adapter as one object: equal adapters give equal bytes.
///
/// # Errors
/// [`WeightsError::Unwritable`].
pub(crate) fn to_bytes(adapter: &Adapter) -> Result<Vec<u8>, WeightsError> {
    let zeros = vec![0.0; adapter.hidden()];
    let mut arrays = arrays(adapter);
    arrays.push((HIDDEN.to_owned(), vec![zeros.len()], &zeros));
    written(&arrays)
}

/// Reads what [`to_bytes`] has written.
///
/// # Errors
/// [`WeightsError`] if the bytes are others.
pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Adapter, WeightsError> {
    let index = TensorIndex::of_bytes(bytes, &LIMITS)?;
    let hidden = index.entry(HIDDEN).and_then(|entry| entry.shape.first().copied());
    let hidden = hidden.ok_or(WeightsError::MissingTensor { name: HIDDEN })?;
    parse(bytes, &index, hidden)?.ok_or(WeightsError::Adapter(AdapterError::Empty))
}

fn stem(layer: usize, site: Site) -> String {
    format!("{PREFIX}{layer}.{site}")
}

/// Layer, site and half that a name stands for. A number has one spelling, so no two names are one place.
fn place_of(name: &str) -> Option<(usize, Site, bool)> {
    let (layer, rest) = name.strip_prefix(PREFIX)?.split_once('.')?;
    let (site, half) = rest.split_once('.')?;
    let number: usize = layer.parse().ok().filter(|number: &usize| number.to_string() == layer)?;
    let site = Site::ALL.into_iter().find(|known| known.as_str() == site)?;
    matches!(half, "down" | "up").then_some((number, site, half == "up"))
}

fn check_matrix(entry: &TensorEntry, expected: &[usize]) -> Result<(), WeightsError> {
    if entry.shape == expected {
        return Ok(());
    }
    let (found, expected) = (entry.shape.clone(), expected.to_vec());
    Err(WeightsError::Shape { name: entry.name.clone(), found, expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{HIDDEN as WIDTH, WIDTHS, adapter, head_with_adapter};
    use crate::weights::Tensors;

    fn changed(change: impl Fn(&mut Vec<Array<'_>>)) -> WeightsError {
        let head = head_with_adapter(1, true);
        let parts = head.parts();
        let mut arrays = arrays(parts.adapter.as_ref().unwrap());
        arrays.push(("weight".to_owned(), vec![2, WIDTH], &parts.weight));
        arrays.push(("bias".to_owned(), vec![2], &parts.bias));
        change(&mut arrays);
        Tensors::parse(&written(&arrays).unwrap(), WIDTHS).expect_err("must be refused")
    }

    fn rename(arrays: &mut [Array<'_>], from: &str, to: &str) {
        arrays.iter_mut().find(|(name, ..)| name == from).unwrap().0 = to.to_owned();
    }

    #[test]
    fn an_adapter_reads_back_from_both_its_forms() {
        for with_pooler in [false, true] {
            let tensors = Tensors::of_head(&head_with_adapter(1, with_pooler));
            assert_eq!(Tensors::parse(&tensors.to_safetensors().unwrap(), WIDTHS).unwrap(), tensors);
            let adapter = adapter(with_pooler);
            assert_eq!(of_bytes(&to_bytes(&adapter).unwrap()).unwrap(), adapter);
        }
    }

    #[test]
    fn halves_without_each_other_and_crooked_shapes_are_refused_by_name() {
        let missing = |gone: &'static str| move |arrays: &mut Vec<Array<'_>>| arrays.retain(|(name, ..)| name != gone);
        for name in ["adapter.0.query.up", "adapter.11.output.down", POOLER_BIAS, POOLER_WEIGHT] {
            assert_eq!(changed(missing(name)), WeightsError::MissingHalf { name: name.to_owned() });
        }
        let refused = changed(|arrays| {
            arrays.iter_mut().find(|(name, ..)| name == "adapter.0.query.up").unwrap().1 = vec![2, WIDTH];
        });
        assert!(matches!(&refused, WeightsError::Shape { name, .. } if name == "adapter.0.query.up"), "{refused}");
    }

    #[test]
    fn names_that_are_no_place_are_refused() {
        for name in ["adapter.00.query.up", "adapter.0.queries.up", "adapter.0.query.left", "adapter.-1.query.up"] {
            let refused = changed(|arrays| rename(arrays, "adapter.0.query.up", name));
            assert_eq!(refused, WeightsError::UnknownTensor { name: name.to_owned() });
        }
        let refused = changed(|arrays| {
            rename(arrays, "adapter.11.output.up", "adapter.128.output.up");
            rename(arrays, "adapter.11.output.down", "adapter.128.output.down");
        });
        assert_eq!(refused, WeightsError::Adapter(AdapterError::Layer { layer: 128 }));
    }
}
