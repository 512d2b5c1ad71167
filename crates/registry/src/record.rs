//! Stored records: small, and each with its own proof.
//!
//! ```text
//! key       'm'                                  meta: one record
//!           'h' tenant 0 task 0 version(u64 BE)  one version of a task
//!           't' tenant 0 task                    a task: aliases, highest version
//!           'c' generation(u64 BE)               one change of the history
//!           'n' tenant                           a tenant that was made
//!           'k' token's id (8 bytes)             a token
//!           'a' generation(u64 BE)               one entry of the audit log
//! value     "hwrc" | schema u8: 1 to 3 | key length u32, key | generation u64 | payload length u32, payload | SHA-256 of all before
//! ```
//! A record has schema 1 where that can say all of it, so that earlier programs can read a registry which uses nothing
//! new; they refuse to open one that does. Schema 2 is that of tasks with an alias that has moved or with a traffic rule,
//! whose payload goes on behind that of schema 1 (`task_record.rs`), and of the history's entries on rollbacks and rules.
//! Schema 3 is that of tenants and tokens (`tenant_record.rs`), of the audit log (`audit_log.rs`), of tasks with a
//! retention rule, and of the history's entries on those.
//! Numbers are little-endian except in keys, where big-endian keeps them sorted. A value has at most 4,096 bytes and a
//! key at most 512: larger ones would leave the range in which the store below keeps its promises. Anything without a
//! small bound (labels, prompts, numbers) is an object, and the record holds its digest.

use engine::{Alias, TaskKey, TenantName, Version};

use crate::audit_log::AuditEntry;
use crate::change::{Action, HeadObjects, HistoryEntry};
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::fields::{FieldReader, FieldWriter};
pub(crate) use crate::task_record::{AliasRecord, TaskRecord};
use crate::tenants::{StoredTenant, StoredToken, TokenId};

/// The longest value, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = 4096;
/// The longest key, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 512;

const MAGIC: &[u8; 4] = b"hwrc";
const SCHEMA: u8 = 1;
const SECOND_SCHEMA: u8 = 2;
const THIRD_SCHEMA: u8 = 3;
const CHECKSUM_BYTES: usize = 32;

/// A version of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadRecord {
    pub(crate) objects: HeadObjects,
    pub(crate) encoder: Digest,
    pub(crate) hidden: u32,
    pub(crate) created_unix_seconds: u64,
    pub(crate) forced: bool,
}

/// What the registry as a whole must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetaRecord {
    /// Records besides this one.
    pub(crate) records: u64,
}

/// A record taken out of its proof.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    Meta(MetaRecord),
    Head(TaskKey, Version, HeadRecord),
    Task(TaskKey, TaskRecord),
    History(HistoryEntry),
    Tenant(TenantName, StoredTenant),
    Token(TokenId, StoredToken),
    Audit(AuditEntry),
}

pub(crate) const META_KEY: &[u8] = b"m";

pub(crate) fn head_key(key: &TaskKey, version: Version) -> Vec<u8> {
    let mut bytes = name_key(b'h', key);
    bytes.push(0);
    bytes.extend(version.number().to_be_bytes());
    bytes
}

pub(crate) fn task_key(key: &TaskKey) -> Vec<u8> {
    name_key(b't', key)
}

pub(crate) fn history_key(generation: u64) -> Vec<u8> {
    let mut bytes = vec![b'c'];
    bytes.extend(generation.to_be_bytes());
    bytes
}

pub(crate) fn tenant_key(tenant: &TenantName) -> Vec<u8> {
    [b"n", tenant.as_str().as_bytes()].concat()
}

pub(crate) fn token_key(id: TokenId) -> Vec<u8> {
    [&b"k"[..], id.as_bytes()].concat()
}

pub(crate) fn audit_key(generation: u64) -> Vec<u8> {
    [&b"a"[..], &generation.to_be_bytes()].concat()
}

fn name_key(shelf: u8, key: &TaskKey) -> Vec<u8> {
    let mut bytes = vec![shelf];
    bytes.extend(key.tenant.as_str().as_bytes());
    bytes.push(0);
    bytes.extend(key.task.as_str().as_bytes());
    bytes
}

impl Record {
    /// The stored value of this record.
    ///
    /// # Errors
    /// [`RegistryError::RecordTooLarge`].
    pub(crate) fn encode(&self, key: &[u8], generation: u64) -> Result<Vec<u8>, RegistryError> {
        let mut payload = FieldWriter::default();
        match self {
            Self::Meta(meta) => payload.u64(meta.records),
            Self::Head(_, _, head) => head.write(&mut payload),
            Self::Task(_, task) => task.write(&mut payload),
            Self::History(entry) => write_history(entry, &mut payload),
            Self::Tenant(_, tenant) => tenant.write(&mut payload),
            Self::Token(_, token) => token.write(&mut payload),
            Self::Audit(entry) => entry.write(&mut payload),
        }
        let mut value = FieldWriter(MAGIC.to_vec());
        value.u8(self.schema());
        value.bytes(key);
        value.u64(generation);
        value.bytes(&payload.0);
        let checksum = Digest::of(&value.0);
        value.digest(&checksum);
        for (bytes, limit) in [(value.0.len(), MAX_VALUE_BYTES), (key.len(), MAX_KEY_BYTES)] {
            if bytes > limit {
                return Err(RegistryError::RecordTooLarge { bytes, limit });
            }
        }
        Ok(value.0)
    }

    /// The record and its generation; `None` if anything about it is not as it was written.
    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<(Self, u64)> {
        let proven = value.len().checked_sub(CHECKSUM_BYTES)?;
        let (body, checksum) = value.split_at_checked(proven)?;
        if Digest::of(body).as_bytes() != checksum {
            return None;
        }
        let mut fields = FieldReader(body);
        if &fields.array()? != MAGIC {
            return None;
        }
        let schema = fields.u8()?;
        if !matches!(schema, SCHEMA | SECOND_SCHEMA | THIRD_SCHEMA) || fields.bytes()? != key {
            return None;
        }
        let generation = fields.u64()?;
        let mut payload = FieldReader(fields.bytes()?);
        let mut record = read_payload(key, &mut payload, generation)?;
        match (&mut record, schema) {
            (Record::Tenant(..) | Record::Token(..) | Record::Audit(_), THIRD_SCHEMA) => {}
            (Record::Tenant(..) | Record::Token(..) | Record::Audit(_), _) => return None,
            (_, SCHEMA) | (Record::History(_), _) => {}
            (Record::Task(_, task), SECOND_SCHEMA) => task.read_on(&mut payload)?,
            (Record::Task(_, task), _) => {
                task.read_on(&mut payload)?;
                task.read_retention(&mut payload)?;
            }
            (Record::Head(_, _, head), SECOND_SCHEMA) => head.objects.adapter = Some(payload.digest()?),
            (Record::Head(..) | Record::Meta(_), _) => return None,
        }
        (fields.is_at_end() && payload.is_at_end()).then_some((record, generation))
    }
}

impl Record {
    /// The first schema that has a place for all it holds.
    fn schema(&self) -> u8 {
        match self {
            Self::Meta(_) => SCHEMA,
            Self::Head(_, _, head) if head.objects.adapter.is_some() => SECOND_SCHEMA,
            Self::Head(..) => SCHEMA,
            Self::Task(_, task) => task.schema(),
            Self::History(entry) => match entry.action {
                Action::Install | Action::SetAlias | Action::RemoveAlias | Action::DeleteVersion | Action::Describe => {
                    SCHEMA
                }
                Action::Rollback | Action::SetTraffic => SECOND_SCHEMA,
                Action::SetRetention | Action::Retire => THIRD_SCHEMA,
            },
            Self::Tenant(..) | Self::Token(..) | Self::Audit(_) => THIRD_SCHEMA,
        }
    }
}

fn read_payload(key: &[u8], payload: &mut FieldReader<'_>, generation: u64) -> Option<Record> {
    let (shelf, rest) = key.split_first()?;
    Some(match shelf {
        b'm' if rest.is_empty() => Record::Meta(MetaRecord { records: payload.u64()? }),
        b'h' => {
            let (name, version) = rest.split_at_checked(rest.len().checked_sub(9)?)?;
            let version = u64::from_be_bytes(version.strip_prefix(&[0])?.try_into().ok()?);
            Record::Head(read_name(name)?, Version::new(version)?, HeadRecord::read(payload)?)
        }
        b't' => Record::Task(read_name(rest)?, TaskRecord::read(payload)?),
        b'c' if rest == generation.to_be_bytes() => Record::History(read_history(payload, generation)?),
        b'n' => Record::Tenant(std::str::from_utf8(rest).ok()?.parse().ok()?, StoredTenant::read(payload)?),
        b'k' => Record::Token(TokenId::from_bytes(rest.try_into().ok()?), StoredToken::read(payload)?),
        b'a' if rest == generation.to_be_bytes() => Record::Audit(AuditEntry::read(payload, generation)?),
        _ => return None,
    })
}

fn read_name(name: &[u8]) -> Option<TaskKey> {
    let (tenant, task) = std::str::from_utf8(name).ok()?.split_once('\0')?;
    Some(TaskKey { tenant: tenant.parse().ok()?, task: task.parse().ok()? })
}

impl HeadRecord {
    fn write(&self, payload: &mut FieldWriter) {
        payload.digest(&self.objects.manifest);
        payload.digest(&self.objects.weight);
        payload.digest(&self.objects.bias);
        payload.u8(u8::from(self.objects.task_embedding.is_some()));
        if let Some(task_embedding) = &self.objects.task_embedding {
            payload.digest(task_embedding);
        }
        payload.digest(&self.encoder);
        payload.u32(self.hidden);
        payload.u64(self.created_unix_seconds);
        payload.u8(u8::from(self.forced));
        if let Some(adapter) = &self.objects.adapter {
            payload.digest(adapter);
        }
    }

    fn read(payload: &mut FieldReader<'_>) -> Option<Self> {
        let (manifest, weight, bias) = (payload.digest()?, payload.digest()?, payload.digest()?);
        let task_embedding = if payload.u8()? == 0 { None } else { Some(payload.digest()?) };
        Some(Self {
            objects: HeadObjects { manifest, weight, bias, task_embedding, adapter: None },
            encoder: payload.digest()?,
            hidden: payload.u32()?,
            created_unix_seconds: payload.u64()?,
            forced: payload.u8()? != 0,
        })
    }
}

fn write_history(entry: &HistoryEntry, payload: &mut FieldWriter) {
    payload.u64(entry.unix_seconds);
    payload.u8(match entry.action {
        Action::Install => 1,
        Action::SetAlias => 2,
        Action::RemoveAlias => 3,
        Action::DeleteVersion => 4,
        Action::Describe => 5,
        Action::Rollback => 6,
        Action::SetTraffic => 7,
        Action::SetRetention => 8,
        Action::Retire => 9,
    });
    payload.bytes(entry.key.tenant.as_str().as_bytes());
    payload.bytes(entry.key.task.as_str().as_bytes());
    payload.u64(version_number(entry.version));
    payload.bytes(entry.alias.as_ref().map_or("", Alias::as_str).as_bytes());
    payload.u64(version_number(entry.previous));
    payload.u32(entry.heads);
}

fn read_history(payload: &mut FieldReader<'_>, generation: u64) -> Option<HistoryEntry> {
    Some(HistoryEntry {
        generation,
        unix_seconds: payload.u64()?,
        action: match payload.u8()? {
            1 => Action::Install,
            2 => Action::SetAlias,
            3 => Action::RemoveAlias,
            4 => Action::DeleteVersion,
            5 => Action::Describe,
            6 => Action::Rollback,
            7 => Action::SetTraffic,
            8 => Action::SetRetention,
            9 => Action::Retire,
            _ => return None,
        },
        key: TaskKey { tenant: payload.text()?.parse().ok()?, task: payload.text()?.parse().ok()? },
        version: Version::new(payload.u64()?),
        alias: match payload.text()? {
            "" => None,
            alias => Some(alias.parse().ok()?),
        },
        previous: Version::new(payload.u64()?),
        heads: payload.u32()?,
    })
}

/// 0 stands for no version.
pub(crate) fn version_number(version: Option<Version>) -> u64 {
    version.map_or(0, Version::number)
}

#[cfg(test)]
mod tests {
    use engine::Traffic;

    use super::*;
    use crate::testing::key;

    fn task(aliases: usize) -> Record {
        let alias = |number| AliasRecord {
            alias: format!("{number:a>64}").parse().unwrap(),
            version: Version::FIRST,
            previous: None,
        };
        let aliases = (0..aliases).map(alias).collect();
        let (traffic, retention) = (Traffic::default(), engine::Retention::default());
        Record::Task(key("a"), TaskRecord { last_version: Some(Version::FIRST), aliases, traffic, retention })
    }

    #[test]
    fn a_record_over_the_limit_is_refused() {
        let key = task_key(&key("a"));
        assert!(task(50).encode(&key, 1).is_ok());
        let refused = task(60).encode(&key, 1);
        assert!(matches!(refused, Err(RegistryError::RecordTooLarge { bytes: 4097.., limit: 4096 })), "{refused:?}");
        let long = vec![b't'; MAX_KEY_BYTES + 1];
        assert!(matches!(task(1).encode(&long, 1), Err(RegistryError::RecordTooLarge { limit: 512, .. })));
    }

    #[test]
    #[should_panic(expected = "a record too large for sled")]
    fn a_put_over_the_limit_is_caught_in_debug_builds() {
        crate::store::RecordBatch::default().put_encoded(vec![b'm'], vec![0; MAX_VALUE_BYTES + 1]);
    }

    #[test]
    fn a_record_reads_back_under_its_own_key_only() {
        let key_of_a = task_key(&key("a"));
        let value = task(2).encode(&key_of_a, 7).unwrap();
        assert_eq!(Record::decode(&key_of_a, &value), Some((task(2), 7)));
        assert_eq!(Record::decode(&task_key(&key("b")), &value), None);
    }

    #[test]
    fn a_version_with_an_adapter_has_a_form_of_its_own() {
        let digest = |name: &str| Digest::of(name.as_bytes());
        let objects = HeadObjects {
            manifest: digest("manifest"),
            weight: digest("weight"),
            bias: digest("bias"),
            task_embedding: None,
            adapter: None,
        };
        let record = |adapter| {
            let objects = HeadObjects { adapter, ..objects };
            let head = HeadRecord { objects, encoder: digest("e"), hidden: 4, created_unix_seconds: 7, forced: true };
            Record::Head(key("a"), Version::FIRST, head)
        };
        let key = head_key(&key("a"), Version::FIRST);
        for (adapter, schema) in [(None, 1), (Some(digest("adapter")), 2)] {
            let value = record(adapter).encode(&key, 3).unwrap();
            assert_eq!(value[MAGIC.len()], schema, "an older program reads the first form alone");
            assert_eq!(Record::decode(&key, &value), Some((record(adapter), 3)));
        }
    }

    #[test]
    fn a_record_with_any_byte_changed_or_missing_is_no_record() {
        let key = task_key(&key("a"));
        let value = task(2).encode(&key, 7).unwrap();
        for place in 0..value.len() {
            let mut changed = value.clone();
            changed[place] ^= 1;
            assert_eq!(Record::decode(&key, &changed), None, "byte {place}");
            assert_eq!(Record::decode(&key, &value[..place]), None, "cut at {place}");
        }
    }
}
