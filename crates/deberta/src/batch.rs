//! What a forward reads of its batch: gathered on the host, then put on the device in few copies.

use std::rc::Rc;
use std::sync::Arc;

use engine::Row;
use tch::{Kind, TchError, Tensor};

use crate::fused::{Fused, FusedBatch};
use crate::layout::Layout;
use crate::packing::{Packing, TILE_NUMBERS, Tile};
use crate::placed_adapter::PlacedAdapter;
use crate::precision::Placement;
use crate::shim;

/// What an encoder reads of a row beside its words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs {
    pub(crate) positions: bool,
    pub(crate) types: bool,
    /// Numbers of a task embedding.
    pub(crate) embedding: usize,
}

/// A batch's numbers. Batches of one bucket have equally many of each.
#[derive(Debug)]
pub(crate) struct HostBatch {
    /// Token ids, positions, types, first tokens, tiles of every token and of first tokens, end to end.
    numbers: Vec<i32>,
    counts: Counts,
    /// `[rows, embedding]` in packed order, zeros for rows without one; empty where no row has one.
    task_embeddings: Vec<f32>,
    padding: Option<Vec<f32>>,
    inputs: Inputs,
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    tokens: i64,
    rows: i64,
    every: i64,
    first: i64,
}

/// What surrounds a batch in its encoder.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) placement: Placement,
    pub(crate) reach: i64,
    pub(crate) adapters: Vec<Arc<PlacedAdapter>>,
    pub(crate) fused: Option<&'a Rc<Fused>>,
}

/// A batch on the device.
#[derive(Debug)]
pub(crate) struct Batch {
    numbers: Tensor,
    /// `[tokens]` in i32; padding and spare rows hold token 0.
    pub(crate) ids: Tensor,
    /// `[tokens]` in i32.
    pub(crate) positions: Option<Tensor>,
    /// `[tokens]` in i32.
    pub(crate) types: Option<Tensor>,
    /// `[rows, embedding]` in fp32, to be added to rows' first tokens.
    pub(crate) task_embeddings: Option<Tensor>,
    pub(crate) layout: Layout,
}

impl HostBatch {
    /// Gathers `rows` as `packing` lays them out.
    pub(crate) fn new(rows: &[Row], packing: &Packing, inputs: Inputs) -> Self {
        let signed = |id: u32| i32::try_from(id).unwrap_or(i32::MAX);
        let mut numbers = packing.lay_out(0, |row| rows[row].tokens.ids.iter().copied().map(signed));
        let tokens = numbers.len();
        if inputs.positions {
            numbers.extend(packing.lay_out(0, |row| (0i32..).take(rows[row].tokens.len())));
        }
        if inputs.types {
            numbers.extend(packing.lay_out(0, |row| rows[row].tokens.type_ids.iter().copied().map(signed)));
        }
        numbers.extend(packing.first_tokens.iter().map(|token| i32::try_from(*token).unwrap_or(i32::MAX)));
        let (every, first) = packing.tiles.as_ref().map_or((&[][..], &[][..]), |tiles| (&tiles.every, &tiles.first));
        numbers.extend(every.iter().chain(first).flat_map(Tile::numbers));
        let is_asked = packing.bucket.is_some() || rows.iter().any(|row| row.task_embedding.is_some());
        let mut task_embeddings = vec![0.0; if is_asked { packing.first_tokens.len() * inputs.embedding } else { 0 }];
        for (row, place) in packing.order.iter().zip(task_embeddings.chunks_exact_mut(inputs.embedding.max(1))) {
            if let Some(own) = &rows[*row].task_embedding {
                place.copy_from_slice(own);
            }
        }
        let counts = [tokens, packing.first_tokens.len(), every.len(), first.len()];
        let [tokens, rows, every, first] = counts.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let counts = Counts { tokens, rows, every, first };
        Self { numbers, counts, task_embeddings, padding: packing.padding(), inputs }
    }

    /// The batch on the device of its `surroundings`, which `packing` lays out.
    pub(crate) fn place(&self, packing: &Packing, surroundings: Surroundings<'_>) -> Result<Batch, TchError> {
        let Surroundings { placement, reach, adapters, fused } = surroundings;
        let Counts { tokens, rows, every, first } = self.counts;
        let numbers = placement.copy_of(&self.numbers)?;
        let mut taken = 0;
        let mut take = |count: i64| {
            taken += count;
            numbers.f_narrow(0, taken - count, count)
        };
        let ids = take(tokens)?;
        let positions = self.inputs.positions.then(|| take(tokens)).transpose()?;
        let types = self.inputs.types.then(|| take(tokens)).transpose()?;
        let first_tokens = take(rows)?;
        let mut tiles = |count: i64| take(count * TILE_NUMBERS as i64)?.f_view([count, TILE_NUMBERS as i64]);
        let fused = match fused {
            Some(fused) if packing.tiles.is_some() => Some(FusedBatch::new(fused, tiles(every)?, tiles(first)?, reach)),
            _ => None,
        };
        let task_embeddings = match self.task_embeddings.is_empty() {
            true => None,
            false => Some(placement.copy_of(&self.task_embeddings)?.f_view([rows, -1])?),
        };
        let padding = match &self.padding {
            Some(padding) => Some(placement.copy_of(padding)?.f_to_kind(placement.kind)?),
            None => None,
        };
        let layout = Layout { groups: packing.groups.clone(), first_tokens, reach, padding, adapters, fused };
        Ok(Batch { numbers, ids, positions, types, task_embeddings, layout })
    }
}

impl Batch {
    /// Becomes `other`, a batch of the same bucket, in the memory that it has.
    pub(crate) fn become_like(&mut self, other: &HostBatch) -> Result<(), TchError> {
        overwrite(&mut self.numbers, &other.numbers)?;
        if let Some(own) = &mut self.task_embeddings {
            overwrite(own, &other.task_embeddings)?;
        }
        if let (Some(own), Some(padding)) = (&mut self.layout.padding, &other.padding) {
            own.f_copy_(&Tensor::f_from_slice(padding)?)?;
        }
        Ok(())
    }

    /// One task embedding for all, `[embedding]`, in place of the rows' own; it may want a gradient.
    pub(crate) fn share(&mut self, task_embedding: &Tensor) -> Result<(), TchError> {
        let rows = self.layout.first_tokens.size1()?;
        self.task_embeddings =
            Some(task_embedding.f_to_kind(Kind::Float)?.f_unsqueeze(0)?.f_expand([rows, -1], false)?);
        Ok(())
    }
}

/// Puts `numbers` where `tensor` lies; it has as many.
fn overwrite<T: tch::kind::Element>(tensor: &mut Tensor, numbers: &[T]) -> Result<(), TchError> {
    if tensor.device() == tch::Device::Cpu {
        return tensor.f_copy_(&Tensor::f_from_slice(numbers)?.f_view_as(tensor)?);
    }
    shim::overwrite(tensor, numbers)
}
