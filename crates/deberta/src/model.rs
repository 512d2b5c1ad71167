//! The encoder as the engine sees it: rows in, vectors out.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use engine::{Lesson, Model, ModelError, ModelInfo, Row, RowOutput, Upstream};

use crate::config::Config;
use crate::device::Device;
use crate::error::LoadError;
use crate::fit::{Sizes, check_fit};
use crate::native::{self, Native};
use crate::precision::{Placement, Precision};
use crate::tensors::{Tensors, unsigned};

/// How to load an encoder.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// What [`ModelInfo::encoder_digest`] shall say: whoever read the bundle has computed it.
    pub encoder_digest: String,
    /// Where to run.
    pub device: Device,
    /// In which element type.
    pub precision: Precision,
    /// Threads on the processor; 0 is one for each core.
    pub threads: usize,
    /// Whose kernels to use on the processor.
    pub kernels: Kernels,
}

/// Whose kernels an encoder runs on. On a GPU ours are those of attention and normalisation, in half precision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kernels {
    /// Our own where the device has their instructions and they serve the encoder, libtorch's otherwise.
    #[default]
    Auto,
    /// Our own on a processor, or an error.
    Native,
    /// As on a processor without AVX-512.
    Avx2,
    /// libtorch's.
    Libtorch,
}

impl std::str::FromStr for Kernels {
    type Err = LoadError;

    fn from_str(name: &str) -> Result<Self, LoadError> {
        let all = [Self::Auto, Self::Native, Self::Avx2, Self::Libtorch];
        all.into_iter().find(|kernels| kernels.to_string() == name).ok_or_else(|| LoadError::Unavailable {
            wanted: format!("kernels {name:?}"),
            reason: "expected auto, native, avx2 or libtorch".to_owned(),
        })
    }
}

impl std::fmt::Display for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Avx2 => "avx2",
            Self::Libtorch => "libtorch",
        })
    }
}

/// An encoder's files and how to load them. Models of one source share weights where they can.
#[derive(Debug)]
pub struct Source {
    encoder_dir: PathBuf,
    options: LoadOptions,
    shared: Mutex<Option<native::Shared>>,
}

/// A DeBERTa v2 or v3 encoder. It stays on the thread that loaded it: libtorch's thread count belongs to that thread.
#[derive(Debug)]
pub struct Deberta {
    info: ModelInfo,
    sizes: Sizes,
    backbone: Backbone,
    /// The same encoder once more, for gradients to flow through, while a course of lessons lasts.
    pupil: Option<(Weak<()>, Box<Tensors>)>,
    files: (PathBuf, Device),
    stays_on_its_thread: PhantomData<Rc<()>>,
}

#[derive(Debug)]
enum Backbone {
    Native(Box<Native>),
    Tensors(Box<Tensors>),
}

/// Loads the encoder in `encoder_dir` (`config.json`, `model.safetensors`). Call it on the thread that will own it.
///
/// # Errors
/// [`LoadError`] naming the file, key or tensor that does not fit.
pub fn load(encoder_dir: &Path, options: LoadOptions) -> Result<Deberta, LoadError> {
    Source::new(encoder_dir, options).load()
}

impl Source {
    /// The encoder in `encoder_dir` (`config.json`, `model.safetensors`); nothing is read yet.
    #[must_use]
    pub fn new(encoder_dir: &Path, options: LoadOptions) -> Self {
        Self { encoder_dir: encoder_dir.to_owned(), options, shared: Mutex::new(None) }
    }

    /// Loads one more model. Call it on the thread that will own it.
    ///
    /// # Errors
    /// [`LoadError`] naming the file, key or tensor that does not fit.
    pub fn load(&self) -> Result<Deberta, LoadError> {
        let options = &self.options;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        if let Ok(threads) = i32::try_from(threads) {
            tch::set_num_threads(threads);
        }
        let config = Config::open(&self.encoder_dir)?;
        let (backbone, has_pooler) = match native::refusal(options, &config) {
            None => {
                // A load that fails leaves nothing behind, so a poisoned lock still guards a whole value.
                let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                let shared = match &mut *shared {
                    Some(shared) => shared,
                    nothing => nothing.insert(native::Shared::load(&self.encoder_dir, &config, options)?),
                };
                (Backbone::Native(Box::new(Native::new(shared, &config, threads)?)), shared.has_pooler)
            }
            Some(reason) if options.kernels == Kernels::Native || options.precision == Precision::Int8 => {
                return Err(LoadError::Unavailable {
                    wanted: format!("{} on our own kernels", options.precision),
                    reason,
                });
            }
            Some(reason) => {
                tracing::info!(%reason, "the encoder runs on libtorch");
                let placement = Placement {
                    is_fused: options.kernels != Kernels::Libtorch,
                    ..Placement::new(options.device, options.precision)?
                };
                let tensors = Tensors::load(&self.encoder_dir, &config, placement)?;
                let has_pooler = tensors.has_pooler();
                (Backbone::Tensors(Box::new(tensors)), has_pooler)
            }
        };
        let info = ModelInfo {
            encoder_digest: options.encoder_digest.clone(),
            hidden: unsigned(config.hidden),
            embedding: unsigned(config.embedding),
            vocabulary: unsigned(config.vocabulary),
            max_positions: config.absolute_positions.map(unsigned),
            has_pooler,
            device: options.device.to_string(),
            dtype: options.precision.to_string(),
        };
        let sizes = Sizes {
            token_types: unsigned(config.token_types),
            layers: unsigned(config.layers),
            inner: unsigned(config.intermediate),
        };
        Ok(Deberta {
            info,
            sizes,
            backbone,
            pupil: None,
            files: (self.encoder_dir.clone(), options.device),
            stays_on_its_thread: PhantomData,
        })
    }
}

impl Deberta {
    /// Where the time of all batches so far went, stage by stage; empty on libtorch's kernels.
    #[must_use]
    pub fn profile(&self) -> Vec<(String, Duration)> {
        match &self.backbone {
            Backbone::Native(native) => native.profile(),
            Backbone::Tensors(_) => Vec::new(),
        }
    }
}

impl Model for Deberta {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
        for (index, row) in rows.iter().enumerate() {
            check_fit(row, &self.info, self.sizes).map_err(|reason| ModelError::RowMisfit { row: index, reason })?;
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        if self.pupil.as_ref().is_some_and(|(lessons, _)| lessons.strong_count() == 0) {
            self.pupil = None;
        }
        let outputs = match &mut self.backbone {
            Backbone::Native(native) => native.forward(rows)?,
            Backbone::Tensors(tensors) => tensors.forward(rows)?,
        };
        match outputs.iter().position(|output| !is_finite(output)) {
            Some(row) => Err(ModelError::NotFinite { row }),
            None => Ok(outputs),
        }
    }

    /// Through libtorch in fp32, whatever kernels and precision serve: the first lesson loads the encoder once more.
    fn embedding_gradient(&mut self, lesson: Lesson<'_>, upstream: &mut Upstream<'_>) -> Result<Vec<f32>, ModelError> {
        for (index, row) in lesson.rows.iter().enumerate() {
            let own = Row { task_embedding: Some(lesson.embedding.into()), ..row.clone() };
            check_fit(&own, &self.info, self.sizes).map_err(|reason| ModelError::RowMisfit { row: index, reason })?;
        }
        if self.pupil.is_none() {
            let pupil = pupil(&self.files.0, self.files.1).map_err(|error| ModelError::Backend(error.to_string()))?;
            self.pupil = Some((lesson.lessons.watch(), Box::new(pupil)));
        }
        let Some((lessons, pupil)) = &mut self.pupil else {
            return Err(ModelError::Backend("the encoder for lessons is gone".to_owned()));
        };
        *lessons = lesson.lessons.watch();
        let gradient = pupil.embedding_gradient(lesson, upstream)?;
        match gradient.iter().all(|number| number.is_finite()) {
            true => Ok(gradient),
            false => Err(ModelError::NotFinite { row: 0 }),
        }
    }
}

/// The encoder in `dir` in fp32 on `device`, laid out so that gradients flow through it.
fn pupil(dir: &Path, device: Device) -> Result<Tensors, LoadError> {
    let config = Config::open(dir)?;
    let placement = Placement { differentiable: true, ..Placement::new(device, Precision::Fp32)? };
    Tensors::load(dir, &config, placement)
}

fn is_finite(output: &RowOutput) -> bool {
    let parts = [&output.pooled, &output.cls, &output.tokens];
    parts.into_iter().flatten().all(|part| part.iter().all(|number| number.is_finite()))
}

#[cfg(test)]
mod tests;
