//! Tokens: what they look like, how one is made, and how one is told from a guess. And which tenants there are.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::{Arc, PoisonError, RwLock};

use engine::TenantName;
use registry::{Digest, Registry, SteadyClock, StoredToken, TokenId};
use subtle::ConstantTimeEq;

/// What every token begins with, so that a leaked one can be searched for.
const PREFIX: &str = "hw_";
const SECRET_BYTES: usize = 32;
/// Length of a token: prefix, id, `_`, secret.
const TOKEN_BYTES: usize = PREFIX.len() + 16 + 1 + 2 * SECRET_BYTES;

/// Every token and tenant, as stored. The writer replaces all of it after a change is durable; the edge looks it up.
#[derive(Debug)]
pub(crate) struct Credentials {
    known: RwLock<Arc<Known>>,
    /// What is looked at where nobody has an id, so that it costs the same steps.
    nobody: Arc<StoredToken>,
    clock: SteadyClock,
}

#[derive(Debug, Default)]
struct Known {
    tokens: HashMap<TokenId, Arc<StoredToken>>,
    tenants: HashSet<TenantName>,
}

impl Credentials {
    /// None yet.
    pub(crate) fn new(clock: SteadyClock) -> Self {
        Self { known: RwLock::default(), nobody: Arc::new(nobody()), clock }
    }

    /// From now on the registry's tokens and tenants are the ones there are.
    pub(crate) fn publish(&self, registry: &Registry) {
        let tokens = registry.tokens().map(|(id, token)| (id, Arc::clone(token))).collect();
        let known = Known { tokens, tenants: registry.tenants().into_keys().collect() };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    /// Whether there is such a tenant.
    pub(crate) fn has_tenant(&self, tenant: &TenantName) -> bool {
        self.known().tenants.contains(tenant)
    }

    /// The token whose text this is, if it is good now. Takes as long for an id that nobody has, for a wrong secret and for
    /// a token that has ended.
    pub(crate) fn find(&self, text: &[u8]) -> Option<(TokenId, Arc<StoredToken>)> {
        let (id, secret) = parse(text)?;
        let digest = Digest::of(secret);
        let known = self.known();
        let found = known.tokens.get(&id);
        let token = found.unwrap_or(&self.nobody);
        let is_right = bool::from(digest.as_bytes().ct_eq(token.digest.as_bytes()));
        let is_good = token.is_good(self.clock.unix_seconds());
        (found.is_some() & is_right & is_good).then(|| (id, Arc::clone(token)))
    }

    /// Whether the token has not ended.
    pub(crate) fn is_good(&self, id: TokenId) -> bool {
        self.token(id).is_some_and(|token| token.is_good(self.clock.unix_seconds()))
    }

    fn token(&self, id: TokenId) -> Option<Arc<StoredToken>> {
        self.known().tokens.get(&id).cloned()
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn nobody() -> StoredToken {
    StoredToken {
        tenant: TenantName::default_tenant(),
        scopes: registry::Scopes::default(),
        digest: Digest::from_bytes([0; 32]),
        description: String::new(),
        created_unix_seconds: 0,
        expires_unix_seconds: None,
        revoked: true,
    }
}

/// A token nobody has yet: its id, its text, and the digest of its secret.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn mint() -> std::io::Result<(TokenId, String, Digest)> {
    let mut random = [0; 8 + SECRET_BYTES];
    fill(&mut random)?;
    let (id, secret) = random.split_at(8);
    let id = TokenId::from_bytes(id.try_into().map_err(std::io::Error::other)?);
    let mut text = format!("{PREFIX}{id}_");
    for byte in secret {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    let digest = Digest::of(text.as_bytes().get(TOKEN_BYTES - 2 * SECRET_BYTES..).unwrap_or_default());
    Ok((id, text, digest))
}

fn fill(mut bytes: &mut [u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let filled = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
        bytes = bytes.get_mut(filled..).unwrap_or_default();
    }
    Ok(())
}

/// The id and the secret's digits, where the text has the form of a token.
fn parse(text: &[u8]) -> Option<(TokenId, &[u8])> {
    if text.len() != TOKEN_BYTES {
        return None;
    }
    let (id, secret) = text.strip_prefix(PREFIX.as_bytes())?.split_at_checked(16)?;
    let secret = secret.strip_prefix(b"_")?;
    Some((std::str::from_utf8(id).ok()?.parse().ok()?, secret))
}

#[cfg(test)]
impl Credentials {
    /// No tokens, and this tenant.
    pub(crate) fn of_tenant(tenant: &str) -> Self {
        let tenants = HashSet::from([tenant.parse().unwrap()]);
        let known = RwLock::new(Arc::new(Known { tenants, ..Known::default() }));
        Self { known, ..Self::new(SteadyClock::set_now()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(token: StoredToken, id: TokenId) -> Credentials {
        let known = Known { tokens: HashMap::from([(id, Arc::new(token))]), tenants: HashSet::new() };
        Credentials { known: RwLock::new(Arc::new(known)), ..Credentials::new(SteadyClock::set_now()) }
    }

    fn stored(digest: Digest) -> StoredToken {
        StoredToken {
            tenant: "acme".parse().unwrap(),
            scopes: registry::Scopes::all(),
            digest,
            description: String::new(),
            created_unix_seconds: 1,
            expires_unix_seconds: None,
            revoked: false,
        }
    }

    #[test]
    fn the_token_that_was_made_is_found_and_no_other() {
        let (id, text, digest) = mint().unwrap();
        let credentials = with(stored(digest), id);
        assert_eq!(credentials.find(text.as_bytes()).unwrap().0, id);
        for place in 0..text.len() {
            let mut guess = text.clone().into_bytes();
            guess[place] = if guess[place] == b'0' { b'1' } else { b'0' };
            assert!(credentials.find(&guess).is_none(), "byte {place}");
            assert!(credentials.find(&text.as_bytes()[..place]).is_none(), "cut at {place}");
        }
        let (_, other, _) = mint().unwrap();
        assert_ne!(text, other);
        assert!(credentials.find(other.as_bytes()).is_none());
    }

    #[test]
    fn a_token_that_has_ended_is_found_no_more() {
        let (id, text, digest) = mint().unwrap();
        let now = SteadyClock::set_now().unix_seconds();
        let ended = [
            StoredToken { revoked: true, ..stored(digest) },
            StoredToken { expires_unix_seconds: Some(now), ..stored(digest) },
        ];
        for token in ended {
            assert!(with(token, id).find(text.as_bytes()).is_none());
        }
        let lasting = StoredToken { expires_unix_seconds: Some(now + 60), ..stored(digest) };
        assert!(with(lasting, id).find(text.as_bytes()).is_some());
    }
}
