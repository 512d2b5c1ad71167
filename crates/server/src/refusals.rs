//! Heads that were refused: the last one of each task, until another is installed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::TaskKey;

/// Tasks whose refusals are remembered; of more, the oldest are forgotten.
const MAX_TASKS: usize = 1_000;

/// Why a head is not a version of its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) unix_seconds: u64,
    /// What was wrong with it.
    pub(crate) reason: String,
    /// Digest of the head; empty where it could not be read.
    pub(crate) digest: String,
    /// Where it came from, in words.
    pub(crate) source: String,
}

/// Written by whoever installs, read by calls.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    by_task: Mutex<BTreeMap<TaskKey, Refusal>>,
    total: AtomicU64,
}

impl Refusal {
    /// One of now.
    pub(crate) fn new(reason: &str, digest: String, source: String) -> Self {
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { unix_seconds, reason: reason.to_owned(), digest, source }
    }
}

impl Refusals {
    pub(crate) fn note(&self, key: TaskKey, refusal: Refusal) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut by_task = self.lock();
        by_task.insert(key, refusal);
        if by_task.len() > MAX_TASKS {
            let oldest = by_task.iter().min_by_key(|(_, refusal)| refusal.unix_seconds);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                by_task.remove(&oldest);
            }
        }
    }

    /// A head of the task is good.
    pub(crate) fn clear(&self, key: &TaskKey) {
        self.lock().remove(key);
    }

    pub(crate) fn of(&self, key: &TaskKey) -> Option<Refusal> {
        self.lock().get(key).cloned()
    }

    /// Refusals since the server started.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskKey, Refusal>> {
        self.by_task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use engine::TenantName;

    use super::*;

    #[test]
    fn the_oldest_refusal_is_forgotten_where_there_are_too_many() {
        let refusals = Refusals::default();
        let key = |number: u64| TaskKey {
            tenant: TenantName::default_tenant(),
            task: format!("task-{number}").parse().unwrap(),
        };
        for number in 0..=MAX_TASKS as u64 {
            let refusal = Refusal::new("bad", String::new(), String::new());
            refusals.note(key(number), Refusal { unix_seconds: number, ..refusal });
        }
        assert_eq!((refusals.of(&key(0)), refusals.total()), (None, MAX_TASKS as u64 + 1));
        assert!(refusals.of(&key(1)).is_some());
        refusals.clear(&key(1));
        assert!(refusals.of(&key(1)).is_none());
    }
}
