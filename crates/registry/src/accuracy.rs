//! `accuracy.toml` of a bundle: what reduced modes were measured to change of the answers in fp32.
//!
//! ```toml
//! format = 1
//! # The digest of the encoder that was measured; figures of another encoder say nothing of this one.
//! encoder = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
//!
//! # One table for each mode.
//! [[measured]]
//! dtype = "bf16"
//! device = "cpu"
//! # The version of Headwater that measured it.
//! headwater = "0.1.0"
//! # Rows that the encoder read, in each of the two modes.
//! rows = 5321
//! # Answers that name labels or a choice, and those of them that named others than in fp32.
//! answers = 4100
//! flips = 9
//! # The same for tokens, of heads that label every token.
//! tokens = 5200
//! token_flips = 3
//! # Absolute differences of logits.
//! largest_difference = 0.09
//! mean_difference = 0.006
//! ```
//! It is no part of the encoder's identity: recording a measurement changes no digest.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::RegistryError;
use crate::files;

/// Name of the file in a bundle's folder.
pub const ACCURACY_FILE: &str = "accuracy.toml";

const FORMAT: u32 = 1;
const MAX_BYTES: u64 = 1 << 16;
const HEADING: &str =
    "# What reduced modes change of the answers in fp32; `headwater-server accuracy --record` writes it.\n";

/// What was measured on one encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Accuracy {
    /// The digest of that encoder.
    pub encoder: Digest,
    /// One entry for each element type and device.
    pub measured: Vec<MeasuredMode>,
}

/// How the answers of one reduced mode differ from those in fp32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredMode {
    /// Element type of the mode.
    pub dtype: String,
    /// Where it was measured: `cpu` or `cuda`.
    pub device: String,
    /// The version of Headwater that measured it.
    pub headwater: String,
    /// Rows that the encoder read, in each of the two modes.
    pub rows: u64,
    /// Answers that name labels or a choice.
    pub answers: u64,
    /// Those of them that named others than in fp32.
    pub flips: u64,
    /// Tokens labelled.
    pub tokens: u64,
    /// Those of them that had another label in fp32.
    pub token_flips: u64,
    /// Largest absolute difference of a logit.
    pub largest_difference: f64,
    /// Mean absolute difference of the logits.
    pub mean_difference: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccuracy {
    format: u32,
    encoder: String,
    measured: Vec<MeasuredMode>,
}

impl MeasuredMode {
    /// The larger of the two rates, of answers and of tokens, 0 to 1: many tokens do not hide what few answers show.
    #[must_use]
    pub fn flip_rate(&self) -> f64 {
        let rate = |flips: u64, of: u64| if of == 0 { 0.0 } else { flips as f64 / of as f64 };
        rate(self.flips, self.answers).max(rate(self.token_flips, self.tokens))
    }
}

impl Accuracy {
    /// Reads the file in the bundle `dir`; `None` where nothing was recorded.
    ///
    /// # Errors
    /// If it is there and cannot be read as drawn above.
    pub fn read(dir: &Path) -> Result<Option<Self>, RegistryError> {
        let path = dir.join(ACCURACY_FILE);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let mut text = String::new();
        let read = files::open_regular(&path)?.take(MAX_BYTES + 1).read_to_string(&mut text);
        read.map_err(RegistryError::io("read", &path))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(RegistryError::folder(&path, format!("larger than the limit of {MAX_BYTES} bytes")));
        }
        Self::parse(&text).map(Some).map_err(|problem| RegistryError::folder(&path, problem))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let raw: RawAccuracy = toml::from_str(text).map_err(|error| error.to_string())?;
        if raw.format != FORMAT {
            return Err(format!("format {} is unknown, expected {FORMAT}", raw.format));
        }
        let encoder = raw.encoder.parse().map_err(|error| format!("encoder: {error}"))?;
        Ok(Self { encoder, measured: raw.measured })
    }

    /// Writes the file into the bundle `dir`, whole or not at all.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub fn write(&self, dir: &Path) -> Result<(), RegistryError> {
        let path = dir.join(ACCURACY_FILE);
        let raw = RawAccuracy { format: FORMAT, encoder: self.encoder.to_string(), measured: self.measured.clone() };
        let text = toml::to_string(&raw).map_err(|error| RegistryError::folder(&path, error.to_string()))?;
        files::replace(&path, format!("{HEADING}{text}").as_bytes())?;
        files::sync_directory(dir)
    }

    /// What was measured of that element type on that device.
    #[must_use]
    pub fn of_mode(&self, dtype: &str, device: &str) -> Option<&MeasuredMode> {
        self.measured.iter().find(|mode| mode.dtype == dtype && mode.device == device)
    }

    /// Puts `mode` in place of what was measured of its element type and device before.
    pub fn put(&mut self, mode: MeasuredMode) {
        self.measured.retain(|old| (&old.dtype, &old.device) != (&mode.dtype, &mode.device));
        self.measured.push(mode);
        self.measured.sort_by(|a, b| (&a.device, &a.dtype).cmp(&(&b.device, &b.dtype)));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use tempfile::TempDir;

    use super::*;
    use crate::testing::head;
    use crate::{Bundle, BundleWriter, EncoderFile};

    fn mode(dtype: &str, flips: u64) -> MeasuredMode {
        MeasuredMode {
            dtype: dtype.to_owned(),
            device: "cpu".to_owned(),
            headwater: "0.1.0".to_owned(),
            rows: 1_200,
            answers: 1_000,
            flips,
            tokens: 400,
            token_flips: 1,
            largest_difference: 0.125,
            mean_difference: 0.012_345_678,
        }
    }

    fn record() -> Accuracy {
        Accuracy { encoder: Digest::of(b"encoder"), measured: vec![mode("bf16", 2), mode("int8", 7)] }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let dir = TempDir::new().unwrap();
        assert_eq!(Accuracy::read(dir.path()).unwrap(), None);
        record().write(dir.path()).unwrap();
        assert_eq!(Accuracy::read(dir.path()).unwrap(), Some(record()));
    }

    #[test]
    fn a_new_measurement_takes_the_place_of_the_old_one() {
        let mut record = record();
        record.put(mode("bf16", 3));
        assert_eq!(record.measured.len(), 2);
        assert_eq!(record.of_mode("bf16", "cpu").map(|mode| mode.flips), Some(3));
        assert_eq!(record.of_mode("bf16", "cuda"), None);
    }

    #[test]
    fn the_larger_rate_counts_and_nothing_of_nothing_is_none() {
        assert_eq!(mode("bf16", 7).flip_rate(), 0.007);
        assert_eq!(mode("bf16", 0).flip_rate(), 0.0025);
        let nothing = MeasuredMode { answers: 0, flips: 0, tokens: 0, token_flips: 0, ..mode("bf16", 0) };
        assert_eq!(nothing.flip_rate(), 0.0);
    }

    #[test]
    fn damaged_and_unknown_forms_are_refused() {
        let dir = TempDir::new().unwrap();
        record().write(dir.path()).unwrap();
        let path = dir.path().join(ACCURACY_FILE);
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in [("format = 1", "format = 2"), ("sha256:", "md5:"), ("flips = 2", "flips = -2")] {
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            assert!(matches!(Accuracy::read(dir.path()), Err(RegistryError::Folder { .. })), "{to}");
        }
    }

    #[test]
    fn a_record_changes_neither_the_encoder_s_digest_nor_the_heads() {
        let dir = TempDir::new().unwrap();
        let target = dir.path().join("bundle");
        let mut writer = BundleWriter::create(&target).unwrap();
        for file in [EncoderFile::Config, EncoderFile::Model, EncoderFile::Tokenizer] {
            writer.create_encoder_file(file).unwrap().write_all(b"{}").unwrap();
        }
        writer.add_head(&"a".parse().unwrap(), &head(1)).unwrap();
        let digest = writer.finish().unwrap();
        record().write(&target).unwrap();
        let bundle = Bundle::open(&target).unwrap();
        assert_eq!(bundle.encoder_digest().unwrap(), digest);
        assert_eq!(bundle.heads().len(), 1);
    }
}
