//! What a caller may read: the tasks of its tenant, and behind them those of the catalogue tenant.

use std::collections::HashSet;
use std::sync::Arc;

use engine::{Lane, LiveTable, LiveTask, NameError, TaskKey, TaskName, TenantName};
use tonic::Status;

use crate::status::of_name;

/// A look at the live table with one caller's eyes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// The caller's tenant.
    pub(crate) tenant: &'a TenantName,
    /// Whose share of the encoder the caller's rows take.
    pub(crate) lane: Lane,
    /// The tenant whose heads the caller may read besides.
    pub(crate) catalogue: Option<&'a TenantName>,
    /// What is served.
    pub(crate) live: &'a LiveTable,
}

impl View<'_> {
    /// The task that `task` names: the caller's own, else the catalogue's. A name that neither serves stays the
    /// caller's own; what other tenants have is never looked at.
    pub(crate) fn key(&self, field: &str, task: &str) -> Result<TaskKey, Status> {
        let task: TaskName = task.parse().map_err(|error: NameError| of_name(field, &error))?;
        let (own, shared) = self.keys(task);
        let is_served = |key: &TaskKey| self.live.find(key).is_some();
        Ok(match shared {
            Some(shared) if !is_served(&own) && is_served(&shared) => shared,
            Some(_) | None => own,
        })
    }

    /// Where `task` may be, in the order in which to look.
    pub(crate) fn keys(&self, task: TaskName) -> (TaskKey, Option<TaskKey>) {
        let shared = self.catalogue.map(|tenant| TaskKey { tenant: tenant.clone(), task: task.clone() });
        (TaskKey { tenant: self.tenant.clone(), task }, shared)
    }

    /// Every task, in order of name; of two with the same name, the caller's own.
    pub(crate) fn tasks(&self) -> Vec<Arc<LiveTask>> {
        let mut tasks = self.live.list(self.tenant);
        if let Some(catalogue) = self.catalogue {
            let own: HashSet<TaskName> = tasks.iter().map(|task| task.key.task.clone()).collect();
            tasks.extend(self.live.list(catalogue).into_iter().filter(|task| !own.contains(&task.key.task)));
            tasks.sort_by(|left, right| left.key.task.cmp(&right.key.task));
        }
        tasks
    }

    /// Whether the task is another tenant's: read, and never changed.
    pub(crate) fn is_shared(&self, key: &TaskKey) -> bool {
        key.tenant != *self.tenant
    }
}
