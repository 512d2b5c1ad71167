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

/// Says where two `tokenizer.json` give other ids for the same pieces; nothing where they do not.
pub(crate) fn difference(own: &[u8], found: &[u8]) -> Result<Option<String>, CheckpointError> {
    let parse = |bytes| -> Result<Value, CheckpointError> {
        serde_json::from_slice(bytes).map_err(|error| CheckpointError::json(FILE, error))
    };
    let (own, found) = (parse(own)?, parse(found)?);
    let kind = |tokenizer: &Value| tokenizer.pointer("/model/type").cloned();
    if kind(&own).is_some() && kind(&found).is_some() && kind(&own) != kind(&found) {
        return Ok(Some("its model is of another type".to_owned()));
    }
    if own.pointer("/model/vocab") != found.pointer("/model/vocab") {
        return Ok(Some("its vocabulary differs".to_owned()));
    }
    let added = |tokenizer: &Value| -> Vec<(Option<u64>, Option<String>)> {
        let tokens = tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
        let id = |token: &Value| token.get("id").and_then(Value::as_u64);
        let content = |token: &Value| token.get("content").and_then(Value::as_str).map(str::to_owned);
        let mut tokens: Vec<_> = tokens.map(|token| (id(token), content(token))).collect();
        tokens.sort();
        tokens
    };
    Ok((added(&own) != added(&found)).then(|| "its added tokens differ".to_owned()))
}

/// The bytes of `tokenizer.json` in `folder`, where there is one.
pub(crate) fn bytes(folder: &SourceFolder) -> Result<Option<Vec<u8>>, CheckpointError> {
    folder.bytes(FILE, MAX_TOKENIZER_BYTES)
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
