//! Who the other end of a connection is, where its certificate was verified.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The name in a client's verified certificate: its first URI, else its first DNS name, else the common name of its
/// subject. Rides in the extensions of every request of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerIdentity(pub(crate) String);

impl PeerIdentity {
    /// The identity in the first of the certificates that a client has shown; `None` where it names nobody.
    pub(crate) fn of(certificates: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificates.first()?).ok()?;
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let alternatives = || alternatives.iter().flat_map(|extension| &extension.value.general_names);
        let uri = alternatives().find_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
        let dns =
            || alternatives().find_map(|name| if let GeneralName::DNSName(dns) = name { Some(*dns) } else { None });
        let common_name = || certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
        let name = uri.or_else(dns).or_else(common_name)?;
        // A name that could break a line of the log, or a header, names nobody.
        (!name.is_empty() && !name.contains(char::is_control)).then(|| Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn identity(names: Vec<SanType>, common_name: &str) -> Option<String> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        PeerIdentity::of(&[certificate.der().clone()]).map(|identity| identity.0)
    }

    #[test]
    fn a_uri_counts_before_a_dns_name_and_that_before_the_common_name() {
        let uri = || SanType::URI("spiffe://here/reports".try_into().unwrap());
        let dns = || SanType::DnsName("reports.example".try_into().unwrap());
        assert_eq!(identity(vec![dns(), uri()], "reports"), Some("spiffe://here/reports".to_owned()));
        assert_eq!(identity(vec![dns()], "reports"), Some("reports.example".to_owned()));
        assert_eq!(identity(vec![], "reports"), Some("reports".to_owned()));
    }

    #[test]
    fn a_name_that_could_break_a_line_names_nobody() {
        assert_eq!(identity(vec![], "reports\nadmin"), None);
        assert_eq!(identity(vec![], ""), None);
        assert_eq!(PeerIdentity::of(&[]), None);
    }
}
