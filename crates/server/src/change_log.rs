//! Which tasks changed, generation by generation, as far back as there is room: for those who watch.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::{TaskKey, TaskName, TenantName};
use tokio::sync::watch;

/// Changes of a task that are remembered. Who is further behind begins with a snapshot.
const REMEMBERED: usize = 4_096;

/// Written by the single writer once a change is visible.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    memory: Mutex<Memory>,
    /// The last change that is visible; watchers wait at the other end.
    generation: watch::Sender<u64>,
    room: usize,
}

#[derive(Debug, Default)]
struct Memory {
    /// Oldest first.
    changes: VecDeque<(u64, TaskKey)>,
    /// All changes after this generation are here.
    complete_after: u64,
    /// What was served first. A generation from before may have been told by a server that served another encoder.
    began_at: u64,
}

/// What changed since some generation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Since {
    /// The last change that is told here.
    pub(crate) generation: u64,
    /// The tasks that changed, each once.
    pub(crate) tasks: BTreeSet<TaskName>,
}

impl Default for ChangeLog {
    fn default() -> Self {
        Self::with_room(REMEMBERED)
    }
}

impl ChangeLog {
    fn with_room(room: usize) -> Self {
        Self { memory: Mutex::default(), generation: watch::Sender::new(0), room }
    }

    /// Everything stored at `generation` is served now.
    pub(crate) fn begin(&self, generation: u64) {
        *self.lock() = Memory { changes: VecDeque::new(), complete_after: generation, began_at: generation };
        self.generation.send_replace(generation);
    }

    /// The change of that generation is visible, and these are the tasks it altered.
    pub(crate) fn note(&self, generation: u64, tasks: impl Iterator<Item = TaskKey>) {
        let mut memory = self.lock();
        memory.changes.extend(tasks.map(|key| (generation, key)));
        while memory.changes.len() > self.room {
            let Some((forgotten, _)) = memory.changes.pop_front() else { break };
            memory.complete_after = forgotten;
        }
        drop(memory);
        self.generation.send_replace(generation);
    }

    /// The last change that is visible.
    pub(crate) fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// The same, to be waited for.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Whether someone who was told everything up to `generation` can be told the rest.
    pub(crate) fn can_resume(&self, generation: u64) -> bool {
        let memory = self.lock();
        generation > memory.began_at && generation >= memory.complete_after && generation <= self.generation()
    }

    /// The tenant's tasks that changed after `generation`; `None` where that is no longer known.
    pub(crate) fn since(&self, generation: u64, tenant: &TenantName) -> Option<Since> {
        let memory = self.lock();
        if generation < memory.complete_after {
            return None;
        }
        let newer = memory.changes.iter().rev().take_while(|(changed, _)| *changed > generation);
        let tasks = newer.filter(|(_, key)| key.tenant == *tenant).map(|(_, key)| key.task.clone()).collect();
        let last = memory.changes.back().map_or(generation, |(changed, _)| *changed);
        Some(Since { generation: last.max(generation), tasks })
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(task: &str) -> TaskKey {
        TaskKey { tenant: TenantName::default_tenant(), task: task.parse().unwrap() }
    }

    fn since(log: &ChangeLog, generation: u64) -> Option<(u64, Vec<String>)> {
        let since = log.since(generation, &TenantName::default_tenant())?;
        Some((since.generation, since.tasks.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn a_task_that_changed_twice_is_told_once() {
        let log = ChangeLog::default();
        log.begin(10);
        log.note(11, [key("b")].into_iter());
        log.note(12, [key("a"), key("b")].into_iter());
        assert_eq!(since(&log, 10), Some((12, vec!["a".into(), "b".into()])));
        assert_eq!(since(&log, 12), Some((12, vec![])));
        let other = "other".parse().unwrap();
        assert_eq!(log.since(10, &other), Some(Since { generation: 12, tasks: BTreeSet::new() }));
    }

    #[test]
    fn what_is_forgotten_even_in_part_is_not_told_in_part() {
        let log = ChangeLog::with_room(3);
        log.begin(10);
        log.note(11, [key("a")].into_iter());
        log.note(12, [key("b"), key("c"), key("d")].into_iter());
        assert_eq!(since(&log, 10), None);
        assert_eq!(since(&log, 11), Some((12, vec!["b".into(), "c".into(), "d".into()])));
        log.note(13, [key("e")].into_iter());
        assert_eq!(since(&log, 11), None, "b is forgotten");
        assert_eq!(since(&log, 12), Some((13, vec!["e".into()])));
        assert!(!log.can_resume(11) && log.can_resume(12) && log.can_resume(13));
    }

    #[test]
    fn nobody_resumes_from_another_life_of_the_server_or_from_its_future() {
        let log = ChangeLog::default();
        log.begin(10);
        assert!(!log.can_resume(10), "an earlier life may have told the same number");
        log.note(11, [key("a")].into_iter());
        assert!(log.can_resume(11) && !log.can_resume(12));
    }
}
