//! Adapters: a second folder with the classifiers and task embeddings of a model's tasks, and nothing of the encoder.

use crate::encoder_config::EncoderConfig;
use crate::error::CheckpointError;
use crate::folder::SourceFolder;
use crate::model_config;
use crate::multi_task;
use crate::raw_head::RawHead;
use crate::task_list::TaskList;
use crate::weights::{Conversion, Weights};

/// Heads from a folder of adapters, and the file they were in.
#[derive(Debug)]
pub(crate) struct Adapters {
    /// One for each listed task.
    pub(crate) heads: Vec<RawHead>,
    /// The file of weights.
    pub(crate) read_from: &'static str,
}

/// Reads the adapters in `folder` for an encoder of configuration `encoder`.
///
/// # Errors
/// If the folder holds other tensors, or its heads do not fit the encoder.
pub(crate) fn read(
    folder: &SourceFolder,
    encoder: &EncoderConfig,
    conversion: Conversion<'_>,
) -> Result<Adapters, CheckpointError> {
    let config = model_config::read(folder)?;
    let weights = Weights::open(folder, conversion)?;
    if let Some(name) = weights.names().find(|name| !multi_task::is_ours(name)) {
        let hint = Some("a folder of adapters holds Z and classifiers only");
        return Err(CheckpointError::UnexpectedTensor { name: name.to_owned(), hint });
    }
    let heads = multi_task::read(&weights, &TaskList::parse(&config)?, encoder)?;
    Ok(Adapters { heads, read_from: weights.read_from })
}
