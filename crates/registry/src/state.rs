//! What the registry holds, in memory: the records exactly as stored, and what they mean.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};

use engine::{Adapter, TaskKey, TaskName, TenantName, Version};

use crate::audit_log::AuditEntry;
use crate::change::{HistoryEntry, StoredTask};
use crate::digest::Digest;
use crate::plan::Plan;
use crate::record::{META_KEY, Record, audit_key, head_key};
use crate::store::{RecordBatch, Records};
use crate::tenants::{StoredTenant, StoredToken, TokenId};

/// Tenants by name.
pub(crate) type StoredTenants = BTreeMap<TenantName, Arc<StoredTenant>>;
/// Tokens by their public names.
pub(crate) type StoredTokens = BTreeMap<TokenId, Arc<StoredToken>>;

/// The whole registry at one generation.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) generation: u64,
    /// Every record, meta included.
    pub(crate) records: Records,
    /// Every task that has a record, also without versions: the numbers it gave stay given.
    tasks: BTreeMap<TaskKey, Arc<StoredTask>>,
    /// The tenants that were made.
    pub(crate) tenants: StoredTenants,
    pub(crate) tokens: StoredTokens,
    /// Names of tasks with versions by their lower-case form.
    names: HashMap<(TenantName, String), TaskName>,
    /// Tensors of resident heads by digest, so that equal ones are held once.
    tensors: HashMap<Digest, Weak<[f32]>>,
    /// Adapters of resident heads, likewise.
    adapters: HashMap<Digest, Weak<Adapter>>,
}

impl State {
    pub(crate) fn new(
        (generation, records): (u64, Records),
        tasks: BTreeMap<TaskKey, Arc<StoredTask>>,
        (tenants, tokens): (StoredTenants, StoredTokens),
    ) -> Self {
        let mut state = Self { generation, records, tenants, tokens, ..Self::default() };
        for (key, task) in tasks {
            state.put_task(key, task);
        }
        state
    }

    pub(crate) fn task(&self, key: &TaskKey) -> Option<&StoredTask> {
        self.tasks.get(key).map(Arc::as_ref)
    }

    /// The tasks that have versions.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (&TaskKey, &Arc<StoredTask>)> {
        self.tasks.iter().filter(|(_, task)| !task.is_empty())
    }

    pub(crate) fn shared_task(&self, key: &TaskKey) -> Option<&Arc<StoredTask>> {
        self.tasks.get(key)
    }

    /// The task whose name folds to this, if it has versions.
    pub(crate) fn name_like(&self, folded: &(TenantName, String)) -> Option<&TaskName> {
        self.names.get(folded)
    }

    pub(crate) fn tensor(&self, digest: &Digest) -> Option<Arc<[f32]>> {
        self.tensors.get(digest).and_then(Weak::upgrade)
    }

    pub(crate) fn adapter(&self, digest: &Digest) -> Option<Arc<Adapter>> {
        self.adapters.get(digest).and_then(Weak::upgrade)
    }

    /// Records besides meta, once `batch` is applied.
    pub(crate) fn records_after(&self, batch: &RecordBatch) -> u64 {
        let mut count = self.records.keys().filter(|key| key.as_slice() != META_KEY).count();
        for (key, value) in batch.iter().filter(|(key, _)| key.as_slice() != META_KEY) {
            match (self.records.contains_key(key), value) {
                (false, Some(_)) => count += 1,
                (true, None) => count -= 1,
                _ => {}
            }
        }
        count as u64
    }

    pub(crate) fn history_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.records.range(b"c".to_vec()..b"d".to_vec()).map(|(key, _)| key.as_slice())
    }

    /// The oldest entries of the audit log that must go so that one more is at most `most`.
    pub(crate) fn audit_beyond(&self, most: usize) -> Vec<Vec<u8>> {
        let entries = || self.records.range(b"a".to_vec()..b"b".to_vec());
        let beyond = (entries().count() + 1).saturating_sub(most);
        entries().take(beyond).map(|(key, _)| key.clone()).collect()
    }

    /// The audit log before a generation, newest first.
    pub(crate) fn audit(&self, before: u64) -> impl Iterator<Item = AuditEntry> {
        let entries = self.records.range(b"a".to_vec()..audit_key(before)).rev();
        entries.filter_map(|(key, value)| match Record::decode(key, value) {
            Some((Record::Audit(entry), _)) => Some(entry),
            _ => None,
        })
    }

    /// The changes of heads that are still remembered, oldest first.
    pub(crate) fn history(&self) -> impl DoubleEndedIterator<Item = HistoryEntry> {
        self.records.range(b"c".to_vec()..b"d".to_vec()).filter_map(|(key, value)| match Record::decode(key, value) {
            Some((Record::History(entry), _)) => Some(entry),
            _ => None,
        })
    }

    pub(crate) fn objects_of(&self, key: &TaskKey, version: Version) -> Vec<Digest> {
        let key = head_key(key, version);
        match self.records.get(&key).and_then(|value| Record::decode(&key, value)) {
            Some((Record::Head(_, _, head), _)) => head.objects.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Every object that some version consists of.
    pub(crate) fn referenced_objects(&self) -> HashSet<Digest> {
        referenced_in(&self.records)
    }

    /// Takes in what a committed plan has made.
    pub(crate) fn publish(&mut self, plan: Plan) -> crate::change::Committed {
        let Plan { batch, committed, dropped, tenants, tokens, .. } = plan;
        batch.apply_to(&mut self.records);
        self.generation = committed.generation;
        replace(&mut self.tenants, tenants);
        replace(&mut self.tokens, tokens);
        for (key, task) in &committed.tasks {
            match task {
                Some(task) => self.put_task(key.clone(), Arc::clone(task)),
                None => self.empty_task(key),
            }
        }
        if !dropped.is_empty() {
            self.forget_freed();
        }
        committed
    }

    /// Lets go of numbers that no head holds any more: a weak reference keeps their memory.
    pub(crate) fn forget_freed(&mut self) {
        self.tensors.retain(|_, numbers| numbers.strong_count() > 0);
        self.adapters.retain(|_, adapter| adapter.strong_count() > 0);
    }

    fn put_task(&mut self, key: TaskKey, task: Arc<StoredTask>) {
        if !task.is_empty() {
            self.names.insert((key.tenant.clone(), key.task.as_str().to_ascii_lowercase()), key.task.clone());
        }
        for installed in task.versions.values() {
            let parts = installed.head.parts();
            let objects = &installed.objects;
            let embedding = objects.task_embedding.zip(parts.task_embedding.as_ref());
            for (digest, numbers) in
                [(objects.weight, &parts.weight), (objects.bias, &parts.bias)].into_iter().chain(embedding)
            {
                self.tensors.insert(digest, Arc::downgrade(numbers));
            }
            if let Some((digest, adapter)) = objects.adapter.zip(parts.adapter.as_ref()) {
                self.adapters.insert(digest, Arc::downgrade(adapter));
            }
        }
        self.tasks.insert(key, task);
    }

    fn empty_task(&mut self, key: &TaskKey) {
        self.names.remove(&(key.tenant.clone(), key.task.as_str().to_ascii_lowercase()));
        if let Some(task) = self.tasks.get_mut(key) {
            let last_version = task.last_version;
            *task = Arc::new(StoredTask { generation: self.generation, last_version, ..StoredTask::default() });
        }
    }
}

/// Puts what is `Some` and removes what is `None`.
fn replace<K: Ord, V>(all: &mut BTreeMap<K, Arc<V>>, touched: BTreeMap<K, Option<V>>) {
    for (key, value) in touched {
        match value {
            Some(value) => drop(all.insert(key, Arc::new(value))),
            None => drop(all.remove(&key)),
        }
    }
}

/// Every object that some version of these records consists of.
pub(crate) fn referenced_in(records: &Records) -> HashSet<Digest> {
    records
        .range(b"h".to_vec()..b"i".to_vec())
        .filter_map(|(key, value)| match Record::decode(key, value) {
            Some((Record::Head(_, _, head), _)) => Some(head.objects),
            _ => None,
        })
        .flat_map(|objects| objects.iter().collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit_log::Author;
    use crate::change::Change;
    use crate::plan::plan;
    use crate::testing::{install, key};

    #[test]
    fn numbers_of_a_deleted_head_are_kept_no_longer_than_somebody_holds_them() {
        let mut state = State::default();
        let apply = |state: &mut State, change| {
            let plan = plan(state, change, (&Author::server("test"), 0)).unwrap();
            state.publish(plan)
        };
        let head = apply(&mut state, Change::Install(install("a", 1))).installed.remove(0);
        let change = Change::DeleteVersion { key: key("a"), version: head.version, with_aliases: true };
        drop(apply(&mut state, change));
        assert!(!state.tensors.is_empty(), "equal numbers that come now would be shared");
        drop(head);
        state.forget_freed();
        assert!(state.tensors.is_empty());
    }
}
