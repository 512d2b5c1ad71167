//! Tenants and their tokens: who may ask what. A token is kept without its secret.

use std::fmt;
use std::str::FromStr;

use engine::{Quota, TenantName};

use crate::digest::Digest;

/// The most tenants.
pub const MAX_TENANTS: usize = 10_000;
/// The most tokens of a tenant, ended ones included; a new one takes the place of the oldest that has ended.
pub const MAX_TOKENS: usize = 1_000;
/// The longest description of a tenant or a token, in bytes.
pub const MAX_TENANT_TEXT_BYTES: usize = 1_024;

/// What a credential is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To ask heads, and to find them.
    Infer,
    /// To change heads.
    Heads,
    /// To keep tenants and their tokens.
    Operator,
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

/// The public name of a token: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId([u8; 8]);

/// A text that names no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token's id has 16 lower-case hexadecimal digits")]
pub struct TokenIdError;

/// A tenant, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTenant {
    /// For people.
    pub description: String,
    /// What it may use.
    pub quota: Quota,
    /// When it was made, by the clock of the machine; 0 for the one that was never made.
    pub created_unix_seconds: u64,
}

/// A token, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// The tenant it speaks for.
    pub tenant: TenantName,
    /// What it is good for.
    pub scopes: Scopes,
    /// SHA-256 of its secret.
    pub digest: Digest,
    /// For people.
    pub description: String,
    /// When it was made, by the clock of the machine.
    pub created_unix_seconds: u64,
    /// When it ends by itself.
    pub expires_unix_seconds: Option<u64>,
    /// Whether it was ended.
    pub revoked: bool,
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its public name, which nobody has.
    pub id: TokenId,
    /// The tenant it speaks for.
    pub tenant: TenantName,
    /// What it is good for.
    pub scopes: Scopes,
    /// SHA-256 of its secret.
    pub digest: Digest,
    /// For people.
    pub description: String,
    /// When it ends by itself.
    pub expires_unix_seconds: Option<u64>,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Infer, Self::Heads, Self::Operator];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Heads => "heads",
            Self::Operator => "operator",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Infer => 1,
            Self::Heads => 2,
            Self::Operator => 4,
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == word);
        found.ok_or_else(|| format!("scope {word:?}: expected infer, heads or operator"))
    }
}

impl Scopes {
    /// Every scope there is.
    #[must_use]
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether `scope` is among them.
    #[must_use]
    pub fn holds(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.holds(*scope))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    pub(crate) fn of_bits(bits: u8) -> Option<Self> {
        (bits & !Self::all().0 == 0).then_some(Self(bits))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&words.join(","))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl TokenId {
    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = TokenIdError;

    fn from_str(text: &str) -> Result<Self, TokenIdError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return Err(TokenIdError);
        }
        u64::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| TokenIdError)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StoredTenant {
    /// The tenant of a server without credentials, of which nothing was ever said.
    pub(crate) fn never_made() -> Self {
        Self { description: String::new(), quota: Quota::default(), created_unix_seconds: 0 }
    }
}

impl StoredToken {
    /// Whether it is good at this moment.
    #[must_use]
    pub fn is_good(&self, unix_seconds: u64) -> bool {
        !self.revoked && self.expires_unix_seconds.is_none_or(|end| unix_seconds < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_is_one() {
        let id = TokenId::from_bytes([0, 1, 2, 3, 4, 5, 6, 0xff]);
        assert_eq!(id.to_string(), "00010203040506ff");
        assert_eq!("00010203040506ff".parse(), Ok(id));
        for text in ["", "00010203040506f", "00010203040506fF", "+0010203040506ff", "00010203040506ff0"] {
            assert_eq!(text.parse::<TokenId>(), Err(TokenIdError), "{text:?}");
        }
    }

    #[test]
    fn scopes_are_a_set_of_words() {
        let scopes: Scopes = [Scope::Operator, Scope::Infer].into_iter().collect();
        assert_eq!(scopes.to_string(), "infer,operator");
        assert!(scopes.holds(Scope::Infer) && !scopes.holds(Scope::Heads));
        assert_eq!(Scopes::of_bits(scopes.bits()), Some(scopes));
        assert_eq!(Scopes::of_bits(8), None);
        assert!("admin".parse::<Scope>().is_err());
    }
}
