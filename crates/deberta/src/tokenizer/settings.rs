//! What `tokenizer_config.json` says about sequences; the file may be absent.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;

use crate::error::LoadError;

const FILE: &str = "tokenizer_config.json";
/// Larger figures mean "no limit": the class writes 10^30.
const NO_LIMIT: f64 = 1_000_000.0;
/// Classes of `transformers` for any model; without `model_input_names` they hand no token types on.
const ANY_MODEL: [&str; 2] = ["TokenizersBackend", "PreTrainedTokenizerFast"];
const TOKEN_TYPES: &str = "token_type_ids";

/// The keys that decide what a sequence is.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Settings {
    model_max_length: Option<f64>,
    tokenizer_class: Option<String>,
    model_input_names: Option<Vec<String>>,
}

impl Settings {
    pub(super) fn open(encoder_dir: &Path) -> Result<Self, LoadError> {
        let path = encoder_dir.join(FILE);
        let text = match std::fs::read(&path) {
            Err(source) if source.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(|source| LoadError::Read { path, source })?,
        };
        serde_json::from_slice(&text).map_err(|source| LoadError::Json { file: FILE, source })
    }

    /// The longest sequence, where the file sets a limit.
    pub(super) fn max_tokens(&self) -> Option<usize> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a million")]
        let said =
            self.model_max_length.filter(|length| (1.0..NO_LIMIT).contains(length)).map(|length| length as usize);
        said
    }

    /// Whether the second text of a pair has a token type of its own: as the file's class hands inputs to the model.
    pub(super) fn has_token_types(&self) -> bool {
        match (&self.model_input_names, &self.tokenizer_class) {
            (Some(names), _) => names.iter().any(|name| name == TOKEN_TYPES),
            (None, Some(class)) => !ANY_MODEL.contains(&class.as_str()),
            (None, None) => true,
        }
    }
}
