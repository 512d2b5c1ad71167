//! The table `[fit]` of `head.toml`: how a server fitted the head.

use std::collections::BTreeMap;

use engine::FitRecord;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::manifest::{MAX_WORD_BYTES, MAX_WORDS, ManifestError, check_prose};

/// The table as written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFit {
    data_digest: String,
    unix_seconds: i64,
    elapsed_millis: i64,
    train_rows: i64,
    validation_rows: i64,
    skipped_rows: i64,
    solver: String,
    l2_strength: f64,
    folds: u32,
    class_weights: String,
    seed: String,
    max_iterations: u32,
    iterations: u32,
    converged: bool,
    embedding_steps: u32,
    /// Heads that were fitted before there were any have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    figures: BTreeMap<String, f64>,
}

impl RawFit {
    pub(crate) fn of(record: &FitRecord) -> Self {
        // TOML's whole numbers end here; no count of rows or milliseconds comes near.
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self {
            data_digest: record.data_digest.clone(),
            unix_seconds: whole(record.unix_seconds),
            elapsed_millis: whole(record.elapsed_millis),
            train_rows: whole(record.train_rows),
            validation_rows: whole(record.validation_rows),
            skipped_rows: whole(record.skipped_rows),
            solver: record.solver.clone(),
            l2_strength: record.l2_strength,
            folds: record.folds,
            class_weights: record.class_weights.clone(),
            seed: record.seed.to_string(),
            max_iterations: record.max_iterations,
            iterations: record.iterations,
            converged: record.converged,
            embedding_steps: record.embedding_steps,
            figures: record.figures.clone(),
        }
    }

    pub(crate) fn into_record(self) -> Result<FitRecord, ManifestError> {
        let refuse = |key, rule: &str| ManifestError::Value { key, rule: rule.to_owned() };
        let whole = |key, number: i64| u64::try_from(number).map_err(|_| refuse(key, "must not be below 0"));
        if self.data_digest.parse::<Digest>().is_err() {
            return Err(refuse("fit.data_digest", "must be `sha256:` and 64 lower-case hexadecimal digits"));
        }
        if !self.l2_strength.is_finite() || self.l2_strength < 0.0 {
            return Err(refuse("fit.l2_strength", "must be a finite number, not below 0"));
        }
        check_prose("fit.solver", &self.solver, MAX_WORD_BYTES)?;
        check_prose("fit.class_weights", &self.class_weights, MAX_WORD_BYTES)?;
        if self.figures.len() > MAX_WORDS || self.figures.values().any(|figure| !figure.is_finite()) {
            return Err(refuse("fit.figures", "must be finite numbers, at most 64"));
        }
        self.figures.keys().try_for_each(|name| check_prose("fit.figures", name, MAX_WORD_BYTES))?;
        let seed = self.seed.parse().map_err(|_| refuse("fit.seed", "must be a whole number from 0, in quotes"))?;
        Ok(FitRecord {
            data_digest: self.data_digest,
            unix_seconds: whole("fit.unix_seconds", self.unix_seconds)?,
            elapsed_millis: whole("fit.elapsed_millis", self.elapsed_millis)?,
            train_rows: whole("fit.train_rows", self.train_rows)?,
            validation_rows: whole("fit.validation_rows", self.validation_rows)?,
            skipped_rows: whole("fit.skipped_rows", self.skipped_rows)?,
            solver: self.solver,
            l2_strength: self.l2_strength,
            folds: self.folds,
            class_weights: self.class_weights,
            seed,
            max_iterations: self.max_iterations,
            iterations: self.iterations,
            converged: self.converged,
            embedding_steps: self.embedding_steps,
            figures: self.figures,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> FitRecord {
        FitRecord {
            data_digest: Digest::of(b"rows").to_string(),
            train_rows: 10,
            l2_strength: 0.1,
            seed: u64::MAX,
            figures: BTreeMap::from([("accuracy".to_owned(), 0.75)]),
            ..FitRecord::default()
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let written = toml::to_string(&RawFit::of(&record())).unwrap();
        let read: RawFit = toml::from_str(&written).unwrap();
        assert_eq!(read.into_record().unwrap(), record());
    }

    #[test]
    fn a_table_that_was_written_before_there_were_figures_is_read() {
        let without = FitRecord { figures: BTreeMap::new(), ..record() };
        let written = toml::to_string(&RawFit::of(&without)).unwrap();
        assert!(!written.contains("figures"), "{written}");
        let read: RawFit = toml::from_str(&written).unwrap();
        assert_eq!(read.into_record().unwrap(), without);
    }

    #[test]
    fn values_out_of_their_rules_are_refused_by_key() {
        let refused = |spoil: fn(&mut RawFit)| {
            let mut raw = RawFit::of(&record());
            spoil(&mut raw);
            match raw.into_record() {
                Err(ManifestError::Value { key, .. }) => key,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(|raw| raw.data_digest = "md5:1".to_owned()), "fit.data_digest");
        assert_eq!(refused(|raw| raw.train_rows = -1), "fit.train_rows");
        assert_eq!(refused(|raw| raw.l2_strength = f64::NAN), "fit.l2_strength");
        assert_eq!(refused(|raw| raw.seed = "-1".to_owned()), "fit.seed");
        assert_eq!(refused(|raw| raw.figures.extend([("f1".to_owned(), f64::INFINITY)])), "fit.figures");
        assert_eq!(refused(|raw| raw.solver = "x".repeat(65)), "fit.solver");
    }
}
