//! What a fit needs in memory, so that nobody begins one that has no room.

use crate::lbfgs::HISTORY;
use crate::product::padded;
use crate::unseen::Unseen;

/// Layers that a descent holds at once: two for each remembered step, and points, gradients and directions.
const LAYERS: usize = 2 * HISTORY + 8;

/// Bytes of a fit of `outputs` outputs on `rows` vectors of `width` numbers with `folds` folds: vectors, layers on the way,
/// normal equations and logits of rows held out, answers left out.
#[must_use]
pub fn memory_bytes(rows: usize, width: usize, outputs: usize, folds: usize) -> usize {
    let vectors = rows.saturating_mul(width).saturating_mul(size_of::<f32>());
    let layer = (width + 1).saturating_mul(padded(outputs)).saturating_mul(size_of::<f64>());
    let layers = layer.saturating_mul(LAYERS + 2 * folds);
    let equations = (width + 1).saturating_mul(width + 1).saturating_mul(size_of::<f64>() * (folds + 2));
    let unseen = rows.saturating_mul(outputs * size_of::<f32>() + size_of::<Unseen>());
    let total = vectors.saturating_add(layers).saturating_add(unseen);
    total.saturating_add(if outputs == 1 { equations } else { 0 })
}
