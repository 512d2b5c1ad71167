//! What the audit log says of a change: the difference between what is and what will be. Of a configuration, which is
//! not stored, whoever changes it says what differs.

use std::collections::BTreeSet;

use engine::{Quota, Retention, TaskKey, TenantName, Traffic, Version};

use crate::audit_log::{AuditEntry, AuditField, Author, shown};
use crate::change::StoredTask;
use crate::draft::Draft;
use crate::tenants::{StoredTenant, StoredToken, TokenId};

impl Draft<'_> {
    /// The entry of this change; `None` where nothing differs.
    pub(crate) fn audit_entry(&self, author: &Author) -> Option<AuditEntry> {
        let (tenant, subject) = self.subject()?;
        let mut entry = AuditEntry {
            generation: self.generation,
            unix_seconds: self.unix_seconds,
            author: Author {
                tenant: author.tenant.clone(),
                actor: shown(&author.actor),
                method: shown(&author.method),
            },
            tenant,
            subject: shown(&subject),
            fields: Vec::new(),
            omitted: 0,
        };
        for (name, tenant) in &self.tenants {
            entry.keep(tenant_fields(self.state.tenants.get(name).map(AsRef::as_ref), tenant.as_ref()));
        }
        for (id, token) in &self.tokens {
            let before = self.state.tokens.get(id).map(AsRef::as_ref);
            entry.keep(token_fields(&self.prefix(format!("token {id}")), before, token.as_ref()));
        }
        for (key, task) in &self.touched {
            let empty = StoredTask::default();
            let before = self.state.task(key).unwrap_or(&empty);
            entry.keep(task_fields(&self.prefix(format!("task {}", key.task)), before, task));
        }
        entry.keep(self.configured.iter().cloned());
        Some(entry)
    }

    /// What the change is about, and whose that is.
    fn subject(&self) -> Option<(TenantName, String)> {
        let of_token = |id: &TokenId, token: &Option<StoredToken>| {
            let stored = token.as_ref().or_else(|| self.state.tokens.get(id).map(AsRef::as_ref));
            stored.map(|token| token.tenant.clone())
        };
        if !self.configured.is_empty() {
            return Some((TenantName::default_tenant(), "configuration".to_owned()));
        }
        if let Some((name, _)) = self.tenants.first_key_value() {
            return Some((name.clone(), format!("tenant {name}")));
        }
        // A token that makes room for a new one is not what the change is about.
        let token = self.tokens.iter().find(|(_, token)| token.is_some());
        if let Some((id, token)) = token {
            return Some((of_token(id, token)?, format!("token {id}")));
        }
        self.history.as_ref()?;
        let (TaskKey { tenant, task }, _) = self.touched.first_key_value()?;
        let subject =
            if self.touched.len() == 1 { format!("task {task}") } else { format!("{} tasks", self.touched.len()) };
        Some((tenant.clone(), subject))
    }

    /// What the names of fields begin with: nothing where the subject says it already.
    fn prefix(&self, of: String) -> String {
        let n_parts = self.tenants.len() + self.tokens.len() + self.touched.len();
        if n_parts == 1 { String::new() } else { format!("{of} ") }
    }
}

fn tenant_fields(before: Option<&StoredTenant>, after: Option<&StoredTenant>) -> Vec<AuditField> {
    let description = |tenant: &StoredTenant| tenant.description.clone();
    let quota = |tenant: Option<&StoredTenant>| tenant.map(|tenant| tenant.quota).unwrap_or_default();
    let exists = |tenant: Option<&StoredTenant>| tenant.map(|_| "yes".to_owned());
    let mut fields: Vec<_> = AuditField::of("exists", exists(before), exists(after)).into_iter().collect();
    fields.extend(AuditField::of("description", before.map(description), after.map(description)));
    let limits = limits(&quota(before)).into_iter().zip(limits(&quota(after)));
    fields.extend(limits.filter_map(|((name, before), (_, after))| AuditField::of(name, before, after)));
    fields
}

/// Each limit by the name of its field.
fn limits(quota: &Quota) -> [(&'static str, Option<String>); 7] {
    let text = |number: Option<f64>| number.map(|number| number.to_string());
    let whole = |number: Option<u32>| number.map(|number| number.to_string());
    [
        ("requests_per_second", text(quota.requests_per_second)),
        ("request_burst", whole(quota.request_burst)),
        ("tokens_per_second", text(quota.tokens_per_second)),
        ("rows_in_flight", whole(quota.rows_in_flight)),
        ("head_versions", whole(quota.head_versions)),
        ("head_bytes", quota.head_bytes.map(|number| number.to_string())),
        ("weight", text(quota.weight)),
    ]
}

fn token_fields(prefix: &str, before: Option<&StoredToken>, after: Option<&StoredToken>) -> Vec<AuditField> {
    let field = |name: &str, of: fn(&StoredToken) -> Option<String>| {
        AuditField::of(format!("{prefix}{name}"), before.and_then(of), after.and_then(of))
    };
    let fields = [
        field("scopes", |token| Some(token.scopes.to_string())),
        field("description", |token| Some(token.description.clone())),
        field("expires_unix_seconds", |token| token.expires_unix_seconds.map(|end| end.to_string())),
        field("revoked", |token| token.revoked.then(|| "yes".to_owned())),
    ];
    fields.into_iter().flatten().collect()
}

fn task_fields(prefix: &str, before: &StoredTask, after: &StoredTask) -> Vec<AuditField> {
    let mut fields = Vec::new();
    let mut push = |name: String, before: Option<String>, after: Option<String>| {
        fields.extend(AuditField::of(format!("{prefix}{name}"), before, after));
    };
    let numbers =
        |task: &StoredTask| -> BTreeSet<Version> { task.versions.keys().chain(&task.damaged).copied().collect() };
    for version in numbers(before).union(&numbers(after)) {
        let digest = |task: &StoredTask| match task.versions.get(version) {
            Some(installed) => Some(installed.digest.to_string()),
            None => task.damaged.contains(version).then(|| "damaged".to_owned()),
        };
        push(format!("version {version}"), digest(before), digest(after));
        let about = |task: &StoredTask| {
            task.versions.get(version).map(|installed| installed.head.parts().about.description.clone())
        };
        if before.has_version(*version) && after.has_version(*version) {
            push(format!("description of version {version}"), about(before), about(after));
        }
    }
    let aliases: BTreeSet<_> = before.aliases.keys().chain(after.aliases.keys()).collect();
    for alias in aliases {
        let named = |task: &StoredTask| task.aliases.get(alias).map(|version| version.to_string());
        push(format!("alias {alias}"), named(before), named(after));
    }
    push("canary".to_owned(), canary(&before.traffic), canary(&after.traffic));
    push("shadow".to_owned(), shadow(&before.traffic), shadow(&after.traffic));
    push("retention".to_owned(), retention(before.retention), retention(after.retention));
    fields
}

fn canary(traffic: &Traffic) -> Option<String> {
    let canary = traffic.canary?;
    Some(format!("version {} of {} by {:?}", canary.version, canary.share.value(), canary.split).to_lowercase())
}

fn shadow(traffic: &Traffic) -> Option<String> {
    let shadow = traffic.shadow?;
    Some(format!("version {} of {}", shadow.version, shadow.share.map_or(1.0, |share| share.value())))
}

fn retention(rule: Retention) -> Option<String> {
    let last = rule.keep_last.map(|last| format!("the last {last}"));
    let age = rule.keep_for.map(|keep_for| format!("{} s", keep_for.as_secs()));
    let parts: Vec<_> = last.into_iter().chain(age).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
