//! The encoder on libtorch: the way on GPUs, and on processors for which there are no kernels.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use engine::{ModelError, Row, RowOutput};
use tch::{Kind, TchError, Tensor};

use crate::adapters::BatchAdapters;
use crate::config::Config;
use crate::embeddings::Embeddings;
use crate::encoder::Encoder;
use crate::error::{LoadError, backend_error};
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
        Ok(Self { hidden: unsigned(config.hidden), embeddings, encoder, pooler })
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
        let packing = self.encoder.pack(&lengths, &adapters);
        let adapters = self.encoder.place(&adapters.distinct, packing.longest, self.pooler.as_ref())?;
        let input = self.embeddings.forward(rows, &packing)?;
        let hidden = self.encoder.forward(&input, &packing, rows.iter().any(|row| row.reads.tokens), &adapters)?;
        let first = hidden.first.f_to_kind(Kind::Float)?;
        let pooled = match &self.pooler {
            Some(pooler) if rows.iter().any(|row| row.reads.pooled) => {
                let pooled = pooler.forward(&first)?;
                for group in &packing.groups {
                    let adapter = group.adapter.and_then(|place| adapters.get(place));
                    if let Some(own) = adapter.and_then(|adapter| adapter.pooler.as_ref()) {
                        group.rows_of(&pooled)?.f_copy_(&own.forward(&group.rows_of(&first)?)?)?;
                    }
                }
                on_host(&pooled)?
            }
            _ => Vec::new(),
        };
        let every = match &hidden.every {
            Some(every) if rows.iter().any(|row| row.reads.tokens) => on_host(every)?,
            _ => Vec::new(),
        };
        let first = match rows.iter().any(|row| row.reads.cls) {
            true => on_host(&first)?,
            false => Vec::new(),
        };
        Ok(States { packing, hidden: self.hidden, first, pooled, every })
    }
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
