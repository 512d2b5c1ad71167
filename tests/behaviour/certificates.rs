//! An authority that signs certificates for servers and clients, and the files that a server reads.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use server::TlsFiles;

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) pem: String,
}

/// A certificate with its key.
pub(crate) struct Signed {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a server at this machine's own address.
    pub(crate) fn server(&self) -> Signed {
        self.sign(params(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same, which has ended long ago.
    pub(crate) fn expired_server(&self) -> Signed {
        self.sign(expired(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client with this serial number.
    pub(crate) fn client(&self, serial: u64) -> Signed {
        let mut params = params();
        params.distinguished_name.push(DnType::CommonName, "somebody");
        params.serial_number = Some(SerialNumber::from(serial));
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The same, which has ended long ago.
    pub(crate) fn expired_client(&self) -> Signed {
        self.sign(expired(), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A list that takes back the certificate with this serial number.
    pub(crate) fn revocation_of(&self, serial: u64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2120, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Signed {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Signed { cert: cert.pem(), key: key.serialize_pem() }
    }
}

fn params() -> CertificateParams {
    CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap()
}

fn expired() -> CertificateParams {
    let mut params = params();
    (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    params
}

/// The files that a server reads, in a folder of their own.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    /// A folder with the server's certificate.
    pub(crate) fn with(server: &Signed) -> Self {
        let folder = Self { folder: tempfile::tempdir().unwrap() };
        folder.write_server(server);
        folder
    }

    pub(crate) fn write_server(&self, signed: &Signed) {
        self.write("cert.pem", &signed.cert);
        self.write("key.pem", &signed.key);
    }

    /// Writes a file whole, as whoever renews certificates should.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(path.with_extension("new"), text).unwrap();
        std::fs::rename(path.with_extension("new"), &path).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Anybody may connect.
    pub(crate) fn files(&self) -> TlsFiles {
        let path = |name| self.folder.path().join(name);
        TlsFiles { cert: path("cert.pem"), key: path("key.pem"), client_ca: None, client_crl: None }
    }

    /// Only clients of the authorities in `clients.pem`.
    pub(crate) fn files_with_clients(&self) -> TlsFiles {
        TlsFiles { client_ca: Some(self.folder.path().join("clients.pem")), ..self.files() }
    }
}
