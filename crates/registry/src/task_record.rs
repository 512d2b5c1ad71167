//! What is stored of a task beside its versions: the highest number given, its aliases, its rules.
//!
//! ```text
//! schema 1   highest version u64 | n u32, n times: alias length u32, alias, version u64
//! schema 2   the same | n times: version before the last move u64 | canary | shadow
//! schema 3   the same | versions to keep u32 (0: no such part) | seconds to keep u64 (0: no such part)
//! canary     0 u8, or: 1 u8, version u64, share f64, split u8 (1 random, 2 key, 3 header)
//! shadow     0 u8, or: 1 u8, version u64, share f64 (NaN: of all)
//! ```
//! 0 stands for no version.

use std::time::Duration;

use engine::{Alias, Canary, Retention, Shadow, Share, Split, Traffic, Version};

use crate::fields::{FieldReader, FieldWriter};
use crate::record::version_number;

/// A task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskRecord {
    pub(crate) last_version: Option<Version>,
    pub(crate) aliases: Vec<AliasRecord>,
    pub(crate) traffic: Traffic,
    pub(crate) retention: Retention,
}

/// An alias, and where it pointed before its last move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliasRecord {
    pub(crate) alias: Alias,
    pub(crate) version: Version,
    pub(crate) previous: Option<Version>,
}

impl TaskRecord {
    /// The first schema that has a place for all it holds.
    pub(crate) fn schema(&self) -> u8 {
        if !self.retention.is_empty() {
            3
        } else if !self.traffic.is_empty() || self.aliases.iter().any(|alias| alias.previous.is_some()) {
            2
        } else {
            1
        }
    }

    pub(crate) fn write(&self, payload: &mut FieldWriter) {
        payload.u64(version_number(self.last_version));
        payload.u32(self.aliases.len() as u32);
        for AliasRecord { alias, version, .. } in &self.aliases {
            payload.bytes(alias.as_str().as_bytes());
            payload.u64(version.number());
        }
        let schema = self.schema();
        if schema == 1 {
            return;
        }
        self.aliases.iter().for_each(|alias| payload.u64(version_number(alias.previous)));
        write_canary(self.traffic.canary, payload);
        write_shadow(self.traffic.shadow, payload);
        if schema == 3 {
            payload.u32(self.retention.keep_last.unwrap_or(0));
            payload.u64(self.retention.keep_for.map_or(0, |keep_for| keep_for.as_secs()));
        }
    }

    /// What schema 1 holds.
    pub(crate) fn read(payload: &mut FieldReader<'_>) -> Option<Self> {
        let last_version = Version::new(payload.u64()?);
        let count = payload.u32()?;
        let mut aliases = Vec::new();
        for _ in 0..count {
            let (alias, version) = (payload.text()?.parse().ok()?, Version::new(payload.u64()?)?);
            aliases.push(AliasRecord { alias, version, previous: None });
        }
        Some(Self { last_version, aliases, traffic: Traffic::default(), retention: Retention::default() })
    }

    /// What schema 2 holds beyond.
    pub(crate) fn read_on(&mut self, payload: &mut FieldReader<'_>) -> Option<()> {
        for alias in &mut self.aliases {
            alias.previous = Version::new(payload.u64()?);
        }
        self.traffic = Traffic { canary: read_canary(payload)?, shadow: read_shadow(payload)? };
        Some(())
    }

    /// What schema 3 holds beyond that.
    pub(crate) fn read_retention(&mut self, payload: &mut FieldReader<'_>) -> Option<()> {
        let (keep_last, seconds) = (payload.u32()?, payload.u64()?);
        self.retention = Retention {
            keep_last: Some(keep_last).filter(|number| *number > 0),
            keep_for: Some(Duration::from_secs(seconds)).filter(|keep_for| !keep_for.is_zero()),
        };
        Some(())
    }
}

fn write_canary(canary: Option<Canary>, payload: &mut FieldWriter) {
    payload.u8(u8::from(canary.is_some()));
    if let Some(Canary { version, share, split }) = canary {
        payload.u64(version.number());
        payload.u64(share.value().to_bits());
        payload.u8(match split {
            Split::Random => 1,
            Split::Key => 2,
            Split::Header => 3,
        });
    }
}

fn read_canary(payload: &mut FieldReader<'_>) -> Option<Option<Canary>> {
    if payload.u8()? == 0 {
        return Some(None);
    }
    let version = Version::new(payload.u64()?)?;
    let share = Share::new(f64::from_bits(payload.u64()?))?;
    let split = match payload.u8()? {
        1 => Split::Random,
        2 => Split::Key,
        3 => Split::Header,
        _ => return None,
    };
    Some(Some(Canary { version, share, split }))
}

fn write_shadow(shadow: Option<Shadow>, payload: &mut FieldWriter) {
    payload.u8(u8::from(shadow.is_some()));
    if let Some(Shadow { version, share }) = shadow {
        payload.u64(version.number());
        payload.u64(share.map_or(f64::NAN, Share::value).to_bits());
    }
}

fn read_shadow(payload: &mut FieldReader<'_>) -> Option<Option<Shadow>> {
    if payload.u8()? == 0 {
        return Some(None);
    }
    let version = Version::new(payload.u64()?)?;
    let share = f64::from_bits(payload.u64()?);
    let share = if share.is_nan() { None } else { Some(Share::new(share)?) };
    Some(Some(Shadow { version, share }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, task_key};
    use crate::testing::{key, version};

    fn record(previous: Option<Version>, traffic: Traffic) -> Record {
        let alias = AliasRecord { alias: Alias::live(), version: version(2), previous };
        Record::Task(
            key("a"),
            TaskRecord {
                last_version: Some(version(3)),
                aliases: vec![alias],
                traffic,
                retention: Retention::default(),
            },
        )
    }

    fn rule(split: Split) -> Traffic {
        let canary = Canary { version: version(3), share: Share::new(0.1).unwrap(), split };
        let shadow = Shadow { version: version(1), share: None };
        Traffic { canary: Some(canary), shadow: Some(shadow) }
    }

    #[test]
    fn only_what_needs_the_second_schema_has_it() {
        let key = task_key(&key("a"));
        // The byte after the magic.
        let schema = |record: Record| record.encode(&key, 7).unwrap()[4];
        assert_eq!(schema(record(None, Traffic::default())), 1);
        assert_eq!(schema(record(Some(version(1)), Traffic::default())), 2);
        assert_eq!(schema(record(None, rule(Split::Key))), 2);
    }

    #[test]
    fn moves_and_rules_read_back_as_they_were() {
        let key = task_key(&key("a"));
        let shares = [Some(Share::new(0.25).unwrap()), None];
        let shadows = shares.map(|share| Traffic { canary: None, shadow: Some(Shadow { version: version(1), share }) });
        let rules = [Split::Random, Split::Key, Split::Header].map(rule);
        for traffic in shadows.into_iter().chain(rules) {
            let record = record(Some(version(1)), traffic);
            let value = record.encode(&key, 7).unwrap();
            assert_eq!(Record::decode(&key, &value), Some((record, 7)));
        }
    }

    #[test]
    fn a_retention_rule_has_the_third_schema_and_reads_back() {
        let key = task_key(&key("a"));
        for (keep_last, seconds) in [(Some(3), None), (None, Some(60)), (Some(1), Some(1))] {
            let retention = Retention { keep_last, keep_for: seconds.map(Duration::from_secs) };
            let Record::Task(name, task) = record(None, rule(Split::Key)) else { panic!("a task") };
            let record = Record::Task(name, TaskRecord { retention, ..task });
            let value = record.encode(&key, 7).unwrap();
            assert_eq!(value[4], 3);
            assert_eq!(Record::decode(&key, &value), Some((record, 7)));
        }
    }

    #[test]
    fn a_task_with_the_most_aliases_and_a_rule_is_within_the_limit() {
        let longest = key(&format!("{}/{}", "t".repeat(63), "u".repeat(64)));
        let alias = |number: usize| AliasRecord {
            alias: format!("{number:a>64}").parse().unwrap(),
            version: version(2),
            previous: Some(version(1)),
        };
        let aliases = (0..crate::MAX_ALIASES).map(alias).collect();
        let retention = Retention { keep_last: Some(7), keep_for: Some(Duration::from_secs(60)) };
        let task = TaskRecord { last_version: Some(version(3)), aliases, traffic: rule(Split::Key), retention };
        let record = Record::Task(longest.clone(), task);
        assert!(record.encode(&task_key(&longest), 7).is_ok());
    }
}
