//! The standard health service, fed by the worker's own state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::v1::{
    audit_service_server, catalog_service_server, classifier_service_server, head_service_server,
    registry_service_server, server_service_server, tenant_service_server,
};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Names under which health is told wherever a server runs; the empty one is the whole server.
const NAMES: [&str; 7] = [
    "",
    classifier_service_server::SERVICE_NAME,
    catalog_service_server::SERVICE_NAME,
    head_service_server::SERVICE_NAME,
    tenant_service_server::SERVICE_NAME,
    audit_service_server::SERVICE_NAME,
    registry_service_server::SERVICE_NAME,
];

/// Services that write, and do not once the disk has failed.
const WRITING: [&str; 2] = [head_service_server::SERVICE_NAME, tenant_service_server::SERVICE_NAME];

/// Tells every watcher at once.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
    /// Whether changes are refused until the next start; clones share it.
    disk_failed: Arc<AtomicBool>,
}

impl Health {
    /// Not serving, until [`Health::serving`]. A server without a configuration to tell of has no service for it.
    pub(crate) async fn new(reporter: HealthReporter, has_configuration: bool) -> Self {
        let mut names = NAMES.to_vec();
        names.extend(has_configuration.then_some(server_service_server::SERVICE_NAME));
        let health = Self { reporter, names, disk_failed: Arc::default() };
        health.not_serving().await;
        health
    }

    /// Everything answers, but for changes where the disk has failed.
    pub(crate) async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// Nothing should be sent here: starting, draining, or down.
    pub(crate) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Predictions go on; changes are refused until the next start.
    pub(crate) async fn changes_not_serving(&self) {
        self.disk_failed.store(true, Ordering::Relaxed);
        for name in WRITING {
            self.reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
    }

    /// Ends the streams of all watchers, so that their connections can close.
    pub(crate) async fn end_watches(mut self) {
        for name in self.names {
            self.reporter.clear_service_status(name).await;
        }
    }

    async fn set(&self, status: ServingStatus) {
        for name in &self.names {
            let is_refused = self.disk_failed.load(Ordering::Relaxed) && WRITING.contains(name);
            let status = if is_refused { ServingStatus::NotServing } else { status };
            self.reporter.set_service_status(name, status).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    #[tokio::test]
    async fn a_worker_that_comes_back_does_not_mend_a_disk_that_has_failed() {
        let (reporter, service) = tonic_health::server::health_reporter();
        let health = Health::new(reporter, true).await;
        health.serving().await;
        health.changes_not_serving().await;
        health.not_serving().await;
        health.serving().await;
        let mut client = HealthClient::new(service);
        for name in &health.names {
            let request = HealthCheckRequest { service: (*name).to_owned() };
            let serves = client.check(request).await.unwrap().into_inner().status == ServingStatus::Serving as i32;
            assert_eq!(serves, !WRITING.contains(name), "{name}");
        }
    }
}
