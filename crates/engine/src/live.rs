//! What is served now: for every task its resident versions, its aliases, and so the head that answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::watch;

use crate::ask::Mode;
use crate::head::Head;
use crate::retention::Retention;
use crate::shadow::{Judge, LiveTraffic};
use crate::sync::Meeting;
use crate::task::{Alias, Selector, TaskKey, TenantName, Version};
use crate::traffic::Call;

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
    /// How calls that name no version are divided; `None` where all go to the live one.
    pub traffic: Option<Arc<LiveTraffic>>,
    /// Which versions are kept without anybody naming them.
    pub retention: Retention,
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
            Selector::Traffic(call) => return self.divide(*call),
        };
        self.versions.get(version).cloned()
    }

    /// The version that the traffic rule has answer, or the live one; which of them is counted.
    fn divide(&self, call: Call) -> Option<Arc<ServedHead>> {
        let canary = self.traffic.as_ref().and_then(|traffic| self.versions.get(&traffic.rule.answers(call)?));
        let live = || self.versions.get(self.aliases.get(&Alias::live())?);
        let answers = canary.or_else(live)?;
        if let Some(traffic) = &self.traffic {
            traffic.count(|counts| match canary {
                Some(_) => counts.canary_calls += 1,
                None => counts.live_calls += 1,
            });
        }
        Some(Arc::clone(answers))
    }

    /// Who judges an answer of `served` in `mode` unseen, if the rule has somebody do so who did not answer.
    pub(crate) fn judge(&self, selector: &Selector, served: &ServedHead, mode: Mode) -> Option<Judge> {
        let Selector::Traffic(call) = selector else { return None };
        let traffic = self.traffic.as_ref()?;
        let shadow = self.versions.get(&traffic.rule.judges(*call)?)?;
        (shadow.version != served.version).then(|| Judge::new(served, shadow, mode, Arc::clone(traffic)))
    }
}

/// The tasks of all tenants. Derived from the registry; only the single writer of changes alters it.
///
/// Readers clone an `Arc` out and let go at once: no reference into the map outlives the expression that made it.
#[derive(Debug, Default)]
pub struct LiveTable {
    tasks: DashMap<TaskKey, Arc<LiveTask>>,
    /// Grows after every change, so that what was made of the heads knows when it is old.
    generation: watch::Sender<u64>,
    meeting: Meeting,
}

impl LiveTable {
    /// The task as served at this moment.
    #[must_use]
    pub fn find(&self, key: &TaskKey) -> Option<Arc<LiveTask>> {
        self.meeting.pass();
        self.tasks.get(key).map(|task| Arc::clone(&task))
    }

    /// Serves `task` from now on, in place of what was there.
    pub fn publish(&self, task: LiveTask) {
        self.meeting.pass();
        self.tasks.insert(task.key.clone(), Arc::new(task));
        self.changed();
    }

    /// Serves the task no longer. Rows that hold one of its heads finish with it.
    pub fn withdraw(&self, key: &TaskKey) {
        self.meeting.pass();
        self.tasks.remove(key);
        self.changed();
    }

    /// Told after the change, never before: who hears of it finds it.
    fn changed(&self) {
        self.meeting.pass();
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// A tenant's tasks, by name.
    #[must_use]
    pub fn list(&self, tenant: &TenantName) -> Vec<Arc<LiveTask>> {
        let mut tasks: Vec<_> =
            self.tasks.iter().filter(|entry| entry.key().tenant == *tenant).map(|entry| Arc::clone(&entry)).collect();
        tasks.sort_by(|a, b| a.key.task.cmp(&b.key.task));
        tasks
    }

    /// The tasks of all tenants, in no order.
    #[must_use]
    pub fn tasks(&self) -> Vec<Arc<LiveTask>> {
        self.meeting.pass();
        self.tasks.iter().map(|entry| Arc::clone(&entry)).collect()
    }

    /// The heads of all versions of all tasks.
    pub(crate) fn heads(&self) -> Vec<Arc<Head>> {
        let tasks = self.tasks();
        tasks.iter().flat_map(|task| task.versions.values()).map(|served| Arc::clone(&served.head)).collect()
    }

    /// A number that is another one after every change.
    pub(crate) fn generation(&self) -> u64 {
        self.meeting.pass();
        *self.generation.borrow()
    }

    /// A number that grows with every change, to be waited for.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
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
