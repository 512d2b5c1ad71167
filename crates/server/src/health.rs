//! The standard health service, fed by the worker's own state.

use api::v1::catalog_service_server::CatalogServiceServer;
use api::v1::classifier_service_server::ClassifierServiceServer;
use api::v1::head_service_server::HeadServiceServer;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::catalog::Catalog;
use crate::classifier::Classifier;
use crate::heads::Heads;

/// Names under which health is told; the empty one is the whole server.
const NAMES: [&str; 4] = [
    "",
    <ClassifierServiceServer<Classifier> as NamedService>::NAME,
    <CatalogServiceServer<Catalog> as NamedService>::NAME,
    <HeadServiceServer<Heads> as NamedService>::NAME,
];

/// Tells every watcher at once.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Not serving, until [`Health::serving`].
    pub(crate) async fn new(reporter: HealthReporter) -> Self {
        let health = Self { reporter };
        health.not_serving().await;
        health
    }

    /// Everything answers.
    pub(crate) async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// Nothing should be sent here: starting, draining, or down.
    pub(crate) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Predictions go on; changes are refused until the next start.
    pub(crate) async fn changes_not_serving(&self) {
        let heads = <HeadServiceServer<Heads> as NamedService>::NAME;
        self.reporter.set_service_status(heads, ServingStatus::NotServing).await;
    }

    /// Ends the streams of all watchers, so that their connections can close.
    pub(crate) async fn end_watches(mut self) {
        for name in NAMES {
            self.reporter.clear_service_status(name).await;
        }
    }

    async fn set(&self, status: ServingStatus) {
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
