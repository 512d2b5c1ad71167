//! Certificates and keys: from files to what rustls serves with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry::Digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The one protocol that is spoken inside.
const ALPN: &[u8] = b"h2";

/// Where the certificates lie. All are PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and after it those between it and its authority.
    pub cert: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
    /// Authorities of clients; without them anybody may connect.
    pub client_ca: Option<PathBuf>,
    /// Lists of clients' certificates that count no more.
    pub client_crl: Option<PathBuf>,
}

/// Why certificates cannot be served with. The texts name options, not places: a caller may read them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not readable.
    #[error("cannot read the file of {option}")]
    Read {
        /// The option that names it.
        option: &'static str,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// A file holds something else than PEM of the kind that belongs there.
    #[error("the file of {option} holds no {wanted}")]
    Content {
        /// The option that names it.
        option: &'static str,
        /// What should be in it.
        wanted: &'static str,
    },
    /// The certificate counts no more, or not yet.
    #[error("the certificate of --tls-cert is not valid at this moment")]
    NotValidNow,
    /// Key and certificate do not belong together, or are of a kind that is not supported.
    #[error("--tls-cert and --tls-key cannot be used together: {0}")]
    Pair(#[source] rustls::Error),
    /// An authority of clients that is none.
    #[error("the file of --client-ca cannot be used: {0}")]
    ClientCa(String),
}

/// The bytes of the files at one moment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Material {
    cert: Vec<u8>,
    key: Vec<u8>,
    pub(super) clients: Clients,
}

/// What says which clients come in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Clients {
    authorities: Option<Vec<u8>>,
    revoked: Option<Vec<u8>>,
}

/// What a connection is accepted with.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clients: Clients,
    /// What was in each file.
    pub(super) prints: [Print; 4],
    /// When the server's own certificate ends, in seconds since 1970.
    pub(super) ends_at: i64,
}

/// What a file held, told by its digest.
#[derive(Clone, Copy)]
pub(super) struct Print {
    /// The option that names the file, as a configuration file spells it.
    pub(super) option: &'static str,
    /// `None` where the option is not set.
    pub(super) digest: Option<Digest>,
    /// Whether not even the digest is to be told.
    pub(super) is_secret: bool,
}

impl Material {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let optional = |option, path: &Option<PathBuf>| path.as_ref().map(|path| read(option, path)).transpose();
        Ok(Self {
            cert: read("--tls-cert", &files.cert)?,
            key: read("--tls-key", &files.key)?,
            clients: Clients {
                authorities: optional("--client-ca", &files.client_ca)?,
                revoked: optional("--client-crl", &files.client_crl)?,
            },
        })
    }

    /// What rustls makes of the bytes, with its own choice of ciphers and versions.
    pub(super) fn to_served(&self) -> Result<Served, TlsError> {
        let chain = certificates("--tls-cert", &self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| TlsError::Content { option: "--tls-key", wanted: "private key" })?;
        let ends_at = end_of_validity(&chain)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?;
        let builder = match &self.clients.authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("--client-ca", authorities)? {
                    roots.add(certificate).map_err(|error| TlsError::ClientCa(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .with_crls(self.revoked()?)
                    .allow_unknown_revocation_status()
                    .build();
                builder.with_client_cert_verifier(verifier.map_err(of_verifier)?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        if self.clients.authorities.is_some() {
            // A session that is taken up again is not verified anew, and a certificate may have ended meanwhile.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Served { config: Arc::new(config), clients: self.clients.clone(), prints: self.prints(), ends_at })
    }

    fn prints(&self) -> [Print; 4] {
        let Self { cert, key, clients: Clients { authorities, revoked } } = self;
        let print = |option, bytes: Option<&Vec<u8>>| Print {
            option,
            digest: bytes.map(|bytes| Digest::of(bytes)),
            is_secret: option == "tls_key",
        };
        [
            print("tls_cert", Some(cert)),
            print("tls_key", Some(key)),
            print("client_ca", authorities.as_ref()),
            print("client_crl", revoked.as_ref()),
        ]
    }

    fn revoked(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let Some(lists) = &self.clients.revoked else { return Ok(Vec::new()) };
        let wanted = || TlsError::Content { option: "--client-crl", wanted: "revocation list" };
        let lists: Vec<_> =
            CertificateRevocationListDer::pem_slice_iter(lists).collect::<Result<_, _>>().map_err(|_| wanted())?;
        if lists.is_empty() { Err(wanted()) } else { Ok(lists) }
    }
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|cause| TlsError::Read { option, cause })
}

fn certificates(option: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wanted = || TlsError::Content { option, wanted: "certificate" };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| wanted())?;
    if certificates.is_empty() { Err(wanted()) } else { Ok(certificates) }
}

fn end_of_validity(chain: &[CertificateDer<'_>]) -> Result<i64, TlsError> {
    let wanted = || TlsError::Content { option: "--tls-cert", wanted: "certificate" };
    let (_, certificate) = X509Certificate::from_der(chain.first().ok_or_else(wanted)?).map_err(|_| wanted())?;
    if !certificate.validity().is_valid() {
        return Err(TlsError::NotValidNow);
    }
    Ok(certificate.validity().not_after.timestamp())
}

fn of_verifier(error: VerifierBuilderError) -> TlsError {
    if let VerifierBuilderError::InvalidCrl(_) = error {
        return TlsError::Content { option: "--client-crl", wanted: "revocation list that can be read" };
    }
    TlsError::ClientCa(error.to_string())
}
