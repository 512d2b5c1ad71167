//! What every verb works with: the connection, the input, and the printer.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use api::v1::audit_service_client::AuditServiceClient;
use api::v1::catalog_service_client::CatalogServiceClient;
use api::v1::classifier_service_client::ClassifierServiceClient;
use api::v1::head_service_client::HeadServiceClient;
use api::v1::registry_service_client::RegistryServiceClient;
use api::v1::server_service_client::ServerServiceClient;
use api::v1::tenant_service_client::TenantServiceClient;
use tonic::{Request, Status};

use crate::config::SessionArguments;
use crate::connect::{Connection, connect};
use crate::error::CliError;
use crate::lines::Source;
use crate::output::Printer;

/// The largest reply accepted: vectors and token logits of a full call stay well below.
const MAX_REPLY_BYTES: usize = 256 << 20;

/// How a verb ended that came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything worked.
    Done,
    /// Some inputs failed.
    SomeFailed,
}

/// One run of the command line.
pub(crate) struct Session {
    arguments: SessionArguments,
    input: Option<Box<dyn Read + Send>>,
    connection: Option<Connection>,
    /// Where results go.
    pub(crate) printer: Printer,
}

impl Outcome {
    /// [`Outcome::SomeFailed`] from the first failure on.
    pub(crate) fn of_failures(failed: u64) -> Self {
        if failed == 0 { Self::Done } else { Self::SomeFailed }
    }
}

impl Session {
    pub(crate) fn new(arguments: SessionArguments, input: Box<dyn Read + Send>, printer: Printer) -> Self {
        Self { arguments, input: Some(input), connection: None, printer }
    }

    /// The connection; made by the first call, so that a wrong command line fails without a server.
    async fn connection(&mut self) -> Result<Connection, CliError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let connection = connect(&self.arguments).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    pub(crate) async fn classifier(&mut self) -> Result<ClassifierServiceClient<Connection>, CliError> {
        Ok(ClassifierServiceClient::new(self.connection().await?).max_decoding_message_size(MAX_REPLY_BYTES))
    }

    pub(crate) async fn catalog(&mut self) -> Result<CatalogServiceClient<Connection>, CliError> {
        Ok(CatalogServiceClient::new(self.connection().await?).max_decoding_message_size(MAX_REPLY_BYTES))
    }

    pub(crate) async fn heads(&mut self) -> Result<HeadServiceClient<Connection>, CliError> {
        Ok(HeadServiceClient::new(self.connection().await?).max_decoding_message_size(MAX_REPLY_BYTES))
    }

    pub(crate) async fn tenants(&mut self) -> Result<TenantServiceClient<Connection>, CliError> {
        Ok(TenantServiceClient::new(self.connection().await?).max_decoding_message_size(MAX_REPLY_BYTES))
    }

    pub(crate) async fn audit(&mut self) -> Result<AuditServiceClient<Connection>, CliError> {
        Ok(AuditServiceClient::new(self.connection().await?).max_decoding_message_size(MAX_REPLY_BYTES))
    }

    pub(crate) async fn registry(&mut self) -> Result<RegistryServiceClient<Connection>, CliError> {
        Ok(RegistryServiceClient::new(self.connection().await?).max_decoding_message_size(MAX_REPLY_BYTES))
    }

    pub(crate) async fn server(&mut self) -> Result<ServerServiceClient<Connection>, CliError> {
        Ok(ServerServiceClient::new(self.connection().await?))
    }

    pub(crate) async fn health(
        &mut self,
    ) -> Result<tonic_health::pb::health_client::HealthClient<Connection>, CliError> {
        Ok(tonic_health::pb::health_client::HealthClient::new(self.connection().await?))
    }

    /// Forgets the connection, so that the next call makes a new one.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// `message` as a call with the caller's deadline.
    pub(crate) fn call<T>(&self, message: T) -> Request<T> {
        deadline(self.arguments.timeout, message)
    }

    /// The caller's deadline for one call.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.arguments.timeout
    }

    /// The server's address, as it was given.
    pub(crate) fn address(&self) -> &str {
        &self.arguments.addr
    }

    /// Sorts a failed call into refused and unreachable.
    pub(crate) fn failed(&self, status: Status) -> CliError {
        CliError::from_status(status, &self.arguments.addr)
    }

    /// Opens the file named by `--input`; `-` is standard input.
    ///
    /// # Errors
    /// [`CliError::Read`] where it cannot be opened.
    pub(crate) fn open(&mut self, path: &Path) -> Result<Source, CliError> {
        if path == Path::new("-") {
            let input = self.input.take().unwrap_or_else(|| Box::new(io::empty()));
            return Ok(Source { reader: Box::new(BufReader::new(input)), bytes: None, path: path.to_owned() });
        }
        let read = |cause| CliError::Read { path: path.to_owned(), cause };
        let file = File::open(path).map_err(read)?;
        let bytes = file.metadata().map_err(read)?.len();
        Ok(Source { reader: Box::new(BufReader::new(file)), bytes: Some(bytes), path: path.to_owned() })
    }
}

/// `message` as a call that the server may give up on after `timeout`.
pub(crate) fn deadline<T>(timeout: Option<Duration>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    request
}
