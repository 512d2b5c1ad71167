//! Whose rows they are, as far as the queue cares: a lane for each tenant, and the weight of each lane.

use std::collections::HashMap;
use std::num::NonZeroU32;

use arc_swap::ArcSwap;

use crate::task::TenantName;

/// A tenant, as a row carries it. Small and cheap where a name is neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(u32);

/// How a busy encoder is divided: two tenants that both have rows waiting get tokens in proportion to their weights.
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
}

impl Default for Shares {
    /// The default tenant alone, which also stands for rows of nobody in particular.
    fn default() -> Self {
        let lanes = [(TenantName::default_tenant(), Lane::default())].into();
        Self { table: ArcSwap::from_pointee(Table { lanes, weights: vec![NonZeroU32::MIN] }) }
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

    /// Gives these tenants these weights, and all others the weight 1. Rows that wait are divided anew at once.
    pub fn set(&self, weights: &[(TenantName, NonZeroU32)]) {
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            table.weights.fill(NonZeroU32::MIN);
            for (tenant, weight) in weights {
                let lane = table.lane(tenant);
                if let Some(place) = table.weights.get_mut(lane.0 as usize) {
                    *place = *weight;
                }
            }
            table
        });
    }

    pub(crate) fn weight(&self, lane: Lane) -> NonZeroU32 {
        self.table.load().weights.get(lane.0 as usize).copied().unwrap_or(NonZeroU32::MIN)
    }
}

impl Table {
    fn lane(&mut self, tenant: &TenantName) -> Lane {
        if let Some(lane) = self.lanes.get(tenant) {
            return *lane;
        }
        let lane = Lane(self.weights.len() as u32);
        self.weights.push(NonZeroU32::MIN);
        self.lanes.insert(tenant.clone(), lane);
        lane
    }
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
        let five = NonZeroU32::new(5).unwrap();
        shares.set(&[(other.clone(), five), (one.clone(), five)]);
        assert_eq!((shares.lane(&one), shares.weight(lane)), (lane, five));
        assert_eq!(shares.weight(shares.lane(&other)), five);
        shares.set(&[(other.clone(), five)]);
        assert_eq!((shares.weight(lane), shares.weight(shares.lane(&other))), (NonZeroU32::MIN, five));
    }
}
