//! The tables `[[golden]]` of `head.toml`.

use engine::{DEFAULT_TOLERANCE, Golden, Input, MAX_GOLDENS};
use serde::{Deserialize, Serialize};

use crate::manifest::{MAX_PROSE_BYTES, MAX_WORDS, ManifestError, check_prose};

/// More logits than any input of that size has.
const MAX_LOGITS: usize = 1 << 17;

/// A table as written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGolden {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_pair: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    choices: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<String>,
    logits: Vec<f32>,
    tolerance: Option<f32>,
}

impl RawGolden {
    pub(crate) fn of(golden: &Golden) -> Self {
        let Input { text, text_pair, choices, tokens } = golden.input.clone();
        Self { text, text_pair, choices, tokens, logits: golden.logits.clone(), tolerance: Some(golden.tolerance) }
    }

    /// Sizes alone: whether the head takes the input and gives so many logits is for [`engine::Head::new`] to say.
    fn check(self) -> Result<Golden, ManifestError> {
        let key = "golden";
        let Self { text, text_pair, choices, tokens, logits, tolerance } = self;
        let refuse = |rule: String| Err(ManifestError::Value { key, rule });
        if choices.len() > MAX_WORDS {
            return refuse(format!("{} choices, the limit is {MAX_WORDS}", choices.len()));
        }
        if logits.len() > MAX_LOGITS {
            return refuse(format!("{} logits, the limit is {MAX_LOGITS}", logits.len()));
        }
        let texts = text.iter().chain(&text_pair).chain(&choices);
        texts.chain([&tokens.join(" ")]).try_for_each(|text| check_prose(key, text, MAX_PROSE_BYTES))?;
        let tolerance = tolerance.unwrap_or(DEFAULT_TOLERANCE);
        Ok(Golden { input: Input { text, text_pair, choices, tokens }, logits, tolerance })
    }
}

pub(crate) fn parse(raw: Vec<RawGolden>) -> Result<Vec<Golden>, ManifestError> {
    if raw.len() > MAX_GOLDENS {
        let rule = format!("{} tables, the limit is {MAX_GOLDENS}", raw.len());
        return Err(ManifestError::Value { key: "golden", rule });
    }
    raw.into_iter().map(RawGolden::check).collect()
}
