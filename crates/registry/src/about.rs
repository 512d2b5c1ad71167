//! The part of `head.toml` that is for people.

use std::collections::BTreeMap;

use engine::About;
use serde::{Deserialize, Serialize};

use crate::manifest::{MAX_LINE_BYTES, MAX_PROSE_BYTES, MAX_WORD_BYTES, MAX_WORDS, ManifestError, check_prose};

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
        for (name, figure) in &self.metrics {
            check_prose("about.metrics", name, MAX_WORD_BYTES)?;
            if !figure.is_finite() {
                return Err(ManifestError::Value { key: "about.metrics", rule: "must be finite numbers".to_owned() });
            }
        }
        Ok(())
    }
}
