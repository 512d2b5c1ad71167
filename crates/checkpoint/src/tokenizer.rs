//! The tokenizer's files: `tokenizer.json` must be there and sound, `tokenizer_config.json` may be.

use serde_json::Value;

use crate::error::CheckpointError;
use crate::folder::SourceFolder;

/// The longest `tokenizer.json`; the multilingual one has 16 MB.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
/// The longest `tokenizer_config.json`.
const MAX_SETTINGS_BYTES: u64 = 4 << 20;
const FILE: &str = "tokenizer.json";
const SETTINGS: &str = "tokenizer_config.json";
const SENTENCEPIECE: &str = "spm.model";
const CONVERT: &str = "there is only spm.model; make the file with python -c \"from transformers import AutoTokenizer; \
                       AutoTokenizer.from_pretrained('.').save_pretrained('.')\" in that folder";

/// The tokenizer of a checkpoint, as bytes that will be copied.
#[derive(Debug)]
pub(crate) struct TokenizerFiles {
    /// `tokenizer.json`
    pub(crate) tokenizer: Vec<u8>,
    /// `tokenizer_config.json`
    pub(crate) settings: Option<Vec<u8>>,
    /// One more than the largest id.
    pub(crate) ids: usize,
}

/// Reads the tokenizer in `folder`.
///
/// # Errors
/// If `tokenizer.json` is missing or malformed.
pub(crate) fn read(folder: &SourceFolder) -> Result<TokenizerFiles, CheckpointError> {
    let hint = folder.has(SENTENCEPIECE).then_some(CONVERT);
    let tokenizer = folder.required_bytes(FILE, MAX_TOKENIZER_BYTES, hint)?;
    let parsed: Value = serde_json::from_slice(&tokenizer).map_err(|error| CheckpointError::json(FILE, error))?;
    let ids = ids(&parsed).ok_or_else(|| CheckpointError::json(FILE, "it has no model with a vocabulary"))?;
    let settings = folder.bytes(SETTINGS, MAX_SETTINGS_BYTES)?;
    if let Some(settings) = &settings {
        let parsed: Value = serde_json::from_slice(settings).map_err(|error| CheckpointError::json(SETTINGS, error))?;
        if !parsed.is_object() {
            return Err(CheckpointError::json(SETTINGS, "it is no object"));
        }
    }
    Ok(TokenizerFiles { tokenizer, settings, ids })
}

/// One more than the largest id that the tokenizer can give.
fn ids(tokenizer: &Value) -> Option<usize> {
    let vocabulary = tokenizer.get("model")?.get("vocab")?;
    let largest = match vocabulary {
        Value::Array(pieces) => pieces.len().checked_sub(1),
        Value::Object(pieces) => pieces.values().filter_map(Value::as_u64).max().map(|id| id as usize),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    let added = tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let added = added.filter_map(|token| token.get("id")?.as_u64()).map(|id| id as usize);
    largest.into_iter().chain(added).max().map(|id| id + 1)
}
