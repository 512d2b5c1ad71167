//! Behaviour: tenants and tokens last as heads do, and every change says who made it.

use engine::{Quota, TenantName};
use tempfile::TempDir;

use crate::testing::{OPTIONS, install, key, open, set_live};
use crate::{AuditField, Author, Change, Digest, Install, NewToken, Registry, RegistryError, Scope, TokenId, tools};

fn name(tenant: &str) -> TenantName {
    tenant.parse().unwrap()
}

fn create(tenant: &str) -> Change {
    Change::CreateTenant { name: name(tenant), description: "first\nline".to_owned(), quota: Quota::default() }
}

fn token(tenant: &str, number: u8) -> Change {
    Change::CreateToken(NewToken {
        id: TokenId::from_bytes([number; 8]),
        tenant: name(tenant),
        scopes: [Scope::Infer].into_iter().collect(),
        digest: Digest::of(&[number]),
        description: String::new(),
        expires_unix_seconds: None,
    })
}

fn revoke(number: u8) -> Change {
    Change::RevokeToken { id: TokenId::from_bytes([number; 8]) }
}

/// One head of `tenant`.
fn install_for(tenant: &str) -> Change {
    let install = install("a", 1);
    let key = engine::TaskKey { tenant: name(tenant), ..install.key };
    Change::Install(Install { key, ..install })
}

fn configure(before: &str, after: &str) -> Change {
    let field = AuditField::of("max_inputs", Some(before.to_owned()), Some(after.to_owned()));
    Change::Configure { fields: field.into_iter().collect() }
}

fn seen(registry: &Registry) -> String {
    let tokens: Vec<_> = registry.tokens().collect();
    let audit: Vec<_> = registry.audit(u64::MAX).collect();
    format!("{:?} {tokens:?} {audit:?}", registry.tenants())
}

#[test]
fn tenants_tokens_and_the_audit_log_survive_a_restart_and_an_export() {
    let dir = TempDir::new().unwrap();
    let [data, exported, other] = ["data", "exported", "other"].map(|name| dir.path().join(name));
    let mut registry = open(&data);
    let quota = Quota { rows_in_flight: Some(7), weight: Some(0.5), ..Quota::default() };
    let changes = [create("acme"), create("other"), Change::SetQuota { name: name("acme"), quota }];
    let changes = changes.into_iter().chain([token("acme", 1), token("acme", 2), revoke(1), install_for("acme")]);
    let changes = changes.chain([configure("1", "2")]);
    changes.for_each(|change| drop(registry.commit(change).unwrap()));
    let before = seen(&registry);
    // As a crash leaves it.
    drop(registry);
    assert_eq!(seen(&open(&data)), before);
    tools::export(&data, &exported).unwrap();
    tools::import(&exported, &other, &OPTIONS).unwrap();
    let registry = open(&other);
    assert_eq!(seen(&registry), before);
    assert_eq!(registry.tenant(&name("acme")).unwrap().quota, quota);
    assert!(registry.tenant(&TenantName::default_tenant()).is_some() && registry.tenant(&name("nobody")).is_none());
}

#[test]
fn a_tenant_with_heads_goes_only_with_them_and_its_tokens_go_along() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    for change in [create("acme"), token("acme", 1), token("default", 2), install_for("acme")] {
        registry.commit(change).unwrap();
    }
    let delete = |with_heads| Change::DeleteTenant { name: name("acme"), with_heads };
    let refused = registry.commit(delete(false));
    assert!(matches!(refused, Err(RegistryError::TenantInUse { tasks: 1, .. })), "{refused:?}");
    let committed = registry.commit(delete(true)).unwrap();
    assert!(committed.tenants_changed && committed.tasks.len() == 1);
    assert_eq!((registry.tasks().count(), registry.tokens().count()), (1, 1));
    let unknown = registry.commit(delete(true));
    assert!(matches!(unknown, Err(RegistryError::UnknownTenant { .. })), "{unknown:?}");
    let stays = registry.commit(Change::DeleteTenant { name: TenantName::default_tenant(), with_heads: true });
    assert!(matches!(stays, Err(RegistryError::TenantStays { .. })), "{stays:?}");
    assert!(registry.task(&key("a")).is_some());
}

#[test]
fn what_cannot_be_is_refused_and_what_is_so_already_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.commit(create("acme")).unwrap();
    for taken in ["acme", "ACME", "Default"] {
        let refused = registry.commit(create(taken));
        assert!(matches!(refused, Err(RegistryError::TenantExists { .. })), "{taken}: {refused:?}");
    }
    let quota = Quota { weight: Some(0.0), ..Quota::default() };
    let refused = registry.commit(Change::SetQuota { name: name("acme"), quota });
    assert!(matches!(refused, Err(RegistryError::TenantField { field: "weight", .. })), "{refused:?}");
    let refused = registry.commit(token("nobody", 1));
    assert!(matches!(refused, Err(RegistryError::UnknownTenant { .. })), "{refused:?}");
    let Change::CreateToken(good) = token("acme", 1) else { unreachable!() };
    let past = NewToken { expires_unix_seconds: Some(1), ..good.clone() };
    let idle = NewToken { scopes: Default::default(), ..good };
    for (bad, wrong) in [(past, "expires_at"), (idle, "scopes")] {
        let refused = registry.commit(Change::CreateToken(bad));
        assert!(matches!(refused, Err(RegistryError::TenantField { field, .. }) if field == wrong), "{refused:?}");
    }
    assert!(matches!(registry.commit(revoke(1)), Err(RegistryError::UnknownToken { .. })));
    registry.commit(token("acme", 1)).unwrap();
    registry.commit(revoke(1)).unwrap();
    let generation = registry.generation();
    assert!(!registry.commit(revoke(1)).unwrap().changed);
    assert_eq!((registry.generation(), registry.audit(u64::MAX).count()), (generation, generation as usize));
}

#[test]
fn the_audit_log_says_who_did_what_and_what_was_before() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    let author = Author { tenant: name("acme"), actor: "token:1\n".to_owned(), method: "/a/B".to_owned() };
    let changes = [1, 2].map(|seed| Change::Install(install("a", seed)));
    for change in changes.into_iter().chain([set_live("a", 1), set_live("a", 2), create("acme")]) {
        registry.commit_by(&author, change).unwrap();
    }
    let newest: Vec<_> = registry.audit(u64::MAX).collect();
    assert_eq!(newest.iter().map(|entry| entry.generation).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    assert_eq!(newest[0].author.actor, "token:1\\u{a}");
    let field = |entry: usize, name: &str| {
        let found = newest[entry].fields.iter().find(|field| field.name == name).unwrap();
        (found.before.as_str(), found.after.as_str())
    };
    assert_eq!((newest[1].subject.as_str(), field(1, "alias live")), ("task a", ("1", "2")));
    assert_eq!((newest[0].subject.as_str(), field(0, "description")), ("tenant acme", ("", "first\\u{a}line")));
    assert!(field(4, "version 1").1.starts_with("sha256:"));
    assert_eq!(registry.audit(3).map(|entry| entry.generation).collect::<Vec<_>>(), [2, 1]);
}
