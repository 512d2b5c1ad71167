//! Tenants and tokens in their stored form; new with schema 3.
//!
//! ```text
//! tenant   description length u32, description | created u64 | quota
//! quota    seven times, in the order of its fields: 0 u8, or 1 u8 and a u64, the bits of the f64 where it is one
//! token    tenant length u32, tenant | scopes u8: 1 infer, 2 heads, 4 operator | SHA-256 of the secret
//!          | description length u32, description | created u64 | ends u64, 0 never | revoked u8
//! ```

use engine::Quota;

use crate::fields::{FieldReader, FieldWriter};
use crate::tenants::{Scopes, StoredTenant, StoredToken};

impl StoredTenant {
    pub(crate) fn write(&self, payload: &mut FieldWriter) {
        payload.bytes(self.description.as_bytes());
        payload.u64(self.created_unix_seconds);
        numbers(&self.quota).into_iter().for_each(|number| write_optional(number, payload));
    }

    pub(crate) fn read(payload: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self {
            description: payload.text()?.to_owned(),
            created_unix_seconds: payload.u64()?,
            quota: read_quota(payload)?,
        })
    }
}

impl StoredToken {
    pub(crate) fn write(&self, payload: &mut FieldWriter) {
        payload.bytes(self.tenant.as_str().as_bytes());
        payload.u8(self.scopes.bits());
        payload.digest(&self.digest);
        payload.bytes(self.description.as_bytes());
        payload.u64(self.created_unix_seconds);
        payload.u64(self.expires_unix_seconds.unwrap_or(0));
        payload.u8(u8::from(self.revoked));
    }

    pub(crate) fn read(payload: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self {
            tenant: payload.text()?.parse().ok()?,
            scopes: Scopes::of_bits(payload.u8()?)?,
            digest: payload.digest()?,
            description: payload.text()?.to_owned(),
            created_unix_seconds: payload.u64()?,
            expires_unix_seconds: Some(payload.u64()?).filter(|end| *end != 0),
            revoked: payload.u8()? != 0,
        })
    }
}

/// The quota's numbers in their stored order.
fn numbers(quota: &Quota) -> [Option<u64>; 7] {
    [
        quota.requests_per_second.map(f64::to_bits),
        quota.request_burst.map(u64::from),
        quota.tokens_per_second.map(f64::to_bits),
        quota.rows_in_flight.map(u64::from),
        quota.head_versions.map(u64::from),
        quota.head_bytes,
        quota.weight.map(f64::to_bits),
    ]
}

fn read_quota(payload: &mut FieldReader<'_>) -> Option<Quota> {
    let whole = |number: Option<u64>| number.map(u32::try_from).transpose().ok();
    let quota = Quota {
        requests_per_second: read_optional(payload)?.map(f64::from_bits),
        request_burst: whole(read_optional(payload)?)?,
        tokens_per_second: read_optional(payload)?.map(f64::from_bits),
        rows_in_flight: whole(read_optional(payload)?)?,
        head_versions: whole(read_optional(payload)?)?,
        head_bytes: read_optional(payload)?,
        weight: read_optional(payload)?.map(f64::from_bits),
    };
    quota.wrong_field().is_none().then_some(quota)
}

fn write_optional(number: Option<u64>, payload: &mut FieldWriter) {
    payload.u8(u8::from(number.is_some()));
    if let Some(number) = number {
        payload.u64(number);
    }
}

fn read_optional(payload: &mut FieldReader<'_>) -> Option<Option<u64>> {
    match payload.u8()? {
        0 => Some(None),
        1 => Some(Some(payload.u64()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::record::{Record, tenant_key, token_key};
    use crate::tenants::{MAX_TENANT_TEXT_BYTES, Scope, TokenId};

    #[test]
    fn a_tenant_and_a_token_read_back_as_they_were() {
        let quota = Quota { tokens_per_second: Some(0.5), head_bytes: Some(7), weight: Some(2.0), ..Quota::default() };
        let description = "ü".repeat(MAX_TENANT_TEXT_BYTES / 2);
        let tenant = StoredTenant { description: description.clone(), quota, created_unix_seconds: 9 };
        let name = "a".repeat(64).parse().unwrap();
        let record = Record::Tenant(name, tenant);
        let Record::Tenant(name, _) = &record else { unreachable!() };
        let key = tenant_key(name);
        assert_eq!(Record::decode(&key, &record.encode(&key, 3).unwrap()), Some((record, 3)));
        for expires_unix_seconds in [None, Some(10)] {
            let token = StoredToken {
                tenant: "acme".parse().unwrap(),
                scopes: [Scope::Heads].into_iter().collect(),
                digest: Digest::of(b"secret"),
                description: description.clone(),
                created_unix_seconds: 9,
                expires_unix_seconds,
                revoked: true,
            };
            let id = TokenId::from_bytes([7; 8]);
            let record = Record::Token(id, token);
            let key = token_key(id);
            assert_eq!(Record::decode(&key, &record.encode(&key, 3).unwrap()), Some((record, 3)));
        }
    }
}
