//! AuditService: who changed what.

use std::sync::Arc;

use api::v1;
use api::v1::audit_service_server::AuditService;
use engine::{NameError, TenantName};
use registry::{AuditEntry, AuditField};
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::catalog::{MAX_PAGE_BYTES, PAGE, first_that_fit};
use crate::changes::Writer;
use crate::serving::Serving;
use crate::status;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    pub(crate) serving: Arc<Serving>,
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Result<Response<v1::ListAuditEntriesResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let v1::ListAuditEntriesRequest { page_size, page_token, tenant } = request.into_inner();
        let page_size = PAGE.parse("page_size", page_size)?;
        let before = match page_token.as_str() {
            "" => u64::MAX,
            token => token.parse().map_err(|_| status::invalid_field("page_token", "it is not one of this log's"))?,
        };
        let tenant: Option<TenantName> = match tenant.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|error: NameError| status::of_name("tenant", &error))?),
        };
        let read = move |writer: &mut Writer| {
            let entries = writer.registry().audit(before);
            let wanted = entries.filter(|entry| tenant.as_ref().is_none_or(|tenant| entry.tenant == *tenant));
            wanted.take(page_size + 1).map(message).collect::<Vec<_>>()
        };
        let found = self.serving.changes().run(caller.author(), read).await?;
        let n_found = found.len();
        let entries = first_that_fit(found.into_iter().take(page_size), MAX_PAGE_BYTES);
        let last = entries.last().filter(|_| entries.len() < n_found);
        let next_page_token = last.map(|entry| entry.generation.to_string()).unwrap_or_default();
        Ok(Response::new(v1::ListAuditEntriesResponse { entries, next_page_token }))
    }
}

fn message(entry: AuditEntry) -> v1::AuditEntry {
    let field = |AuditField { name, before, after }| v1::AuditField { name, before, after };
    let seconds = entry.unix_seconds.cast_signed();
    v1::AuditEntry {
        generation: entry.generation,
        changed_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        caller_tenant: entry.author.tenant.to_string(),
        actor: entry.author.actor,
        method: entry.author.method,
        tenant: entry.tenant.to_string(),
        subject: entry.subject,
        fields: entry.fields.into_iter().map(field).collect(),
        omitted_fields: entry.omitted,
    }
}
