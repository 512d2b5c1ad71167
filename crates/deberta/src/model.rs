//! The encoder as the engine sees it: rows in, floats out.

use std::marker::PhantomData;
use std::path::Path;
use std::rc::Rc;

use engine::{Model, ModelError, ModelInfo, Row, RowOutput, VectorKind};
use tch::{Kind, TchError, Tensor};

use crate::config::Config;
use crate::device::Device;
use crate::embeddings::Embeddings;
use crate::encoder::Encoder;
use crate::error::{LoadError, backend_error};
use crate::fit::check_fit;
use crate::heads;
use crate::loading::Loading;
use crate::packing::Packing;
use crate::pooler::Pooler;
use crate::precision::{Placement, Precision};
use crate::weights::Weights;

/// How to load an encoder.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// What [`ModelInfo::encoder_digest`] shall say: whoever read the bundle has computed it.
    pub encoder_digest: String,
    /// Where to run.
    pub device: Device,
    /// In which element type.
    pub precision: Precision,
    /// Threads of one operator on the processor; 0 leaves libtorch's own choice.
    pub threads: usize,
}

/// A DeBERTa v2 or v3 encoder. It stays on the thread that loaded it: libtorch's thread count belongs to that thread.
#[derive(Debug)]
pub struct Deberta {
    info: ModelInfo,
    token_types: usize,
    embeddings: Embeddings,
    encoder: Encoder,
    pooler: Option<Pooler>,
    stays_on_its_thread: PhantomData<Rc<()>>,
}

/// Loads the encoder in `encoder_dir` (`config.json`, `model.safetensors`). Call it on the thread that will own it.
///
/// # Errors
/// [`LoadError`] naming the file, key or tensor that does not fit.
pub fn load(encoder_dir: &Path, options: LoadOptions) -> Result<Deberta, LoadError> {
    let _no_gradients = tch::no_grad_guard();
    if let Some(threads) = i32::try_from(options.threads).ok().filter(|threads| *threads > 0) {
        tch::set_num_threads(threads);
    }
    let config = Config::open(encoder_dir)?;
    let placement = Placement::new(options.device, options.precision)?;
    let weights = Weights::open(encoder_dir)?;
    let mut loading = Loading { weights, config: &config, placement };
    let embeddings = Embeddings::load(&mut loading)?;
    let encoder = Encoder::load(&mut loading)?;
    let pooler = Pooler::load(&mut loading)?;
    loading.weights.finish()?;
    let info = ModelInfo {
        encoder_digest: options.encoder_digest,
        hidden: unsigned(config.hidden),
        embedding: unsigned(config.embedding),
        vocabulary: unsigned(config.vocabulary),
        max_positions: config.absolute_positions.map(unsigned),
        has_pooler: pooler.is_some(),
        device: options.device.to_string(),
        dtype: options.precision.to_string(),
    };
    Ok(Deberta {
        info,
        token_types: unsigned(config.token_types),
        embeddings,
        encoder,
        pooler,
        stays_on_its_thread: PhantomData,
    })
}

impl Model for Deberta {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
        for (index, row) in rows.iter().enumerate() {
            check_fit(row, &self.info, self.token_types)
                .map_err(|reason| ModelError::RowMisfit { row: index, reason })?;
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        // Gradient mode belongs to the thread, and another model on it may have ended its own guard in between.
        let _no_gradients = tch::no_grad_guard();
        match self.states(rows) {
            Ok(states) => states.outputs(rows),
            Err(error) => Err(backend_error(&error)),
        }
    }
}

/// What the encoder leaves of a batch, on the host in fp32.
#[derive(Debug)]
struct States {
    packing: Packing,
    hidden: usize,
    /// `[rows, hidden]`, in packed order.
    first: Vec<f32>,
    /// `[rows, hidden]`, in packed order; empty where nobody reads it.
    pooled: Vec<f32>,
    /// `[tokens, hidden]`; empty where nobody reads it.
    every: Vec<f32>,
}

impl Deberta {
    fn states(&mut self, rows: &[Row]) -> Result<States, TchError> {
        let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
        let packing = self.encoder.pack(&lengths);
        let input = self.embeddings.forward(rows, &packing)?;
        let hidden = self.encoder.forward(&input, &packing, rows.iter().any(reads_tokens))?;
        let first = hidden.first.f_to_kind(Kind::Float)?;
        let pooled = match &self.pooler {
            Some(pooler) if rows.iter().any(reads_pooled) => on_host(&pooler.forward(&first)?)?,
            _ => Vec::new(),
        };
        let every = match &hidden.every {
            Some(every) if rows.iter().any(reads_tokens) => on_host(every)?,
            _ => Vec::new(),
        };
        Ok(States { packing, hidden: self.info.hidden, first: on_host(&first)?, pooled, every })
    }
}

impl States {
    fn outputs(&self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
        let mut outputs = vec![RowOutput::default(); rows.len()];
        for (place, index) in self.packing.order.iter().copied().enumerate() {
            let output = self.output(&rows[index], place);
            if !is_finite(&output) {
                return Err(ModelError::NotFinite { row: index });
            }
            outputs[index] = output;
        }
        Ok(outputs)
    }

    fn output(&self, row: &Row, place: usize) -> RowOutput {
        let own = place * self.hidden..(place + 1) * self.hidden;
        let scores = row.heads.iter().map(|head| {
            if head.kind().reads_tokens() {
                let tokens = self.packing.tokens_of(place, row.tokens.len());
                heads::score(head, &self.every[tokens.start * self.hidden..tokens.end * self.hidden])
            } else {
                heads::score(head, &self.pooled[own.clone()])
            }
        });
        let vector = row.vector.map(|kind| match kind {
            VectorKind::Pooled => self.pooled[own.clone()].to_vec(),
            VectorKind::Cls => self.first[own.clone()].to_vec(),
        });
        RowOutput { scores: scores.collect(), vector }
    }
}

fn reads_tokens(row: &Row) -> bool {
    row.heads.iter().any(|head| head.kind().reads_tokens())
}

fn reads_pooled(row: &Row) -> bool {
    row.vector == Some(VectorKind::Pooled) || row.heads.iter().any(|head| !head.kind().reads_tokens())
}

fn is_finite(output: &RowOutput) -> bool {
    let logits = output.scores.iter().flat_map(|scores| scores.logits.iter());
    logits.chain(output.vector.iter().flatten()).all(|number| number.is_finite())
}

/// The copy to the host: on a GPU this is where a failed kernel shows.
fn on_host(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    let flat = tensor.f_to_kind(Kind::Float)?.f_to_device(tch::Device::Cpu)?.f_reshape([-1])?.f_contiguous()?;
    let count = unsigned(flat.size1()?);
    let mut numbers = vec![0f32; count];
    flat.f_copy_data(&mut numbers, count)?;
    Ok(numbers)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are not negative and fit in memory")]
fn unsigned(size: i64) -> usize {
    size as usize
}

#[cfg(test)]
mod tests;
