//! Places for work that takes as long as its caller likes: so many for one tenant, and more for all, so that none keeps
//! the others out.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::TenantName;
use tonic::Status;

use crate::status;

/// So many tenants may have all that one may have.
const TENANTS_AT_ONCE: usize = 4;

/// Work that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LongWork {
    /// Watching the tasks.
    Watch,
    /// Judging a head: keeps the logits of its rows.
    Evaluation,
    /// Fitting a head: keeps the vectors of its rows.
    Fit,
    /// Installing a bundle: keeps its heads.
    Bundle,
    /// Exporting a whole model: holds a thread.
    ModelExport,
}

/// Who has how many places.
#[derive(Debug, Default)]
pub(crate) struct Places {
    taken: Mutex<HashMap<(LongWork, TenantName), usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    whose: (LongWork, TenantName),
}

impl LongWork {
    fn most_of_one(self) -> usize {
        match self {
            Self::Watch => 256,
            Self::Evaluation | Self::ModelExport => 4,
            Self::Fit | Self::Bundle => 1,
        }
    }

    fn most(self) -> usize {
        TENANTS_AT_ONCE * self.most_of_one()
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watches",
            Self::Evaluation => "evaluations",
            Self::Fit => "fits",
            Self::Bundle => "bundles",
            Self::ModelExport => "model_exports",
        }
    }
}

impl fmt::Display for LongWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::ModelExport { "exports of whole models" } else { self.as_str() })
    }
}

impl Places {
    /// A place for work of this tenant's.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED.
    pub(crate) fn take(self: &Arc<Self>, work: LongWork, tenant: &TenantName) -> Result<Place, Status> {
        let whose = (work, tenant.clone());
        let mut taken = self.taken();
        let (of_one, of_all) = (taken.get(&whose).copied().unwrap_or(0), all(&taken, work));
        if of_one >= work.most_of_one() {
            let message = format!("this tenant has as many {work} under way as it may");
            return Err(status::no_place(work.as_str(), &message));
        }
        if of_all >= work.most() {
            return Err(status::no_place(work.as_str(), &format!("as many {work} are under way as may be")));
        }
        taken.insert(whose.clone(), of_one + 1);
        Ok(Place { places: Arc::clone(self), whose })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<(LongWork, TenantName), usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn all(taken: &HashMap<(LongWork, TenantName), usize>, work: LongWork) -> usize {
    taken.iter().filter(|((other, _), _)| *other == work).map(|(_, count)| count).sum()
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_cannot_take_the_places_of_the_others() {
        let places = Arc::new(Places::default());
        let tenant = |number: usize| -> TenantName { format!("tenant{number}").parse().unwrap() };
        let take = |work, number| places.take(work, &tenant(number));
        let of_one: Vec<_> = std::iter::from_fn(|| take(LongWork::Evaluation, 0).ok()).collect();
        assert_eq!(of_one.len(), LongWork::Evaluation.most_of_one());
        let refused = take(LongWork::Evaluation, 0).unwrap_err();
        assert!(refused.message().contains("this tenant"), "{refused:?}");
        let of_others: Vec<_> = (1..).map_while(|number| take(LongWork::Evaluation, number).ok()).collect();
        assert_eq!(of_one.len() + of_others.len(), LongWork::Evaluation.most());
        take(LongWork::Fit, 0).expect("other work has places of its own");
        drop(of_one);
        let again: Vec<_> = std::iter::from_fn(|| take(LongWork::Evaluation, 0).ok()).collect();
        assert_eq!(again.len(), LongWork::Evaluation.most_of_one());
        drop((of_others, again));
        assert!(places.taken().is_empty(), "names of tenants do not pile up");
    }
}
