//! ServerService: the configuration in force, and the command to read it again.

use std::sync::Arc;

use api::v1;
use api::v1::server_service_server::ServerService;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::recording::RecordError;
use crate::reloading::{ConfigOption, OptionChange, ReloadError, Reloader, Source};
use crate::status;

/// The service.
#[derive(Clone)]
pub(crate) struct ServerConfig {
    pub(crate) reloader: Arc<Reloader>,
}

#[tonic::async_trait]
impl ServerService for ServerConfig {
    async fn get_config(&self, _: Request<v1::GetConfigRequest>) -> Result<Response<v1::GetConfigResponse>, Status> {
        let options = self.reloader.options().await.into_iter().map(option).collect();
        Ok(Response::new(v1::GetConfigResponse { options }))
    }

    async fn reload_config(
        &self,
        request: Request<v1::ReloadConfigRequest>,
    ) -> Result<Response<v1::ReloadConfigResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let reloaded = if request.into_inner().check_only {
            self.reloader.check().await.map_err(refused)?
        } else {
            self.reloader.reload(caller.author()).await.map_err(refused)?
        };
        Ok(Response::new(v1::ReloadConfigResponse {
            changed: reloaded.changed.into_iter().map(change).collect(),
            needs_restart: reloaded.restart.into_iter().map(change).collect(),
            certificates_changed: reloaded.certificates,
            identities_changed: reloaded.identities,
        }))
    }
}

fn refused(error: ReloadError) -> Status {
    match error {
        ReloadError::NotRecorded(RecordError::NotTaken(refusal)) => refusal,
        ReloadError::NotRecorded(RecordError::NotWritten(error)) => status::of_registry(error),
        ReloadError::Configuration(_) | ReloadError::Certificates(_) | ReloadError::Lost => {
            status::failed_precondition("CONFIGURATION", "configuration", &error.to_string())
        }
    }
}

fn option(option: ConfigOption) -> v1::ConfigOption {
    let ConfigOption { name, value, source: from, live } = option;
    v1::ConfigOption { name, value, source: source(from).into(), live }
}

fn change(change: OptionChange) -> v1::ConfigChange {
    let OptionChange { before, after } = change;
    v1::ConfigChange { name: after.name, before, after: after.value, source: source(after.source).into() }
}

fn source(source: Source) -> v1::OptionSource {
    match source {
        Source::Default => v1::OptionSource::Default,
        Source::File => v1::OptionSource::File,
        Source::Environment => v1::OptionSource::Environment,
        Source::Flag => v1::OptionSource::Flag,
    }
}
