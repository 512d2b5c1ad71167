//! Policy: what a change does to what is stored. Pure: refuses, or says which records and objects to write.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Alias, TenantName, Version};

use crate::audit_log::{AUDIT_ENTRIES, Author};
use crate::change::{Action, Change, Committed, HistoryEntry, Installed, StoredTask};
use crate::digest::Digest;
use crate::draft::Draft;
use crate::error::RegistryError;
use crate::objects::NewObject;
use crate::record::{
    AliasRecord, HeadRecord, META_KEY, MetaRecord, Record, TaskRecord, audit_key, head_key, history_key, task_key,
    tenant_key, token_key,
};
use crate::state::State;
use crate::store::RecordBatch;
use crate::tenants::{StoredTenant, StoredToken, TokenId};

/// Changes the history keeps; older ones go as new ones come.
pub(crate) const HISTORY_ENTRIES: usize = 1000;

/// Everything to be written for one change, and what it leaves.
#[derive(Debug)]
pub(crate) struct Plan {
    /// One transaction; empty where nothing changes.
    pub(crate) batch: RecordBatch,
    /// The objects of what is added, each once; some may be stored already.
    pub(crate) objects: Vec<(Digest, NewObject)>,
    /// Objects that may be left without a reference.
    pub(crate) dropped: BTreeSet<Digest>,
    /// Tenants that differ, as they will be; `None` where one goes.
    pub(crate) tenants: BTreeMap<TenantName, Option<StoredTenant>>,
    /// Tokens, likewise.
    pub(crate) tokens: BTreeMap<TokenId, Option<StoredToken>>,
    pub(crate) committed: Committed,
}

/// Checks `change` against `state`; `unix_seconds` is the time to record, `author` who makes it.
///
/// # Errors
/// The refusals of [`RegistryError`] that are about versions, aliases, names and generations.
pub(crate) fn plan(
    state: &State,
    change: Change,
    (author, unix_seconds): (&Author, u64),
) -> Result<Plan, RegistryError> {
    let mut draft = Draft::new(state, unix_seconds);
    match change {
        Change::Install(install) => draft.install(install)?,
        Change::InstallMany(installs) => installs.into_iter().try_for_each(|install| draft.install(install))?,
        Change::SetAlias { key, alias, version, expected_generation } => {
            draft.check_generation(&key, expected_generation)?;
            draft.set_alias(&key, alias, version)?;
        }
        Change::RemoveAlias { key, alias, expected_generation } => {
            draft.check_generation(&key, expected_generation)?;
            draft.remove_alias(&key, alias)?;
        }
        Change::Describe { key, version, about, expected_generation } => {
            draft.check_generation(&key, expected_generation)?;
            draft.describe(&key, version, *about)?;
        }
        Change::Rollback { key, alias, expected_generation } => {
            draft.check_generation(&key, expected_generation)?;
            draft.roll_back(&key, alias)?;
        }
        Change::SetTraffic { key, traffic, expected_generation } => {
            draft.check_generation(&key, expected_generation)?;
            draft.set_traffic(&key, traffic)?;
        }
        Change::SetRetention { key, retention, expected_generation } => {
            draft.check_generation(&key, expected_generation)?;
            draft.set_retention(&key, retention)?;
        }
        Change::Retire => draft.retire_everywhere()?,
        Change::DeleteVersion { key, version, with_aliases } => draft.delete(&key, version, with_aliases)?,
        Change::CreateTenant { name, description, quota } => draft.create_tenant(name, description, quota)?,
        Change::SetQuota { name, quota } => draft.set_quota(name, quota)?,
        Change::DeleteTenant { name, with_heads } => draft.delete_tenant(name, with_heads)?,
        Change::CreateToken(token) => draft.create_token(token)?,
        Change::RevokeToken { id } => draft.revoke_token(id)?,
        Change::Configure { fields } => draft.configured = fields,
    }
    draft.retire_touched()?;
    if !author.is_server() {
        draft.check_quotas()?;
    }
    finish(state, draft, author)
}

/// The records of a finished draft.
fn finish(state: &State, draft: Draft<'_>, author: &Author) -> Result<Plan, RegistryError> {
    let audit = draft.audit_entry(author);
    let Draft { generation, touched, added, removed, objects, dropped, installed, history, tenants, tokens, .. } =
        draft;
    let mut batch = RecordBatch::default();
    let Some(audit) = audit else {
        let committed = Committed {
            generation: state.generation,
            changed: false,
            installed,
            tasks: Vec::new(),
            tenants_changed: false,
        };
        let (objects, dropped) = (Vec::new(), BTreeSet::new());
        return Ok(Plan { batch, objects, dropped, tenants, tokens, committed });
    };
    for (key, task) in &touched {
        batch.put(task_key(key), generation, &Record::Task(key.clone(), task_record(task)))?;
    }
    for installed in &added {
        let key = head_key(&installed.key, installed.version);
        batch.put(key, generation, &Record::Head(installed.key.clone(), installed.version, head_record(installed)))?;
    }
    for (key, version) in &removed {
        batch.remove(head_key(key, *version));
    }
    for (name, tenant) in &tenants {
        let record = tenant.as_ref().map(|tenant| Record::Tenant(name.clone(), tenant.clone()));
        put_or_remove(tenant_key(name), record, generation, &mut batch)?;
    }
    for (id, token) in &tokens {
        let record = token.as_ref().map(|token| Record::Token(*id, token.clone()));
        put_or_remove(token_key(*id), record, generation, &mut batch)?;
    }
    if let Some(history) = history {
        put_history(state, history, &mut batch)?;
    }
    state.audit_beyond(AUDIT_ENTRIES).into_iter().for_each(|key| batch.remove(key));
    batch.put(audit_key(generation), generation, &Record::Audit(audit))?;
    let records = state.records_after(&batch);
    batch.put(META_KEY.to_vec(), generation, &Record::Meta(MetaRecord { records }))?;
    let tasks = touched.into_iter().map(|(key, task)| (key, (!task.is_empty()).then(|| task.into()))).collect();
    let tenants_changed = !tenants.is_empty() || !tokens.is_empty();
    let committed = Committed { generation, changed: true, installed, tasks, tenants_changed };
    Ok(Plan { batch, objects: objects.into_iter().collect(), dropped, tenants, tokens, committed })
}

fn put_or_remove(
    key: Vec<u8>,
    record: Option<Record>,
    generation: u64,
    batch: &mut RecordBatch,
) -> Result<(), RegistryError> {
    match record {
        Some(record) => batch.put(key, generation, &record),
        None => {
            batch.remove(key);
            Ok(())
        }
    }
}

fn put_history(state: &State, entry: HistoryEntry, batch: &mut RecordBatch) -> Result<(), RegistryError> {
    let kept: Vec<_> = state.history_keys().collect();
    for key in kept.iter().take((kept.len() + 1).saturating_sub(HISTORY_ENTRIES)) {
        batch.remove(key.to_vec());
    }
    let generation = entry.generation;
    batch.put(history_key(generation), generation, &Record::History(entry))
}

fn task_record(task: &StoredTask) -> TaskRecord {
    let alias = |(alias, version): (&Alias, &Version)| AliasRecord {
        alias: alias.clone(),
        version: *version,
        previous: task.previous.get(alias).copied(),
    };
    TaskRecord {
        last_version: task.last_version,
        aliases: task.aliases.iter().map(alias).collect(),
        traffic: task.traffic,
        retention: task.retention,
    }
}

fn head_record(installed: &Installed) -> HeadRecord {
    HeadRecord {
        objects: installed.objects,
        encoder: installed.encoder,
        hidden: installed.head.hidden() as u32,
        created_unix_seconds: installed.created_unix_seconds,
        forced: installed.forced,
    }
}

impl Draft<'_> {
    /// Remembers what the history will say; of many installs, the first with their number.
    pub(crate) fn note(&mut self, entry: HistoryEntry) {
        match &mut self.history {
            Some(noted) if noted.action == Action::Install => noted.heads += entry.heads,
            Some(_) => {}
            None => self.history = Some(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{install, set_live};

    #[test]
    fn the_history_keeps_the_last_thousand_changes() {
        let mut state = State::default();
        let installs = [1, 2].map(|seed| Change::Install(install("a", seed)));
        let moves = (0..1010).map(|number| set_live("a", 1 + number % 2));
        for change in installs.into_iter().chain(moves) {
            let plan = plan(&state, change, (&Author::server("test"), 0)).unwrap();
            state.publish(plan);
        }
        let history: Vec<_> = state.history().map(|entry| entry.generation).collect();
        assert_eq!(history, (13..=1012).collect::<Vec<_>>());
    }
}
