//! Whose rows they are, as far as the queue cares: a lane for each tenant, and the weight of each lane.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::allowance::{Allowance, Limited, RowsInUse, Use};
use crate::error::EngineError;
use crate::quota::Quota;
use crate::task::TenantName;

/// The weight 1, in the thousandths in which weights are kept.
const ONE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);

/// A tenant, as a row carries it. Small and cheap where a name is neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(u32);

/// How a busy encoder is divided: two tenants that both have rows waiting get tokens in proportion to their weights. And
/// what each may use at all.
///
/// Read by every ask and by the queue, changed whole by whoever knows the quotas.
#[derive(Debug)]
pub struct Shares {
    table: ArcSwap<Table>,
}

#[derive(Debug, Clone)]
struct Table {
    lanes: HashMap<TenantName, Lane>,
    /// By lane. A lane is never given to another tenant.
    weights: Vec<NonZeroU32>,
    allowances: Vec<Arc<Allowance>>,
}

impl Default for Shares {
    /// The default tenant alone, which also stands for rows of nobody in particular.
    fn default() -> Self {
        let lanes = [(TenantName::default_tenant(), Lane::default())].into();
        Self { table: ArcSwap::from_pointee(Table { lanes, weights: vec![ONE], allowances: vec![Arc::default()] }) }
    }
}

impl Shares {
    /// The tenant's lane. One that was never named has the weight 1.
    #[must_use]
    pub fn lane(&self, tenant: &TenantName) -> Lane {
        if let Some(lane) = self.table.load().lanes.get(tenant) {
            return *lane;
        }
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            table.lane(tenant);
            table
        });
        self.table.load().lanes.get(tenant).copied().unwrap_or_default()
    }

    /// These quotas hold from now on, and all other tenants have none. Rows that wait are divided anew at once.
    pub fn set(&self, quotas: &[(TenantName, Quota)]) {
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            table.weights.fill(ONE);
            for (tenant, quota) in quotas {
                let lane = table.lane(tenant);
                if let Some(place) = table.weights.get_mut(lane.0 as usize) {
                    *place = quota.weight.map_or(ONE, thousandths);
                }
            }
            table
        });
        let table = self.table.load();
        let by_lane: HashMap<_, _> = quotas.iter().map(|(tenant, quota)| (table.lanes.get(tenant), quota)).collect();
        for (lane, allowance) in table.allowances.iter().enumerate() {
            let quota = by_lane.get(&Some(&Lane(lane as u32))).copied().copied();
            allowance.limit(&quota.unwrap_or_default());
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// [`EngineError::OverQuota`].
    pub fn take_call(&self, lane: Lane) -> Result<(), EngineError> {
        self.allowance(lane).map_or(Ok(()), |allowance| allowance.take_call())
    }

    /// The tenant was refused what somebody else counts.
    pub fn count_refusal(&self, tenant: &TenantName, what: Limited) {
        if let Some(allowance) = self.allowance(self.lane(tenant)) {
            allowance.count_refusal(what);
        }
    }

    /// What every tenant uses, in the order in which they were first named.
    #[must_use]
    pub fn uses(&self) -> Vec<(TenantName, Use)> {
        let table = self.table.load();
        let mut lanes: Vec<_> = table.lanes.iter().collect();
        lanes.sort_by_key(|(_, lane)| **lane);
        lanes.into_iter().map(|(tenant, _)| tenant.clone()).zip(table.allowances.iter().map(|one| one.used())).collect()
    }

    /// Rows of the tenant's in flight.
    #[must_use]
    pub fn rows_in_flight(&self, tenant: &TenantName) -> u64 {
        self.allowance(self.lane(tenant)).map_or(0, |allowance| allowance.used().rows_in_flight)
    }

    pub(crate) fn take_rows(&self, lane: Lane, rows: usize) -> Result<Option<RowsInUse>, EngineError> {
        self.allowance(lane).map(|allowance| allowance.take_rows(rows)).transpose()
    }

    pub(crate) fn take_tokens(&self, lane: Lane, tokens: usize) -> Result<(), EngineError> {
        self.allowance(lane).map_or(Ok(()), |allowance| allowance.take_tokens(tokens))
    }

    /// The same for rows that nobody waits for: they wait for their tokens, see [`Allowance::wait_for_tokens`].
    pub(crate) async fn wait_for_tokens(&self, lane: Lane, rows: usize, tokens: usize) -> Result<(), EngineError> {
        match self.allowance(lane) {
            Some(allowance) => allowance.wait_for_tokens(rows, tokens).await,
            None => Ok(()),
        }
    }

    fn allowance(&self, lane: Lane) -> Option<Arc<Allowance>> {
        self.table.load().allowances.get(lane.0 as usize).cloned()
    }

    pub(crate) fn weight(&self, lane: Lane) -> NonZeroU32 {
        self.table.load().weights.get(lane.0 as usize).copied().unwrap_or(ONE)
    }
}

impl Table {
    fn lane(&mut self, tenant: &TenantName) -> Lane {
        if let Some(lane) = self.lanes.get(tenant) {
            return *lane;
        }
        let lane = Lane(self.weights.len() as u32);
        self.weights.push(ONE);
        self.allowances.push(Arc::default());
        self.lanes.insert(tenant.clone(), lane);
        lane
    }
}

/// Of a weight above 0; more than a million is a million.
fn thousandths(weight: f64) -> NonZeroU32 {
    NonZeroU32::new((weight * f64::from(ONE.get())).min(1e9) as u32).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_keeps_its_lane_whatever_becomes_of_its_weight() {
        let shares = Shares::default();
        let [one, other]: [TenantName; 2] = ["one", "other"].map(|name| name.parse().unwrap());
        assert_eq!(shares.lane(&TenantName::default_tenant()), Lane::default());
        let lane = shares.lane(&one);
        assert_ne!(lane, Lane::default());
        let five = Quota { weight: Some(5.0), ..Quota::default() };
        let of_five = thousandths(5.0);
        shares.set(&[(other.clone(), five), (one.clone(), five)]);
        assert_eq!((shares.lane(&one), shares.weight(lane)), (lane, of_five));
        assert_eq!(shares.weight(shares.lane(&other)), of_five);
        shares.set(&[(other.clone(), five)]);
        assert_eq!((shares.weight(lane), shares.weight(shares.lane(&other))), (ONE, of_five));
    }
}
