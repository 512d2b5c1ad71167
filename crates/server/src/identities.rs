//! Which tenant a client certificate stands for, as the operator wrote it down.

use std::collections::{BTreeMap, HashMap};

use engine::TenantName;
use registry::{Scope, Scopes};

/// Tenant and scopes by the identity in a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identities(HashMap<String, (TenantName, Scopes)>);

/// Why a list of identities was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct IdentitiesError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl Identities {
    /// Reads lines of tenant, scopes joined by commas, and identity, which may hold spaces. Empty lines and lines that
    /// begin with `#` are skipped.
    ///
    /// # Errors
    /// [`IdentitiesError`], for the first line that is none of these, or that names an identity again.
    pub fn parse(text: &str) -> Result<Self, IdentitiesError> {
        let mut identities = HashMap::new();
        for (index, line) in
            text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        {
            let (identity, standing) =
                parse_line(line.trim()).map_err(|reason| IdentitiesError { line: index + 1, reason })?;
            if identities.insert(identity, standing).is_some() {
                return Err(IdentitiesError { line: index + 1, reason: "the identity is there twice".to_owned() });
            }
        }
        Ok(Self(identities))
    }

    /// What differs in `after`, by identity: the name of each, and what it stood for and will stand for.
    pub(crate) fn differences(&self, after: &Self) -> BTreeMap<String, (Option<String>, Option<String>)> {
        let told =
            |list: &Self, identity: &str| list.find(identity).map(|(tenant, scopes)| format!("{tenant} {scopes}"));
        let identities = self.0.keys().chain(after.0.keys());
        let all = identities.map(|identity| (identity.clone(), (told(self, identity), told(after, identity))));
        all.filter(|(_, (before, after))| before != after).collect()
    }

    /// The tenant that `identity` speaks for, and what for.
    pub(crate) fn find(&self, identity: &str) -> Option<&(TenantName, Scopes)> {
        self.0.get(identity)
    }
}

fn parse_line(line: &str) -> Result<(String, (TenantName, Scopes)), String> {
    let expected = || "expected a tenant, scopes and an identity".to_owned();
    let (tenant, rest) = line.split_once(char::is_whitespace).ok_or_else(expected)?;
    let (scopes, identity) = rest.trim_start().split_once(char::is_whitespace).ok_or_else(expected)?;
    let tenant = tenant.parse().map_err(|error: engine::NameError| error.to_string())?;
    let scopes: Scopes = scopes.split(',').map(str::parse::<Scope>).collect::<Result<_, _>>()?;
    Ok((identity.trim_start().to_owned(), (tenant, scopes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_line_by_line() {
        let list = "# who may call\n\nacme infer,heads spiffe://mesh/ns/acme\nother operator   Ada of Ops\n";
        let identities = Identities::parse(list).unwrap();
        let (tenant, scopes) = identities.find("spiffe://mesh/ns/acme").unwrap();
        assert_eq!((tenant.as_str(), scopes.to_string().as_str()), ("acme", "infer,heads"));
        assert_eq!(identities.find("Ada of Ops").unwrap().0.as_str(), "other");
        assert_eq!(identities.find("Ada"), None);
    }

    #[test]
    fn what_differs_is_told_identity_by_identity() {
        let [before, after] =
            ["a infer kept\na infer gone\na infer moved", "a infer kept\nb infer,heads moved\na operator new"]
                .map(|list| Identities::parse(list).unwrap());
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            ("gone", (some("a infer"), None)),
            ("moved", (some("a infer"), some("b infer,heads"))),
            ("new", (None, some("a operator"))),
        ];
        let expected = expected.map(|(identity, both)| (identity.to_owned(), both));
        assert_eq!(before.differences(&after), BTreeMap::from(expected));
        assert!(after.differences(&after).is_empty());
    }

    #[test]
    fn a_malformed_list_is_refused_by_line() {
        for (text, line) in
            [("acme infer", 1), ("#\nacme admin x", 2), ("../x infer x", 1), ("a infer x\na infer x", 2)]
        {
            assert_eq!(Identities::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
