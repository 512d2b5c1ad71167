//! RegistryService: counts, checks, backups and sweeps of what is at rest, beside the answers and changes that go on.

use std::sync::Arc;
use std::time::Duration;

use api::v1;
use api::v1::registry_service_server::RegistryService;
use api::v1::verify_registry_response::Event;
use registry::{Verification, VerifyReport};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::changes::Writer;
use crate::serving::Serving;
use crate::{backup, status};

/// Between two messages of progress.
const PAUSE: Duration = Duration::from_millis(100);
/// Messages that wait for a slow reader.
const MAX_WAITING: usize = 4;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct RegistryTools {
    serving: Arc<Serving>,
    /// The one place for a check, and the one for a backup: each reads the whole disk.
    checks: Arc<Semaphore>,
    backups: Arc<Semaphore>,
}

impl RegistryTools {
    pub(crate) fn new(serving: Arc<Serving>) -> Self {
        Self { serving, checks: Arc::new(Semaphore::new(1)), backups: Arc::new(Semaphore::new(1)) }
    }
}

#[tonic::async_trait]
impl RegistryService for RegistryTools {
    type VerifyRegistryStream = ReceiverStream<Result<v1::VerifyRegistryResponse, Status>>;
    type BackupRegistryStream = ReceiverStream<Result<v1::BackupRegistryResponse, Status>>;

    async fn get_registry_stats(
        &self,
        request: Request<v1::GetRegistryStatsRequest>,
    ) -> Result<Response<v1::GetRegistryStatsResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let count = |writer: &mut Writer| {
            let reason = writer.registry().is_read_only().unwrap_or_default().to_owned();
            writer.registry().stats().map(|stats| (stats, reason))
        };
        let (stats, read_only_reason) =
            self.serving.changes().run(caller.author(), count).await?.map_err(status::of_registry)?;
        Ok(Response::new(v1::GetRegistryStatsResponse {
            generation: stats.generation,
            tenants: stats.tenants as u64,
            tasks: stats.tasks as u64,
            versions: stats.versions as u64,
            damaged_versions: stats.damaged as u64,
            history: stats.history as u64,
            records: stats.records as u64,
            record_bytes: stats.record_bytes,
            objects: stats.objects as u64,
            object_bytes: stats.object_bytes,
            unused_objects: stats.unused_objects as u64,
            unused_bytes: stats.unused_bytes,
            store_bytes: stats.store_bytes,
            journal_bytes: stats.journal_bytes,
            set_aside_bytes: stats.set_aside_bytes,
            free_bytes: stats.free_bytes,
            read_only_reason,
        }))
    }

    async fn verify_registry(
        &self,
        request: Request<v1::VerifyRegistryRequest>,
    ) -> Result<Response<Self::VerifyRegistryStream>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let permit = place(&self.checks, "registry_checks", "another check of the registry is under way")?;
        let verification =
            self.serving.changes().run(caller.author(), |writer| writer.registry().verification()).await?;
        let verification = verification.map_err(status::of_registry)?;
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        tokio::task::spawn_blocking(move || verify(verification, &sender, permit));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn backup_registry(
        &self,
        request: Request<v1::BackupRegistryRequest>,
    ) -> Result<Response<Self::BackupRegistryStream>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let permit = place(&self.backups, "registry_backups", "another backup of the registry is under way")?;
        let capture = |writer: &mut Writer| Ok((writer.registry().capture()?, writer.registry().stats()?));
        let (capture, stats) =
            self.serving.changes().run(caller.author(), capture).await?.map_err(status::of_registry)?;
        let parts = backup::send(capture, stats.record_bytes + stats.object_bytes, permit);
        Ok(Response::new(ReceiverStream::new(parts)))
    }

    async fn collect_garbage(
        &self,
        request: Request<v1::CollectGarbageRequest>,
    ) -> Result<Response<v1::CollectGarbageResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let swept =
            self.serving.changes().run(caller.author(), Writer::collect_garbage).await?.map_err(status::of_registry)?;
        Ok(Response::new(v1::CollectGarbageResponse { files: swept.files as u64, bytes: swept.bytes }))
    }
}

fn place(places: &Arc<Semaphore>, resource: &str, message: &str) -> Result<OwnedSemaphorePermit, Status> {
    Arc::clone(places).try_acquire_owned().map_err(|_| status::no_place(resource, message))
}

/// Runs a check on a thread that may wait; the permit goes back when it ends.
fn verify(
    verification: Verification,
    sender: &mpsc::Sender<Result<v1::VerifyRegistryResponse, Status>>,
    _permit: OwnedSemaphorePermit,
) {
    let started = Instant::now();
    let total = verification.n_objects() as u64;
    let mut told: Option<Instant> = None;
    let checked = verification.run(|done| {
        let now = Instant::now();
        if told.is_some_and(|told| now.duration_since(told) < PAUSE) {
            return;
        }
        told = Some(now);
        let progress = v1::Progress {
            stage: v1::Stage::Verifying.into(),
            done: done as u64,
            total,
            elapsed_millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        // A caller who does not read misses some of it.
        let _ = sender.try_send(Ok(v1::VerifyRegistryResponse { event: Some(Event::Progress(progress)) }));
    });
    let last = match checked {
        Ok(found) => Ok(v1::VerifyRegistryResponse { event: Some(Event::Report(report(found))) }),
        Err(error) => Err(status::of_registry(error)),
    };
    let _ = sender.blocking_send(last);
}

fn report(found: VerifyReport) -> v1::VerificationReport {
    let VerifyReport { generation, heads, damaged, unused_objects, problems } = found;
    let damaged = damaged.into_iter().map(|damaged| v1::DamagedVersion {
        tenant: damaged.key.tenant.to_string(),
        task: damaged.key.task.to_string(),
        version: damaged.version.number(),
        reason: damaged.reason,
    });
    v1::VerificationReport {
        generation,
        whole_versions: heads as u64,
        damaged_versions: damaged.collect(),
        unused_objects: unused_objects as u64,
        problems,
    }
}
