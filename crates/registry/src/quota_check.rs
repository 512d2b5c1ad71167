//! Whether a change leaves tenants within their quotas.

use std::collections::BTreeSet;

use engine::{Limited, Quota, TaskKey, TenantName};

use crate::change::StoredTask;
use crate::draft::Draft;
use crate::error::RegistryError;

impl Draft<'_> {
    /// No tenant gets more versions, or more bytes of weights, than its quota says. One that has more already may change
    /// what it has, and not add to it.
    pub(crate) fn check_quotas(&self) -> Result<(), RegistryError> {
        let tenants: BTreeSet<_> = self.added.iter().map(|installed| &installed.key.tenant).collect();
        tenants.into_iter().try_for_each(|tenant| self.check_quota(tenant))
    }

    fn check_quota(&self, tenant: &TenantName) -> Result<(), RegistryError> {
        let quota = self.state.tenants.get(tenant).map_or_else(Quota::default, |stored| stored.quota);
        let limits = [quota.head_versions.map(u64::from), quota.head_bytes];
        if limits == [None; 2] {
            return Ok(());
        }
        let stored = || self.state.tasks().map(|(key, task)| (key, &**task));
        let kept = stored().filter(|(key, _)| !self.touched.contains_key(*key));
        let after = held(tenant, kept.chain(&self.touched));
        let before = held(tenant, stored());
        let kinds = [Limited::Versions, Limited::Bytes];
        for (((what, limit), before), actual) in kinds.into_iter().zip(limits).zip(before).zip(after) {
            if let Some(limit) = limit.filter(|limit| actual > *limit && actual > before) {
                return Err(RegistryError::OverQuota { what, limit, actual });
            }
        }
        Ok(())
    }
}

/// Versions and bytes of a tenant among `tasks`.
fn held<'a>(tenant: &TenantName, tasks: impl Iterator<Item = (&'a TaskKey, &'a StoredTask)>) -> [u64; 2] {
    let versions = tasks.filter(|(key, _)| key.tenant == *tenant).flat_map(|(_, task)| task.versions.values());
    versions.fold([0, 0], |[number, bytes], installed| [number + 1, bytes + installed.weight_bytes()])
}
