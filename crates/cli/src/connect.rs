//! A connection to the server, with the caller's credentials on every call.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::config::SessionArguments;
use crate::error::CliError;

/// How long to wait for a connection before the server counts as not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an idle connection is asked whether it still stands, so that a lost peer is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// A connection on which every call carries the caller's credentials.
pub(crate) type Connection = InterceptedService<Channel, Caller>;

/// Puts the caller's credentials and deadline on a call.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    authorization: Option<MetadataValue<Ascii>>,
    tenant: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        if let Some(tenant) = &self.tenant {
            metadata.insert("headwater-tenant", tenant.clone());
        }
        Ok(request)
    }
}

/// Connects at once, so that a server that is not there is told apart from one that refuses.
///
/// # Errors
/// [`CliError::Unreachable`], or [`CliError::Usage`] and [`CliError::Read`] where the options are at fault.
pub(crate) async fn connect(arguments: &SessionArguments) -> Result<Connection, CliError> {
    // A variable that is set to nothing: a certificate would not be looked at beside it.
    let token = arguments.token.as_ref().filter(|token| !token.is_empty());
    let caller = Caller {
        authorization: token.map(|token| header("--token", &format!("Bearer {token}"))).transpose()?,
        tenant: arguments.tenant.as_ref().map(|tenant| header("--tenant", tenant)).transpose()?,
    };
    let address = with_scheme(&arguments.addr);
    let endpoint = Endpoint::from_shared(address)
        .map_err(|_| CliError::Usage(format!("--addr {} is not an address such as http://host:50051", arguments.addr)))?
        .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| CliError::unreachable(&arguments.addr, &error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL);
    let endpoint = secure(endpoint, arguments)?;
    let channel = endpoint.connect().await.map_err(|error| CliError::unreachable(&arguments.addr, &error))?;
    Ok(InterceptedService::new(channel, caller))
}

fn header(option: &str, value: &str) -> Result<MetadataValue<Ascii>, CliError> {
    let mut value: MetadataValue<Ascii> =
        value.parse().map_err(|_| CliError::Usage(format!("{option} holds characters that a header cannot carry")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

#[cfg(feature = "tls")]
fn secure(endpoint: Endpoint, arguments: &SessionArguments) -> Result<Endpoint, CliError> {
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};

    if endpoint.uri().scheme_str() != Some("https") {
        return check_no_certificates(endpoint, arguments);
    }
    let mut tls = match &arguments.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca, CERTIFICATE)?)),
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    if let (Some(cert), Some(key)) = (&arguments.cert, &arguments.key) {
        tls = tls.identity(Identity::from_pem(read(cert, CERTIFICATE)?, read(key, KEY)?));
    }
    let unusable = |error| CliError::Usage(format!("the files of --ca, --cert and --key cannot be used: {error}"));
    endpoint.tls_config(tls).map_err(unusable)
}

/// What a file must hold somewhere: one without would be taken for an empty list, and every server for a stranger.
#[cfg(feature = "tls")]
const CERTIFICATE: &str = "CERTIFICATE-----";
#[cfg(feature = "tls")]
const KEY: &str = "PRIVATE KEY-----";

#[cfg(feature = "tls")]
fn read(path: &std::path::Path, mark: &str) -> Result<String, CliError> {
    let text = std::fs::read_to_string(path).map_err(|cause| CliError::Read { path: path.to_owned(), cause })?;
    if text.contains(mark) {
        return Ok(text);
    }
    let wanted = if mark == KEY { "key" } else { "certificate" };
    Err(CliError::Usage(format!("{} holds no {wanted} in PEM", path.display())))
}

#[cfg(not(feature = "tls"))]
fn secure(endpoint: Endpoint, arguments: &SessionArguments) -> Result<Endpoint, CliError> {
    if endpoint.uri().scheme_str() == Some("https") {
        return Err(CliError::Usage("this headwater was built without TLS".to_owned()));
    }
    check_no_certificates(endpoint, arguments)
}

fn check_no_certificates(endpoint: Endpoint, arguments: &SessionArguments) -> Result<Endpoint, CliError> {
    if arguments.ca.is_some() || arguments.cert.is_some() {
        return Err(CliError::Usage("--ca, --cert and --key need an address that begins with https://".to_owned()));
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_plain() {
        assert_eq!(with_scheme("localhost:50051"), "http://localhost:50051");
        assert_eq!(with_scheme("https://here:1"), "https://here:1");
    }

    #[test]
    fn a_token_that_would_break_the_header_is_refused() {
        assert!(header("--token", "Bearer a\nb").is_err());
        assert!(header("--token", "Bearer abc").unwrap().is_sensitive());
    }
}
