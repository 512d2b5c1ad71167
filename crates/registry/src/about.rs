//! The part of `head.toml` that is for people.

use std::collections::BTreeMap;

use engine::{About, Input};
use serde::{Deserialize, Serialize};

use crate::manifest::{MAX_LINE_BYTES, MAX_PROSE_BYTES, MAX_WORD_BYTES, MAX_WORDS, ManifestError, check_prose};

/// The most samples of one head.
const MAX_SAMPLES: usize = 16;

/// The table `[about]` as written.
#[derive(Deserialize, Serialize, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAbout {
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    caution: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    licence: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dataset: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metrics: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    samples: Vec<RawSample>,
}

/// A table of `[[about.samples]]` as written.
#[derive(Deserialize, Serialize, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct RawSample {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_pair: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    choices: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<String>,
}

impl RawAbout {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn of(about: &About) -> Self {
        Self {
            description: about.description.clone(),
            caution: about.caution.clone(),
            tags: about.tags.clone(),
            licence: about.licence.clone(),
            dataset: about.dataset.clone(),
            source: about.source.clone(),
            metrics: about.metrics.clone(),
            samples: about.samples.iter().cloned().map(RawSample::from).collect(),
        }
    }

    pub(crate) fn into_about(self) -> About {
        About {
            description: self.description,
            caution: self.caution,
            tags: self.tags,
            licence: self.licence,
            dataset: self.dataset,
            source: self.source,
            metrics: self.metrics,
            samples: self.samples.into_iter().map(Input::from).collect(),
            fit: None,
            goldens: Vec::new(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        check_prose("about.description", &self.description, MAX_PROSE_BYTES)?;
        check_prose("about.caution", &self.caution, MAX_PROSE_BYTES)?;
        check_prose("about.licence", &self.licence, MAX_LINE_BYTES)?;
        check_prose("about.dataset", &self.dataset, MAX_LINE_BYTES)?;
        check_prose("about.source", &self.source, MAX_LINE_BYTES)?;
        if self.tags.len() > MAX_WORDS || self.metrics.len() > MAX_WORDS {
            let rule = format!("at most {MAX_WORDS} tags and {MAX_WORDS} metrics");
            return Err(ManifestError::Value { key: "about", rule });
        }
        self.tags.iter().try_for_each(|tag| check_prose("about.tags", tag, MAX_WORD_BYTES))?;
        if self.samples.len() > MAX_SAMPLES {
            let rule = format!("{} samples, the limit is {MAX_SAMPLES}", self.samples.len());
            return Err(ManifestError::Value { key: "about.samples", rule });
        }
        self.samples.iter().try_for_each(RawSample::check)?;
        for (name, figure) in &self.metrics {
            check_prose("about.metrics", name, MAX_WORD_BYTES)?;
            if !figure.is_finite() {
                return Err(ManifestError::Value { key: "about.metrics", rule: "must be finite numbers".to_owned() });
            }
        }
        Ok(())
    }
}

impl RawSample {
    /// Sizes alone: whether the kind takes these fields is for [`engine::Head::new`] to say.
    fn check(&self) -> Result<(), ManifestError> {
        let key = "about.samples";
        if self.choices.len() > MAX_WORDS {
            let rule = format!("{} choices, the limit is {MAX_WORDS}", self.choices.len());
            return Err(ManifestError::Value { key, rule });
        }
        let texts = self.text.iter().chain(&self.text_pair).chain(&self.choices);
        texts.chain([&self.tokens.join(" ")]).try_for_each(|text| check_prose(key, text, MAX_PROSE_BYTES))
    }
}

impl From<Input> for RawSample {
    fn from(sample: Input) -> Self {
        let Input { text, text_pair, choices, tokens } = sample;
        Self { text, text_pair, choices, tokens }
    }
}

impl From<RawSample> for Input {
    fn from(sample: RawSample) -> Self {
        let RawSample { text, text_pair, choices, tokens } = sample;
        Self { text, text_pair, choices, tokens }
    }
}
