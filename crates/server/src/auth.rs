//! From a credential to a caller, before any of the call's body is read.

use std::sync::Arc;

use arc_swap::ArcSwap;
use engine::{Lane, Shares, TenantName};
use http::{HeaderMap, Request, header};
use registry::{Author, Scope, Scopes, TokenId};
use tonic::Status;

use crate::caller::{Admitted, Caller};
use crate::credentials::Credentials;
use crate::identities::Identities;
use crate::peer::PeerIdentity;
use crate::permissions::{Rule, rule};
use crate::status;

/// The header by which a client says which tenant it believes to act for.
const TENANT_HEADER: &str = "headwater-tenant";

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everybody, as the tenant `default` and for everything.
    Open,
    /// Whoever has a credential.
    Credentials {
        /// The tenant whose heads everybody may read.
        catalogue: Option<TenantName>,
        /// Whom client certificates stand for.
        identities: Identities,
    },
}

/// Whom a server lets in that asks who they are.
#[derive(Debug)]
pub(crate) struct Known {
    /// The tenant whose heads everybody may read.
    catalogue: Option<TenantName>,
    credentials: Arc<Credentials>,
    /// Whom client certificates stand for; a reload replaces the list as a whole.
    identities: ArcSwap<Identities>,
}

/// What has let a caller in.
#[derive(Debug)]
pub(crate) enum Credential {
    /// A token of this id.
    Token(TokenId),
    /// A certificate of this identity.
    Certificate(String),
}

/// The door of a server.
#[derive(Debug, Clone)]
pub(crate) struct Auth {
    /// Whom it lets in; `None` where that is everybody.
    known: Option<Arc<Known>>,
    /// What each tenant may use.
    shares: Arc<Shares>,
}

impl Auth {
    pub(crate) fn new(access: Access, credentials: Arc<Credentials>, shares: Arc<Shares>) -> Self {
        let known = match access {
            Access::Open => None,
            Access::Credentials { catalogue, identities } => {
                Some(Arc::new(Known { catalogue, credentials, identities: ArcSwap::from_pointee(identities) }))
            }
        };
        Self { known, shares }
    }

    /// Whom the door lets in, where it asks.
    pub(crate) fn known(&self) -> Option<&Arc<Known>> {
        self.known.as_ref()
    }

    /// The caller of `request`. `None`: the method asks nobody who they are.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a good credential, PERMISSION_DENIED with one that is good for something else,
    /// RESOURCE_EXHAUSTED where the tenant has made all the calls that it may.
    pub(crate) fn admit<B>(&self, request: &Request<B>) -> Result<Option<Caller>, Status> {
        let path = request.uri().path();
        let Some(known) = &self.known else {
            let caller = anybody(path);
            check_tenant(request.headers(), caller.tenant())?;
            self.count(rule(path), &caller)?;
            return Ok(Some(caller));
        };
        let rule = rule(path);
        if rule == Some(Rule::Anybody) {
            return Ok(None);
        }
        let caller = Caller::new(self.standing(request, known).ok_or_else(status::unauthenticated)?);
        match rule {
            None => return Err(status::no_such_method()),
            Some(Rule::Needs(scope)) if !caller.scopes().holds(scope) => {
                return Err(status::permission_denied(scope.as_str()));
            }
            Some(Rule::Needs(_) | Rule::Anybody | Rule::AnyCredential) => {}
        }
        check_tenant(request.headers(), caller.tenant())?;
        self.count(rule, &caller)?;
        Ok(Some(caller))
    }

    /// Takes the call off its tenant's rate. An operator's never is: quotas can always be changed.
    fn count(&self, rule: Option<Rule>, caller: &Caller) -> Result<(), Status> {
        match rule {
            None | Some(Rule::Anybody | Rule::Needs(Scope::Operator)) => Ok(()),
            Some(Rule::AnyCredential | Rule::Needs(Scope::Infer | Scope::Heads)) => {
                self.shares.take_call(caller.lane()).map_err(status::of_engine)
            }
        }
    }

    /// What the call's credential says: a token where there is one, else the certificate of its connection.
    fn standing<B>(&self, request: &Request<B>, known: &Arc<Known>) -> Option<Admitted> {
        let (credential, tenant, scopes) = if request.headers().contains_key(header::AUTHORIZATION) {
            let (id, token) = known.credentials.find(bearer(request.headers())?)?;
            (Credential::Token(id), token.tenant.clone(), token.scopes)
        } else {
            let PeerIdentity(identity) = request.extensions().get()?;
            let (tenant, scopes) = known.of_certificate(identity)?;
            (Credential::Certificate(identity.clone()), tenant, scopes)
        };
        let actor = match &credential {
            Credential::Token(id) => format!("token:{id}"),
            Credential::Certificate(identity) => format!("certificate:{identity}"),
        };
        let lane = self.shares.lane(&tenant);
        let author = Author { tenant, actor, method: request.uri().path().to_owned() };
        let catalogue = known.catalogue.clone();
        Some(Admitted { author, lane, scopes, catalogue, let_in: Some((Arc::clone(known), credential)) })
    }
}

impl Known {
    /// Certificates stand for these from now on.
    pub(crate) fn replace_identities(&self, identities: Identities) {
        self.identities.store(Arc::new(identities));
    }

    /// The list in force.
    pub(crate) fn identities(&self) -> Arc<Identities> {
        self.identities.load_full()
    }

    /// Whether a credential that was good for `tenant` and `scopes` still is.
    pub(crate) fn is_good(&self, credential: &Credential, (tenant, scopes): (&TenantName, Scopes)) -> bool {
        match credential {
            Credential::Token(id) => self.credentials.is_good(*id),
            Credential::Certificate(identity) => {
                self.of_certificate(identity).is_some_and(|(now, good_for)| now == *tenant && good_for == scopes)
            }
        }
    }

    /// Whom a certificate stands for, while there is such a tenant, and what for.
    fn of_certificate(&self, identity: &str) -> Option<(TenantName, Scopes)> {
        let identities = self.identities.load();
        identities.find(identity).filter(|(tenant, _)| self.credentials.has_tenant(tenant)).cloned()
    }
}

/// The caller of a server that asks nobody who they are.
pub(crate) fn anybody(path: &str) -> Caller {
    let tenant = TenantName::default_tenant();
    let author = Author { tenant, actor: "nobody".to_owned(), method: path.to_owned() };
    Caller::new(Admitted { author, lane: Lane::default(), scopes: Scopes::all(), catalogue: None, let_in: None })
}

/// The token's text; `None` where the header is there twice or is of another kind.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// A client that takes itself for another tenant's learns that it is not.
fn check_tenant(headers: &HeaderMap, tenant: &TenantName) -> Result<(), Status> {
    match headers.get(TENANT_HEADER) {
        Some(named) if named.as_bytes() != tenant.as_str().as_bytes() => Err(status::other_tenant()),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const CLASSIFY: &str = "/headwater.v1.ClassifierService/Classify";
    const ROLLBACK: &str = "/headwater.v1.HeadService/Rollback";

    fn door() -> Auth {
        door_of("acme")
    }

    /// A door whose list names `acme`, where the only tenant is this one.
    fn door_of(tenant: &str) -> Auth {
        let identities = Identities::parse("acme infer spiffe://acme/web").unwrap();
        let access = Access::Credentials { catalogue: None, identities };
        Auth::new(access, Arc::new(Credentials::of_tenant(tenant)), Arc::default())
    }

    fn request(path: &str, identity: Option<&str>) -> Request<()> {
        let mut request = Request::builder().uri(path).body(()).unwrap();
        if let Some(identity) = identity {
            request.extensions_mut().insert(PeerIdentity(identity.to_owned()));
        }
        request
    }

    #[test]
    fn a_certificate_that_is_known_stands_for_its_tenant() {
        let caller = door().admit(&request(CLASSIFY, Some("spiffe://acme/web"))).unwrap().unwrap();
        assert_eq!(caller.tenant().as_str(), "acme");
        assert_eq!(caller.author().actor, "certificate:spiffe://acme/web");
        let refused = door().admit(&request(ROLLBACK, Some("spiffe://acme/web"))).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }

    #[test]
    fn another_list_counts_for_the_next_call_and_for_calls_under_way() {
        let door = door();
        let ask = || door.admit(&request(CLASSIFY, Some("spiffe://acme/web")));
        let caller = ask().unwrap().unwrap();
        for (list, still_good, comes_in) in [
            ("acme infer spiffe://acme/web\nacme heads other", true, true),
            ("acme infer,heads spiffe://acme/web", false, true),
            ("acme infer spiffe://acme/other", false, false),
        ] {
            door.known().unwrap().replace_identities(Identities::parse(list).unwrap());
            assert_eq!(caller.check_still_good().is_ok(), still_good, "{list}");
            assert_eq!(ask().is_ok(), comes_in, "{list}");
        }
    }

    #[test]
    fn a_certificate_that_is_unknown_and_none_are_alike() {
        for identity in [Some("spiffe://acme"), Some(""), None] {
            let refused = door().admit(&request(CLASSIFY, identity)).unwrap_err();
            assert_eq!(
                (refused.code(), refused.message()),
                (Code::Unauthenticated, status::unauthenticated().message())
            );
        }
    }

    #[test]
    fn a_certificate_of_a_tenant_that_is_gone_stands_for_nobody() {
        let gone = door_of("other");
        let refused = gone.admit(&request(CLASSIFY, Some("spiffe://acme/web"))).unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }

    #[test]
    fn a_bad_token_is_not_mended_by_a_certificate() {
        let mut request = request(CLASSIFY, Some("spiffe://acme/web"));
        request.headers_mut().insert(header::AUTHORIZATION, "Bearer nonsense".parse().unwrap());
        assert_eq!(door().admit(&request).unwrap_err().code(), Code::Unauthenticated);
    }

    #[test]
    fn a_method_without_a_rule_is_not_answered() {
        let refused = door().admit(&request("/headwater.v1.ClassifierService/New", Some("spiffe://acme/web")));
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    }

    #[test]
    fn a_tenant_that_is_not_the_callers_is_refused() {
        let open = Auth::new(Access::Open, Arc::new(Credentials::of_tenant("default")), Arc::default());
        for (auth, identity) in [(door(), Some("spiffe://acme/web")), (open, None)] {
            let mut request = request(CLASSIFY, identity);
            request.headers_mut().insert(TENANT_HEADER, "other".parse().unwrap());
            assert_eq!(auth.admit(&request).unwrap_err().code(), Code::PermissionDenied);
        }
    }
}
