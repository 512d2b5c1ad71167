//! The encoder on libtorch: the way on GPUs, and on processors for which there are no kernels.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use engine::{ModelError, Reads, Row, RowOutput};
use tch::{Kind, TchError, Tensor};

use crate::adapters::BatchAdapters;
use crate::batch::{Batch, HostBatch, Surroundings};
use crate::config::Config;
use crate::embeddings::Embeddings;
use crate::encoder::Encoder;
use crate::error::{LoadError, backend_error};
use crate::graphs::Graphs;
use crate::layout::Layout;
use crate::loading::Loading;
use crate::packing::Packing;
use crate::pooler::Pooler;
use crate::precision::Placement;
use crate::weights::Weights;

/// An encoder of tensors. It stays on the thread that loaded it: libtorch's thread count belongs to that thread.
#[derive(Debug)]
pub(crate) struct Tensors {
    hidden: usize,
    pub(crate) embeddings: Embeddings,
    pub(crate) encoder: Encoder,
    pooler: Option<Pooler>,
    graphs: Option<Graphs>,
}

/// What is asked of a batch beside every row's first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) pooled: bool,
    pub(crate) every: bool,
}

/// What a forward leaves on the device.
#[derive(Debug)]
pub(crate) struct Vectors {
    /// `[rows, hidden]` in fp32, in packed order.
    first: Tensor,
    /// The same through the pooler.
    pooled: Option<Tensor>,
    /// `[tokens, hidden]`.
    every: Option<Tensor>,
}

/// What the encoder leaves of a batch, on the host in fp32.
#[derive(Debug)]
struct States {
    packing: Packing,
    hidden: usize,
    /// `[rows, hidden]`, in packed order; empty where nobody reads it.
    first: Vec<f32>,
    /// `[rows, hidden]`, in packed order; empty where nobody reads it.
    pooled: Vec<f32>,
    /// `[tokens, hidden]`; empty where nobody reads it.
    every: Vec<f32>,
}

impl Tensors {
    pub(crate) fn load(encoder_dir: &Path, config: &Config, placement: Placement) -> Result<Self, LoadError> {
        let _no_gradients = tch::no_grad_guard();
        let weights = Weights::open(encoder_dir)?;
        let mut loading = Loading { weights, config, placement };
        let embeddings = Embeddings::load(&mut loading)?;
        let encoder = Encoder::load(&mut loading)?;
        let pooler = Pooler::load(&mut loading)?;
        loading.weights.finish()?;
        let graphs = if placement.differentiable { None } else { Graphs::open(placement.device) };
        Ok(Self { hidden: unsigned(config.hidden), embeddings, encoder, pooler, graphs })
    }

    pub(crate) fn has_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    /// One output a row, for checked rows.
    pub(crate) fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
        // Gradient mode belongs to the thread, and another model on it may have ended its own guard in between.
        let _no_gradients = tch::no_grad_guard();
        match self.states(rows) {
            Ok(states) => Ok(states.outputs(rows)),
            Err(error) => Err(backend_error(&error)),
        }
    }

    /// `[rows, hidden]` through the pooler.
    pub(crate) fn pool(&self, first: &Tensor) -> Result<Tensor, TchError> {
        let pooler = self.pooler.as_ref().ok_or_else(|| TchError::Shape("no pooler".to_owned()))?;
        pooler.forward(first)
    }

    fn states(&mut self, rows: &[Row]) -> Result<States, TchError> {
        let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
        let adapters = BatchAdapters::of(rows);
        let packing = self.encoder.pack(&lengths, &adapters, self.graphs.is_some());
        let placed = self.encoder.place(&adapters.distinct, packing.longest, self.pooler.as_ref())?;
        let reach = self.encoder.reach(packing.longest)?;
        let Self { embeddings, encoder, pooler, graphs, .. } = &mut *self;
        let is_read = |reads: fn(&Reads) -> bool| rows.iter().any(|row| reads(&row.reads));
        let wanted = Wanted { pooled: is_read(|reads| reads.pooled), every: is_read(|reads| reads.tokens) };
        let host = HostBatch::new(rows, &packing, embeddings.inputs());
        let placement = embeddings.placement();
        let place = || {
            let fused = encoder.fused.as_ref();
            host.place(&packing, Surroundings { placement, reach, adapters: placed, fused })
        };
        let forward = |batch: &Batch| Vectors::of(batch, wanted, (embeddings, encoder, pooler.as_ref()));
        let vectors = match (graphs, packing.bucket) {
            (Some(graphs), Some(bucket)) => graphs.run((bucket, wanted, reach), &host, place, forward)?,
            _ => forward(&place()?)?,
        };
        let numbers = |tensor: Option<&Tensor>| tensor.map_or_else(|| Ok(Vec::new()), on_host);
        let first = is_read(|reads| reads.cls).then_some(&vectors.first);
        let (first, pooled) = (numbers(first)?, numbers(vectors.pooled.as_ref())?);
        let every = numbers(vectors.every.as_ref())?;
        Ok(States { packing, hidden: self.hidden, first, pooled, every })
    }
}

impl Vectors {
    /// What the model makes of `batch`.
    fn of(
        batch: &Batch,
        wanted: Wanted,
        (embeddings, encoder, pooler): (&Embeddings, &Encoder, Option<&Pooler>),
    ) -> Result<Self, TchError> {
        let hidden = encoder.forward(&embeddings.forward(batch)?, &batch.layout, wanted.every)?;
        let first = hidden.first.f_to_kind(Kind::Float)?;
        let pooled = match pooler.filter(|_| wanted.pooled) {
            Some(pooler) => Some(pooled(pooler, &first, &batch.layout)?),
            None => None,
        };
        Ok(Self { first, pooled, every: hidden.every.filter(|_| wanted.every) })
    }

    /// The same tensors.
    pub(crate) fn shallow_clone(&self) -> Self {
        let clone = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::shallow_clone);
        Self { first: self.first.shallow_clone(), pooled: clone(&self.pooled), every: clone(&self.every) }
    }
}

/// `first`, `[rows, hidden]`, through `pooler`, or that of a row's adapter.
fn pooled(pooler: &Pooler, first: &Tensor, layout: &Layout) -> Result<Tensor, TchError> {
    let pooled = pooler.forward(first)?;
    for group in &layout.groups {
        let adapter = group.adapter.and_then(|place| layout.adapters.get(place));
        if let Some(own) = adapter.and_then(|adapter| adapter.pooler.as_ref()) {
            group.rows_of(&pooled)?.f_copy_(&own.forward(&group.rows_of(first)?)?)?;
        }
    }
    Ok(pooled)
}

impl States {
    fn outputs(&self, rows: &[Row]) -> Vec<RowOutput> {
        let mut outputs = vec![RowOutput::default(); rows.len()];
        for (place, index) in self.packing.order.iter().copied().enumerate() {
            outputs[index] = self.output(&rows[index], place);
        }
        outputs
    }

    fn output(&self, row: &Row, place: usize) -> RowOutput {
        let own = place * self.hidden..(place + 1) * self.hidden;
        let tokens = self.packing.tokens_of(place, row.tokens.len());
        let copy = |wanted: bool, all: &[f32], range: Range<usize>| wanted.then(|| Arc::from(&all[range]));
        RowOutput {
            pooled: copy(row.reads.pooled, &self.pooled, own.clone()),
            cls: copy(row.reads.cls, &self.first, own),
            tokens: copy(row.reads.tokens, &self.every, tokens.start * self.hidden..tokens.end * self.hidden),
        }
    }
}

/// The copy to the host: on a GPU this is where a failed kernel shows.
pub(crate) fn on_host(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    let flat = tensor.f_to_kind(Kind::Float)?.f_to_device(tch::Device::Cpu)?.f_reshape([-1])?.f_contiguous()?;
    let count = unsigned(flat.size1()?);
    let mut numbers = vec![0f32; count];
    flat.f_copy_data(&mut numbers, count)?;
    Ok(numbers)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are not negative and fit in memory")]
pub(crate) fn unsigned(size: i64) -> usize {
    size as usize
}
