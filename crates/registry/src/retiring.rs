//! Giving up the versions that a task's retention rule no longer keeps, as a part of the change that makes it so.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::{Retention, TaskKey, Version};

use crate::change::{Action, HistoryEntry, StoredTask};
use crate::draft::Draft;
use crate::error::RegistryError;

impl Draft<'_> {
    pub(crate) fn set_retention(&mut self, key: &TaskKey, retention: Retention) -> Result<(), RegistryError> {
        if self.existing(key)?.retention == retention {
            return Ok(());
        }
        self.touch(key).retention = retention;
        let gives_up = self.existing(key).map_or(0, |task| self.given_up(task).len());
        let entry = self.entry(Action::SetRetention, key, None);
        self.note(HistoryEntry { heads: gives_up as u32, ..entry });
        Ok(())
    }

    /// Touches every task whose rule gives something up by now.
    pub(crate) fn retire_everywhere(&mut self) -> Result<(), RegistryError> {
        let state = self.state;
        let mut first = None;
        let mut heads = 0;
        for (key, task) in state.tasks() {
            let gives_up = self.given_up(task).len();
            if gives_up > 0 {
                self.touch(key);
                first = first.or(Some(key));
                heads += gives_up as u32;
            }
        }
        if let Some(first) = first {
            let entry = self.entry(Action::Retire, first, None);
            self.note(HistoryEntry { heads, ..entry });
        }
        Ok(())
    }

    /// Deletes what the rules of the touched tasks give up.
    pub(crate) fn retire_touched(&mut self) -> Result<(), RegistryError> {
        let touched: Vec<_> = self.touched.iter().map(|(key, task)| (key.clone(), self.given_up(task))).collect();
        for (key, versions) in touched {
            for version in versions {
                self.delete(&key, version, false)?;
            }
        }
        Ok(())
    }

    /// The versions of `task` that its rule gives up and nothing holds.
    fn given_up(&self, task: &StoredTask) -> Vec<Version> {
        if task.retention.is_empty() {
            return Vec::new();
        }
        let numbers: BTreeSet<_> = task.versions.keys().chain(&task.damaged).copied().collect();
        let age = |version: &Version| {
            // A damaged version says nothing of its age, and nobody can use it: by age it is not kept.
            let created = task.versions.get(version).map_or(0, |installed| installed.created_unix_seconds);
            (*version, Duration::from_secs(self.unix_seconds.saturating_sub(created)))
        };
        let versions: Vec<_> = numbers.iter().map(age).collect();
        let mut given_up = task.retention.gives_up(&versions);
        given_up.retain(|version| !task.holds(*version));
        given_up
    }
}
