//! How long a sequence may be, from the files beside the tokenizer.

use std::io::ErrorKind;
use std::path::Path;

use crate::config::Config;
use crate::error::LoadError;
use crate::tokenizer::settings::Settings;

/// Where no file says anything.
const USUAL: usize = 512;

/// Tokens a sequence may have: `wanted`, or what the files say; never more than there are absolute positions.
pub(super) fn longest_sequence(
    encoder_dir: &Path,
    settings: &Settings,
    wanted: Option<usize>,
) -> Result<usize, LoadError> {
    let config = match Config::open(encoder_dir) {
        Err(LoadError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        read => Some(read?),
    };
    let positions = config.as_ref().and_then(|config| config.absolute_positions).map(size);
    let said = match wanted {
        Some(wanted) => wanted,
        None => match settings.max_tokens() {
            Some(said) => said,
            None => config.map_or(USUAL, |config| size(config.max_position_embeddings)),
        },
    };
    Ok(positions.map_or(said, |positions| said.min(positions)))
}

fn size(dimension: i64) -> usize {
    usize::try_from(dimension).unwrap_or_default()
}
