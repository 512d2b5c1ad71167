//! Who calls: the tenant, what the credential is good for, and the name that goes into the audit log.

use std::sync::Arc;
use std::time::Duration;

use engine::{Lane, LiveTable, TenantName};
use registry::{Author, Scopes};
use tokio::time::sleep;
use tonic::{Extensions, Status};

use crate::auth::{Credential, Known};
use crate::status;
use crate::view::View;

/// A credential that has ended is noticed this much later at most, and revoking one promises a second.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// A caller that was let in. Rides in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Arc<Admitted>);

/// What was known of a caller when it was let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Tenant, credential and method.
    pub(crate) author: Author,
    /// Whose share of the encoder the caller's rows take.
    pub(crate) lane: Lane,
    /// What the credential is good for.
    pub(crate) scopes: Scopes,
    /// The tenant whose heads everybody may read.
    pub(crate) catalogue: Option<TenantName>,
    /// What let the caller in, if anybody asked for it, and where it is looked up again.
    pub(crate) let_in: Option<(Arc<Known>, Credential)>,
}

impl Caller {
    pub(crate) fn new(admitted: Admitted) -> Self {
        Self(Arc::new(admitted))
    }

    /// The caller of a request that came through the edge.
    ///
    /// # Errors
    /// INTERNAL: such a request carries its caller.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Status> {
        extensions.get().cloned().ok_or_else(|| status::internal("internal error", "a request without a caller"))
    }

    pub(crate) fn tenant(&self) -> &TenantName {
        &self.0.author.tenant
    }

    pub(crate) fn lane(&self) -> Lane {
        self.0.lane
    }

    pub(crate) fn scopes(&self) -> Scopes {
        self.0.scopes
    }

    /// Who to name in the audit log.
    pub(crate) fn author(&self) -> &Author {
        &self.0.author
    }

    /// What the caller may read.
    pub(crate) fn view<'a>(&'a self, live: &'a LiveTable) -> View<'a> {
        let catalogue = self.0.catalogue.as_ref().filter(|catalogue| *catalogue != self.tenant());
        View { tenant: self.tenant(), lane: self.lane(), catalogue, live }
    }

    /// Whether the caller has a credential, which may end.
    pub(crate) fn can_end(&self) -> bool {
        self.0.let_in.is_some()
    }

    /// Returns once the credential is good no more, which is looked at again and again.
    pub(crate) async fn no_longer_good(&self) -> Status {
        loop {
            sleep(BETWEEN_LOOKS).await;
            if let Err(refusal) = self.check_still_good() {
                return refusal;
            }
        }
    }

    /// Whether the credential is still good: a stream, or a change that was long under way, may outlive it.
    ///
    /// # Errors
    /// UNAUTHENTICATED.
    pub(crate) fn check_still_good(&self) -> Result<(), Status> {
        let standing = (self.tenant(), self.scopes());
        match &self.0.let_in {
            Some((known, credential)) if !known.is_good(credential, standing) => Err(status::unauthenticated()),
            Some(_) | None => Ok(()),
        }
    }
}
