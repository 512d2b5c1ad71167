//! What is served now: for every task its resident versions, its aliases, and so the head that answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use crate::head::Head;
use crate::task::{Alias, Selector, TaskKey, TenantName, Version};

/// One immutable version of a head, as published.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedHead {
    /// The task it answers.
    pub key: TaskKey,
    /// Its number among the task's versions.
    pub version: Version,
    /// Digest of everything in it, `sha256:` and hex digits.
    pub digest: String,
    /// Digest of the encoder it was trained on.
    pub encoder_digest: String,
    /// Whether it was installed although that encoder is not the one served.
    pub forced: bool,
    /// When it was installed, in seconds since 1970.
    pub created_unix_seconds: u64,
    /// The head itself.
    pub head: Arc<Head>,
}

/// All that is served of one task. Replaced whole by every change.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveTask {
    /// The task.
    pub key: TaskKey,
    /// Its versions, oldest first.
    pub versions: BTreeMap<Version, Arc<ServedHead>>,
    /// Movable names, each of a version above.
    pub aliases: BTreeMap<Alias, Version>,
    /// Grows with every change to this task.
    pub generation: u64,
}

impl LiveTask {
    /// The version a caller selects, if it is served.
    #[must_use]
    pub fn select(&self, selector: &Selector) -> Option<Arc<ServedHead>> {
        let version = match selector {
            Selector::Version(version) => version,
            Selector::Alias(alias) => self.aliases.get(alias)?,
        };
        self.versions.get(version).cloned()
    }
}

/// The tasks of all tenants. Derived from the registry; only the single writer of changes alters it.
///
/// Readers clone an `Arc` out and let go at once: no reference into the map outlives the expression that made it.
#[derive(Debug, Default)]
pub struct LiveTable {
    tasks: DashMap<TaskKey, Arc<LiveTask>>,
    /// Grows after every change, so that what was made of the heads knows when it is old.
    generation: AtomicU64,
}

impl LiveTable {
    /// The task as served at this moment.
    #[must_use]
    pub fn find(&self, key: &TaskKey) -> Option<Arc<LiveTask>> {
        self.tasks.get(key).map(|task| Arc::clone(&task))
    }

    /// Serves `task` from now on, in place of what was there.
    pub fn publish(&self, task: LiveTask) {
        self.tasks.insert(task.key.clone(), Arc::new(task));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Serves the task no longer. Rows that hold one of its heads finish with it.
    pub fn withdraw(&self, key: &TaskKey) {
        self.tasks.remove(key);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// A tenant's tasks, by name.
    #[must_use]
    pub fn list(&self, tenant: &TenantName) -> Vec<Arc<LiveTask>> {
        let mut tasks: Vec<_> =
            self.tasks.iter().filter(|entry| entry.key().tenant == *tenant).map(|entry| Arc::clone(&entry)).collect();
        tasks.sort_by(|a, b| a.key.task.cmp(&b.key.task));
        tasks
    }

    /// The heads of all versions of all tasks.
    pub(crate) fn heads(&self) -> Vec<Arc<Head>> {
        let tasks: Vec<_> = self.tasks.iter().map(|entry| Arc::clone(&entry)).collect();
        tasks.iter().flat_map(|task| task.versions.values()).map(|served| Arc::clone(&served.head)).collect()
    }

    /// A number that is another one after every change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Number of tasks served, over all tenants.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether nothing is served.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}
