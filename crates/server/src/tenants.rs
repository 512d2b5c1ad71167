//! TenantService: who may ask what, and how much of it.

use std::sync::Arc;

use api::v1;
use api::v1::tenant_service_server::TenantService;
use engine::{NameError, Quota, TenantName};
use registry::{Change, Committed, NewToken, Registry, Scope, Scopes, StoredTenant, StoredToken, TokenId};
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::catalog::PAGE;
use crate::changes::Writer;
use crate::credentials::mint;
use crate::serving::Serving;
use crate::status;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Tenants {
    pub(crate) serving: Arc<Serving>,
}

impl Tenants {
    /// Makes `change` durable, and answers with what `then` finds afterwards.
    async fn change<T: Send + 'static>(
        &self,
        caller: &Caller,
        change: Change,
        then: impl FnOnce(&Registry, Committed) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let apply = move |writer: &mut Writer| {
            let committed = writer.apply(change).map_err(status::of_registry)?;
            then(writer.registry(), committed)
        };
        self.serving.changes().run(caller.author(), apply).await?
    }

    /// Makes `change` durable, and answers with what the tenant `name` is then.
    async fn changed(&self, caller: &Caller, change: Change, name: TenantName) -> Result<v1::Tenant, Status> {
        let tenant = self.change(caller, change, move |registry, _| found(registry, &name)).await?;
        Ok(self.in_use(tenant))
    }

    /// What `look` finds in the registry.
    async fn read<T: Send + 'static>(
        &self,
        caller: &Caller,
        look: impl FnOnce(&Registry) -> T + Send + 'static,
    ) -> Result<T, Status> {
        self.serving.changes().run(caller.author(), move |writer: &mut Writer| look(writer.registry())).await
    }

    /// The tenant with the rows that it has in flight.
    fn in_use(&self, mut tenant: v1::Tenant) -> v1::Tenant {
        if let (Some(used), Ok(name)) = (&mut tenant.r#use, tenant.name.parse()) {
            let rows = self.serving.engine().shares().rows_in_flight(&name);
            used.rows_in_flight = u32::try_from(rows).unwrap_or(u32::MAX);
        }
        tenant
    }
}

#[tonic::async_trait]
impl TenantService for Tenants {
    async fn create_tenant(
        &self,
        request: Request<v1::CreateTenantRequest>,
    ) -> Result<Response<v1::CreateTenantResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let v1::CreateTenantRequest { name, description, quota } = request.into_inner();
        let name = parse_name("name", &name)?;
        let change = Change::CreateTenant { name: name.clone(), description, quota: quota_of(quota) };
        let tenant = self.changed(&caller, change, name).await?;
        Ok(Response::new(v1::CreateTenantResponse { tenant: Some(tenant) }))
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let v1::ListTenantsRequest { page_size, page_token } = request.into_inner();
        let page_size = PAGE.parse("page_size", page_size)?;
        let after = match page_token.as_str() {
            "" => None,
            token => Some(parse_name("page_token", token)?),
        };
        let list = move |registry: &Registry| {
            let tenants = registry.tenants();
            let rest = tenants.iter().filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
            let page: Vec<_> =
                rest.clone().take(page_size).map(|(name, tenant)| message(registry, name, tenant)).collect();
            (rest.count() > page.len(), page)
        };
        let (goes_on, tenants) = self.read(&caller, list).await?;
        let tenants: Vec<_> = tenants.into_iter().map(|tenant| self.in_use(tenant)).collect();
        let last = tenants.last().filter(|_| goes_on);
        let next_page_token = last.map(|tenant| tenant.name.clone()).unwrap_or_default();
        Ok(Response::new(v1::ListTenantsResponse { tenants, next_page_token }))
    }

    async fn get_tenant(
        &self,
        request: Request<v1::GetTenantRequest>,
    ) -> Result<Response<v1::GetTenantResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let name = parse_name("name", &request.get_ref().name)?;
        let tenant = self.read(&caller, move |registry| found(registry, &name)).await??;
        Ok(Response::new(v1::GetTenantResponse { tenant: Some(self.in_use(tenant)) }))
    }

    async fn set_quota(&self, request: Request<v1::SetQuotaRequest>) -> Result<Response<v1::SetQuotaResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let v1::SetQuotaRequest { name, quota } = request.into_inner();
        let name = parse_name("name", &name)?;
        let change = Change::SetQuota { name: name.clone(), quota: quota_of(quota) };
        let tenant = self.changed(&caller, change, name).await?;
        Ok(Response::new(v1::SetQuotaResponse { tenant: Some(tenant) }))
    }

    async fn delete_tenant(
        &self,
        request: Request<v1::DeleteTenantRequest>,
    ) -> Result<Response<v1::DeleteTenantResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let v1::DeleteTenantRequest { name, delete_heads } = request.into_inner();
        let change = Change::DeleteTenant { name: parse_name("name", &name)?, with_heads: delete_heads };
        self.change(&caller, change, |_, _| Ok(())).await?;
        Ok(Response::new(v1::DeleteTenantResponse {}))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let v1::CreateTokenRequest { tenant, scopes, description, expires_at } = request.into_inner();
        let tenant = parse_name("tenant", &tenant)?;
        let scopes: Scopes = scopes.into_iter().map(parse_scope).collect::<Result<_, _>>()?;
        let expires_unix_seconds = expires_at.map(parse_end).transpose()?;
        let (id, secret, digest) = mint().map_err(|error| status::internal("internal error", &error.to_string()))?;
        let token = NewToken { id, tenant, scopes, digest, description, expires_unix_seconds };
        let find = move |registry: &Registry, _| {
            let token = registry.tokens().find(|(other, _)| *other == id);
            token.map(|(id, token)| token_message(id, token)).ok_or_else(|| status::no_such("token"))
        };
        let token = self.change(&caller, Change::CreateToken(token), find).await?;
        Ok(Response::new(v1::CreateTokenResponse { token: Some(token), secret }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let tenant = parse_name("tenant", &request.get_ref().tenant)?;
        let list = move |registry: &Registry| {
            found(registry, &tenant)?;
            let mut tokens: Vec<_> = registry.tokens().filter(|(_, token)| token.tenant == tenant).collect();
            tokens.sort_by_key(|(_, token)| std::cmp::Reverse(token.created_unix_seconds));
            Ok::<_, Status>(tokens.into_iter().map(|(id, token)| token_message(id, token)).collect())
        };
        let tokens = self.read(&caller, list).await??;
        Ok(Response::new(v1::ListTokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let id = request.get_ref().id.parse::<TokenId>();
        let id = id.map_err(|error| status::invalid_field("id", &error.to_string()))?;
        self.change(&caller, Change::RevokeToken { id }, |_, _| Ok(())).await?;
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }
}

fn parse_name(field: &str, name: &str) -> Result<TenantName, Status> {
    name.parse().map_err(|error: NameError| status::of_name(field, &error))
}

fn parse_scope(number: i32) -> Result<Scope, Status> {
    match v1::Scope::try_from(number) {
        Ok(v1::Scope::Infer) => Ok(Scope::Infer),
        Ok(v1::Scope::Heads) => Ok(Scope::Heads),
        Ok(v1::Scope::Operator) => Ok(Scope::Operator),
        Ok(v1::Scope::Unspecified) | Err(_) => Err(crate::from_proto::unknown_number("scopes", number)),
    }
}

/// The second in which a token ends.
fn parse_end(end: prost_types::Timestamp) -> Result<u64, Status> {
    u64::try_from(end.seconds).map_err(|_| status::invalid_field("expires_at", "that moment has passed"))
}

fn found(registry: &Registry, name: &TenantName) -> Result<v1::Tenant, Status> {
    let tenant = registry.tenant(name).ok_or_else(|| status::no_such("tenant"))?;
    Ok(message(registry, name, &tenant))
}

fn message(registry: &Registry, name: &TenantName, tenant: &StoredTenant) -> v1::Tenant {
    let tasks = registry.tasks().filter(|(key, _)| key.tenant == *name);
    let versions: Vec<_> = tasks.flat_map(|(_, task)| task.versions.values()).collect();
    let use_now = v1::QuotaUse {
        rows_in_flight: 0,
        head_versions: versions.len() as u32,
        head_bytes: versions.iter().map(|installed| installed.weight_bytes()).sum(),
    };
    v1::Tenant {
        name: name.to_string(),
        description: tenant.description.clone(),
        quota: Some(quota_message(&tenant.quota)),
        r#use: Some(use_now),
        created_at: (tenant.created_unix_seconds > 0).then(|| timestamp(tenant.created_unix_seconds)),
    }
}

fn quota_of(quota: Option<v1::Quota>) -> Quota {
    let quota = quota.unwrap_or_default();
    Quota {
        requests_per_second: quota.requests_per_second,
        request_burst: quota.request_burst,
        tokens_per_second: quota.tokens_per_second,
        rows_in_flight: quota.rows_in_flight,
        head_versions: quota.head_versions,
        head_bytes: quota.head_bytes,
        weight: quota.weight,
    }
}

fn quota_message(quota: &Quota) -> v1::Quota {
    v1::Quota {
        requests_per_second: quota.requests_per_second,
        request_burst: quota.request_burst,
        tokens_per_second: quota.tokens_per_second,
        rows_in_flight: quota.rows_in_flight,
        head_versions: quota.head_versions,
        head_bytes: quota.head_bytes,
        weight: quota.weight,
    }
}

fn token_message(id: TokenId, token: &StoredToken) -> v1::AccessToken {
    let scope = |scope| match scope {
        Scope::Infer => v1::Scope::Infer.into(),
        Scope::Heads => v1::Scope::Heads.into(),
        Scope::Operator => v1::Scope::Operator.into(),
    };
    v1::AccessToken {
        id: id.to_string(),
        tenant: token.tenant.to_string(),
        scopes: token.scopes.iter().map(scope).collect(),
        description: token.description.clone(),
        created_at: Some(timestamp(token.created_unix_seconds)),
        expires_at: token.expires_unix_seconds.map(timestamp),
        revoked: token.revoked,
    }
}

/// A moment by the server's clock.
fn timestamp(unix_seconds: u64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: unix_seconds.cast_signed(), nanos: 0 }
}
