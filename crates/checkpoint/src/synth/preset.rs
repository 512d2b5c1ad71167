//! The geometries of the published family, and a tiny one for tests.

use std::fmt;
use std::str::FromStr;

use crate::encoder_config::{Convolution, EncoderConfig};
use crate::error::CheckpointError;

/// A geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name is the published model's")]
pub enum Preset {
    Tiny,
    Xsmall,
    Small,
    Base,
    MultilingualBase,
    Large,
    V2Xlarge,
}

impl Preset {
    /// Every preset, smallest first.
    pub const ALL: [Self; 7] =
        [Self::Tiny, Self::Xsmall, Self::Small, Self::Base, Self::MultilingualBase, Self::Large, Self::V2Xlarge];

    /// The preset's name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Xsmall => "xsmall",
            Self::Small => "small",
            Self::Base => "base",
            Self::MultilingualBase => "mdeberta",
            Self::Large => "large",
            Self::V2Xlarge => "v2-xlarge",
        }
    }

    pub(super) fn config(self) -> EncoderConfig {
        let (layers, hidden, heads, intermediate, vocabulary) = match self {
            Self::Tiny => (2, 32, 4, 64, 1_000),
            Self::Xsmall => (12, 384, 6, 1536, 128_100),
            Self::Small => (6, 768, 12, 3072, 128_100),
            Self::Base => (12, 768, 12, 3072, 128_100),
            Self::MultilingualBase => (12, 768, 12, 3072, 251_000),
            Self::Large => (24, 1024, 16, 4096, 128_100),
            Self::V2Xlarge => (24, 1536, 24, 6144, 128_100),
        };
        let gelu = || "gelu".to_owned();
        let convolution = Convolution { kernel: 3, groups: 1, activation: gelu() };
        EncoderConfig {
            vocabulary,
            hidden,
            embedding: hidden,
            layers,
            heads,
            intermediate,
            activation: gelu(),
            pooler_activation: gelu(),
            layer_norm_eps: 1e-7,
            max_positions: 512,
            position_biased_input: false,
            token_types: 0,
            relative_attention: true,
            content_to_position: true,
            position_to_content: true,
            share_att_key: true,
            max_relative_positions: -1,
            position_buckets: 256,
            norm_relative: true,
            convolution: (self == Self::V2Xlarge).then_some(convolution),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Preset {
    type Err = CheckpointError;

    fn from_str(name: &str) -> Result<Self, CheckpointError> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|preset| preset.as_str() == name);
        found.ok_or_else(|| CheckpointError::UnknownPreset(name.chars().take(64).collect(), known()))
    }
}
