//! Tenants and tokens in a change being worked out.

use engine::{Quota, TenantName};

use crate::draft::Draft;
use crate::error::RegistryError;
use crate::tenants::{MAX_TENANT_TEXT_BYTES, MAX_TENANTS, MAX_TOKENS, NewToken, StoredTenant, StoredToken, TokenId};

impl Draft<'_> {
    pub(crate) fn create_tenant(
        &mut self,
        name: TenantName,
        description: String,
        quota: Quota,
    ) -> Result<(), RegistryError> {
        check_text("description", &description)?;
        check_quota(&quota)?;
        let is_alike = |existing: &&TenantName| existing.as_str().eq_ignore_ascii_case(name.as_str());
        let default = TenantName::default_tenant();
        if let Some(existing) = self.state.tenants.keys().chain([&default]).find(is_alike) {
            return Err(RegistryError::TenantExists { existing: existing.clone() });
        }
        if self.state.tenants.len() >= MAX_TENANTS {
            return Err(RegistryError::TooMany { what: "tenants", limit: MAX_TENANTS });
        }
        let tenant = StoredTenant { description, quota, created_unix_seconds: self.unix_seconds };
        self.tenants.insert(name, Some(tenant));
        Ok(())
    }

    pub(crate) fn set_quota(&mut self, name: TenantName, quota: Quota) -> Result<(), RegistryError> {
        check_quota(&quota)?;
        let tenant = self.tenant(&name)?;
        if tenant.quota != quota {
            self.tenants.insert(name, Some(StoredTenant { quota, ..tenant }));
        }
        Ok(())
    }

    pub(crate) fn delete_tenant(&mut self, name: TenantName, with_heads: bool) -> Result<(), RegistryError> {
        if name == TenantName::default_tenant() {
            return Err(RegistryError::TenantStays { name });
        }
        self.tenant(&name)?;
        let tasks = self.state.tasks().filter(|(key, _)| key.tenant == name);
        let tasks: Vec<_> = tasks.map(|(key, task)| (key.clone(), task.clone())).collect();
        if !with_heads && !tasks.is_empty() {
            return Err(RegistryError::TenantInUse { name, tasks: tasks.len() });
        }
        for (key, task) in tasks {
            for version in task.versions.keys().chain(&task.damaged) {
                self.delete(&key, *version, true)?;
            }
        }
        let tokens = self.state.tokens.iter().filter(|(_, token)| token.tenant == name);
        self.tokens.extend(tokens.map(|(id, _)| (*id, None)));
        self.tenants.insert(name, None);
        Ok(())
    }

    pub(crate) fn create_token(&mut self, token: NewToken) -> Result<(), RegistryError> {
        let NewToken { id, tenant, scopes, digest, description, expires_unix_seconds } = token;
        check_text("description", &description)?;
        let wrong = |field, reason: &str| Err(RegistryError::TenantField { field, reason: reason.to_owned() });
        if scopes.is_empty() {
            return wrong("scopes", "at least one is needed");
        }
        if expires_unix_seconds.is_some_and(|end| end <= self.unix_seconds) {
            return wrong("expires_at", "that moment has passed");
        }
        self.tenant(&tenant)?;
        if self.state.tokens.contains_key(&id) {
            return wrong("id", "another token has it");
        }
        self.make_room_for_a_token(&tenant)?;
        let token = StoredToken {
            tenant,
            scopes,
            digest,
            description,
            created_unix_seconds: self.unix_seconds,
            expires_unix_seconds,
            revoked: false,
        };
        self.tokens.insert(id, Some(token));
        Ok(())
    }

    pub(crate) fn revoke_token(&mut self, id: TokenId) -> Result<(), RegistryError> {
        let token = self.state.tokens.get(&id).ok_or(RegistryError::UnknownToken { id })?;
        if !token.revoked {
            self.tokens.insert(id, Some(StoredToken { revoked: true, ..StoredToken::clone(token) }));
        }
        Ok(())
    }

    /// Where a tenant has all the tokens that it may, the oldest that has ended goes.
    fn make_room_for_a_token(&mut self, tenant: &TenantName) -> Result<(), RegistryError> {
        let of_tenant = || self.state.tokens.iter().filter(|(_, token)| token.tenant == *tenant);
        if of_tenant().count() < MAX_TOKENS {
            return Ok(());
        }
        let ended = of_tenant().filter(|(_, token)| !token.is_good(self.unix_seconds));
        let oldest = ended.min_by_key(|(_, token)| token.created_unix_seconds).map(|(id, _)| *id);
        let id = oldest.ok_or(RegistryError::TooMany { what: "tokens of a tenant", limit: MAX_TOKENS })?;
        self.tokens.insert(id, None);
        Ok(())
    }

    fn tenant(&self, name: &TenantName) -> Result<StoredTenant, RegistryError> {
        match self.state.tenants.get(name) {
            Some(tenant) => Ok(StoredTenant::clone(tenant)),
            None if *name == TenantName::default_tenant() => Ok(StoredTenant::never_made()),
            None => Err(RegistryError::UnknownTenant { name: name.clone() }),
        }
    }
}

fn check_text(field: &'static str, text: &str) -> Result<(), RegistryError> {
    if text.len() <= MAX_TENANT_TEXT_BYTES {
        return Ok(());
    }
    let reason = format!("{} bytes, the limit is {MAX_TENANT_TEXT_BYTES}", text.len());
    Err(RegistryError::TenantField { field, reason })
}

fn check_quota(quota: &Quota) -> Result<(), RegistryError> {
    let reason = "rates are numbers from 0 up, a weight is above 0".to_owned();
    quota.wrong_field().map_or(Ok(()), |field| Err(RegistryError::TenantField { field, reason }))
}
