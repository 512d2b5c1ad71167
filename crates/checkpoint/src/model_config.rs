//! `config.json` as JSON, under a size limit.

use serde_json::Value;

use crate::error::CheckpointError;
use crate::folder::SourceFolder;

/// The longest `config.json`: some thousand tasks with their labels.
const MAX_CONFIG_BYTES: u64 = 8 << 20;
const FILE: &str = "config.json";

/// Reads `config.json` in `folder`. The parser itself bounds the depth.
///
/// # Errors
/// If it is missing, too long, or no JSON object.
pub(crate) fn read(folder: &SourceFolder) -> Result<Value, CheckpointError> {
    let bytes = folder.required_bytes(FILE, MAX_CONFIG_BYTES, None)?;
    let config: Value = serde_json::from_slice(&bytes).map_err(|error| CheckpointError::json(FILE, error))?;
    if config.is_object() { Ok(config) } else { Err(CheckpointError::json(FILE, "it is no object")) }
}
