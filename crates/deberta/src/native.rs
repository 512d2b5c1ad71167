//! The encoder on our own kernels: files to arrays, rows to batches.

mod adapting;
mod arrays;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adapting::Adapting;
use engine::{ModelError, Row, RowOutput};
use kernels::{Encoder, EncoderError, InputRow, Instructions, STAGES, SharedWeights, SlotOf, Unsupported};

use crate::adapters::BatchAdapters;
use crate::config::Config;
use crate::device::Device;
use crate::error::{LoadError, backend_error};
use crate::model::{Kernels, LoadOptions};
use crate::precision::Precision;
use crate::relative_position::slot;
use crate::tensors::unsigned;
use crate::weights::Weights;

/// Weights that several models may run on.
#[derive(Debug)]
pub(crate) struct Shared {
    weights: SharedWeights,
    adapting: Arc<Adapting>,
    pub(crate) has_pooler: bool,
}

/// One encoder on its own threads.
#[derive(Debug)]
pub(crate) struct Native {
    encoder: Encoder,
    weights: SharedWeights,
    adapting: Arc<Adapting>,
    hidden: usize,
    reads_types: bool,
}

/// Why these kernels do not serve an encoder, if they do not.
pub(crate) fn refusal(options: &LoadOptions, config: &Config) -> Option<String> {
    if options.device != Device::Cpu {
        return Some(format!("kernels of our own run on cpu, not on {}", options.device));
    }
    if options.kernels == Kernels::Libtorch {
        return Some("the options ask for libtorch".to_owned());
    }
    if options.precision == Precision::Fp16 {
        return Some("processors do not compute in fp16".to_owned());
    }
    if let Err(unsupported) = instructions(options) {
        return Some(unsupported.to_string());
    }
    if options.kernels == Kernels::Auto && options.precision == Precision::Bf16 && kernels::has_tiles() {
        return Some("this processor multiplies tiles of bf16, which libtorch uses and our kernels do not".to_owned());
    }
    if config.convolution.is_some() {
        return Some("the encoder has a convolution".to_owned());
    }
    if options.precision != Precision::Fp32 && config.head_size % 2 != 0 {
        return Some(format!("a head size of {} is odd", config.head_size));
    }
    let skips = |relative| {
        (1..2 * MARGIN_DISTANCE).any(|distance| (slot(relative, distance) - slot(relative, distance - 1)) > 1)
    };
    if config.relative.as_ref().is_some_and(skips) {
        return Some("neighbouring distances between tokens skip a row of the relative embeddings".to_owned());
    }
    None
}

/// The instructions that an encoder is packed for.
fn instructions(options: &LoadOptions) -> Result<Instructions, Unsupported> {
    let precision = numbers(options.precision);
    let wanted = match options.kernels {
        Kernels::Avx2 => Instructions::Avx2,
        Kernels::Auto | Kernels::Native | Kernels::Libtorch => Instructions::best(precision)?,
    };
    wanted.serving(precision)
}

fn unavailable(error: &dyn std::error::Error) -> LoadError {
    LoadError::Unavailable { wanted: "an encoder on our own kernels".to_owned(), reason: error.to_string() }
}

fn numbers(precision: Precision) -> kernels::Precision {
    match precision {
        Precision::Fp32 | Precision::Fp16 => kernels::Precision::Fp32,
        Precision::Bf16 => kernels::Precision::Bf16,
        Precision::Int8 => kernels::Precision::Int8,
    }
}

/// Operations a second that `threads` threads of this processor reach in products of `precision`.
///
/// # Errors
/// [`LoadError::Unavailable`] where our own kernels do not multiply such numbers.
pub fn peak(precision: Precision, threads: usize) -> Result<f64, LoadError> {
    let unavailable =
        |reason| LoadError::Unavailable { wanted: format!("a measure of products in {precision}"), reason };
    if precision == Precision::Fp16 {
        return Err(unavailable("processors do not compute in it".to_owned()));
    }
    let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { threads };
    kernels::peak(numbers(precision), threads).map_err(|unsupported| unavailable(unsupported.to_string()))
}

/// Distances whose slots are looked at before an encoder is loaded: beyond, buckets only grow wider.
const MARGIN_DISTANCE: i64 = 4_096;

impl Shared {
    pub(crate) fn load(encoder_dir: &Path, config: &Config, options: &LoadOptions) -> Result<Self, LoadError> {
        let mut weights = Weights::open(encoder_dir)?;
        let instructions = instructions(options).map_err(|error| unavailable(&error))?;
        let has_pooler = arrays::has_pooler(&weights);
        let (shared, relative_rows) = arrays::load(&mut weights, config, (numbers(options.precision), instructions))?;
        weights.finish()?;
        let adapting = Arc::new(Adapting::new(config, relative_rows)?);
        Ok(Self { weights: shared, adapting, has_pooler })
    }
}

impl Native {
    pub(crate) fn new(shared: &Shared, config: &Config, threads: usize) -> Result<Self, LoadError> {
        let slot_of = config.relative.map(|relative| -> SlotOf {
            Box::new(move |distance| usize::try_from(slot(&relative, distance)).unwrap_or_default())
        });
        let encoder = Encoder::new(&shared.weights, threads, slot_of).map_err(|error| unavailable(&error))?;
        Ok(Self {
            encoder,
            weights: shared.weights.clone(),
            adapting: Arc::clone(&shared.adapting),
            hidden: unsigned(config.hidden),
            reads_types: config.token_types > 0,
        })
    }

    /// Where the time of all batches so far went, by stage.
    pub(crate) fn profile(&self) -> Vec<(String, Duration)> {
        let profile = self.encoder.profile();
        STAGES.iter().map(|stage| (format!("{stage:?}"), profile.of(*stage))).collect()
    }

    /// One output a row, for checked rows.
    pub(crate) fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
        let batch = BatchAdapters::of(rows);
        let adapters = self.adapting.ready(&self.weights, &batch).map_err(|error| backend_error(&error))?;
        let adapter_of = |place: Option<usize>| adapters.get(place?).map(AsRef::as_ref);
        let inputs = rows.iter().zip(&batch.of_row).map(|(row, place)| InputRow {
            ids: &row.tokens.ids,
            types: if self.reads_types { &row.tokens.type_ids } else { &[] },
            task_embedding: row.task_embedding.as_deref(),
            adapter: adapter_of(*place),
            every_token: row.reads.tokens,
        });
        let inputs: Vec<InputRow<'_>> = inputs.collect();
        let outputs = self.encoder.forward(&inputs, rows.iter().any(|row| row.reads.pooled));
        let outputs = outputs.map_err(|error: EncoderError| ModelError::Backend(error.to_string()))?;
        let output = |(output, row): (kernels::OutputRow, &Row)| RowOutput {
            pooled: row.reads.pooled.then(|| Arc::from(output.pooled)),
            cls: row.reads.cls.then(|| Arc::from(&output.states[..self.hidden])),
            tokens: row.reads.tokens.then(|| Arc::from(output.states)),
        };
        Ok(outputs.into_iter().zip(rows).map(output).collect())
    }
}
