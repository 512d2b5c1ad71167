//! The part of `head.toml` that says where the head's training text lies among the encoder's pooled vectors.

use std::sync::Arc;

use engine::OodStatistics;
use serde::{Deserialize, Serialize};

use crate::manifest::ManifestError;

/// Hexadecimal digits of one bfloat16.
const DIGITS: usize = 4;

/// The table `[ood]` as written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawOod {
    vectors: u64,
    scale: f32,
    mean: String,
    deviation: String,
}

impl RawOod {
    pub(crate) fn of(statistics: &OodStatistics) -> Self {
        Self {
            vectors: statistics.vectors(),
            scale: statistics.scale(),
            mean: digits(statistics.mean()),
            deviation: digits(statistics.deviation()),
        }
    }

    pub(crate) fn check(self) -> Result<Arc<OodStatistics>, ManifestError> {
        let (mean, deviation) = (numbers("ood.mean", &self.mean)?, numbers("ood.deviation", &self.deviation)?);
        let refuse = |error: engine::OodError| ManifestError::Value { key: "ood", rule: error.to_string() };
        OodStatistics::new(self.vectors, self.scale, mean, deviation).map(Arc::new).map_err(refuse)
    }
}

/// The upper half of each float32, which is its bfloat16.
fn digits(numbers: &[f32]) -> String {
    numbers.iter().map(|number| format!("{:04x}", number.to_bits() >> 16)).collect()
}

fn numbers(key: &'static str, digits: &str) -> Result<Vec<f32>, ManifestError> {
    let refuse = || ManifestError::Value { key, rule: "must be four hexadecimal digits for each number".to_owned() };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) || !digits.len().is_multiple_of(DIGITS) {
        return Err(refuse());
    }
    let number = |four: &[u8]| {
        let half = std::str::from_utf8(four).ok().and_then(|four| u32::from_str_radix(four, 16).ok());
        half.map(|half| f32::from_bits(half << 16)).ok_or_else(refuse)
    };
    digits.as_bytes().chunks_exact(DIGITS).map(number).collect()
}
