//! One file with everything: the encoder, its own classifier, and every task's.

use serde_json::Value;

use crate::encoder_config::EncoderConfig;
use crate::error::CheckpointError;
use crate::multi_task;
use crate::raw_head::RawHead;
use crate::task_list::TaskList;
use crate::weights::Weights;

/// Reads the heads of the listed tasks.
///
/// # Errors
/// If names and tensors do not go together.
pub(crate) fn read(
    weights: &Weights,
    config: &Value,
    encoder: &EncoderConfig,
) -> Result<Vec<RawHead>, CheckpointError> {
    multi_task::read(weights, &TaskList::parse(config)?, encoder)
}
