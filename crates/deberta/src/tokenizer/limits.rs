//! How long a sequence may be, from the files beside the tokenizer.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;

use crate::config::Config;
use crate::error::LoadError;

/// Larger figures in `tokenizer_config.json` mean "no limit": the class writes 10^30.
const NO_LIMIT: f64 = 1_000_000.0;
/// Where no file says anything.
const USUAL: usize = 512;

#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    model_max_length: Option<f64>,
}

/// Tokens a sequence may have: `wanted`, or what the files say; never more than there are absolute positions.
pub(super) fn longest_sequence(encoder_dir: &Path, wanted: Option<usize>) -> Result<usize, LoadError> {
    let config = match Config::open(encoder_dir) {
        Err(LoadError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        read => Some(read?),
    };
    let positions = config.as_ref().and_then(|config| config.absolute_positions).map(size);
    let said = match wanted {
        Some(wanted) => wanted,
        None => match model_max_length(encoder_dir)? {
            Some(said) => said,
            None => config.map_or(USUAL, |config| size(config.max_position_embeddings)),
        },
    };
    Ok(positions.map_or(said, |positions| said.min(positions)))
}

fn model_max_length(encoder_dir: &Path) -> Result<Option<usize>, LoadError> {
    let path = encoder_dir.join("tokenizer_config.json");
    let text = match std::fs::read(&path) {
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| LoadError::Read { path, source })?,
    };
    let config: TokenizerConfig =
        serde_json::from_slice(&text).map_err(|source| LoadError::Json { file: "tokenizer_config.json", source })?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a million")]
    let said = config.model_max_length.filter(|length| (1.0..NO_LIMIT).contains(length)).map(|length| length as usize);
    Ok(said)
}

fn size(dimension: i64) -> usize {
    usize::try_from(dimension).unwrap_or_default()
}
