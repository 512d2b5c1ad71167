//! What a registry must look like after each change, to compare with what a crash has left.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use registry::{AuditEntry, Digest, Registry, StoredTenant, StoredToken};

use crate::script::{self, OPTIONS};
use crate::victim::open;

/// Everything a caller could see: tasks, versions with the digests of what they export, aliases, generations, tenants,
/// tokens, and what the audit log says of the last change. Of times nothing.
pub(crate) fn fingerprint(registry: &Registry) -> String {
    let mut seen = format!("generation {}\n", registry.generation());
    for (key, task) in registry.tasks() {
        writeln!(seen, "{key:?} {:?} {:?} at {}", task.aliases, task.last_version, task.generation).unwrap();
        writeln!(seen, "before {:?}, divided {:?}", task.previous, task.traffic).unwrap();
        for (version, installed) in &task.versions {
            let folder = registry.export_head(key, *version).unwrap();
            assert_eq!(Digest::of(&folder.head_toml), installed.digest, "a head is not what its digest names");
            writeln!(seen, "{version} {} at {}", installed.digest, installed.generation).unwrap();
        }
        for (alias, version) in &task.aliases {
            assert!(task.versions.contains_key(version), "alias {alias} of {key:?} names a version that is gone");
        }
    }
    for (name, StoredTenant { description, quota, .. }) in registry.tenants().iter().map(|(name, of)| (name, &**of)) {
        writeln!(seen, "tenant {name} {description:?} {quota:?}").unwrap();
    }
    for (id, token) in registry.tokens() {
        let StoredToken { tenant, scopes, digest, description, expires_unix_seconds, revoked, .. } = &**token;
        writeln!(seen, "token {id} of {tenant} {scopes} {digest} {description:?}").unwrap();
        writeln!(seen, "ends {expires_unix_seconds:?}, revoked {revoked}").unwrap();
    }
    if let Some(AuditEntry { generation, author, tenant, subject, fields, .. }) = registry.audit(u64::MAX).next() {
        assert_eq!(generation, registry.generation(), "a change is stored without its entry in the audit log");
        writeln!(seen, "last {author:?} {tenant} {subject} {fields:?}").unwrap();
    }
    Digest::of(seen.as_bytes()).hex()
}

/// The digest of every version that can be served, by task and number, once each has been held against what it exports.
pub(crate) fn heads(registry: &Registry) -> BTreeMap<(String, u64), Digest> {
    let mut heads = BTreeMap::new();
    for (key, task) in registry.tasks() {
        for (version, installed) in &task.versions {
            let folder = registry.export_head(key, *version).unwrap();
            assert_eq!(Digest::of(&folder.head_toml), installed.digest, "a head is not what its digest names");
            heads.insert((format!("{}/{}", key.tenant, key.task), version.number()), installed.digest);
        }
    }
    heads
}

/// The fingerprints after 0, 1, … changes of the fixed script, beginning with what is in `dir` (which is changed).
pub(crate) fn fixed_script(dir: &Path) -> Vec<String> {
    let mut registry = open(dir, &OPTIONS).unwrap();
    let mut fingerprints = vec![fingerprint(&registry)];
    for change in script::changes() {
        registry.commit(change).unwrap();
        fingerprints.push(fingerprint(&registry));
    }
    registry.close().unwrap();
    fingerprints
}

/// The generation and fingerprint of the last line that was acknowledged.
pub(crate) fn last_acknowledged(output: &str) -> Option<(u64, &str)> {
    output.lines().rev().find_map(|line| {
        let (generation, fingerprint) = line.strip_prefix("ACK ")?.split_once(' ')?;
        Some((generation.parse().unwrap(), fingerprint))
    })
}
