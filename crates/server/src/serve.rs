//! One server from start to stop: listen, load, publish, serve, drain.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use api::v1::audit_service_server::AuditServiceServer;
use api::v1::catalog_service_server::CatalogServiceServer;
use api::v1::classifier_service_server::ClassifierServiceServer;
use api::v1::head_service_server::HeadServiceServer;
use api::v1::registry_service_server::RegistryServiceServer;
use api::v1::server_service_server::ServerServiceServer;
use api::v1::tenant_service_server::TenantServiceServer;
use engine::{Engine, EngineParts, Limits, TenantName, WorkerState};
use registry::{Author, Bundle, Digest, EncoderWidths, Install, OpenOptions, Registry, RegistryError};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tonic::service::Routes;
use tracing::{error, info, warn};

use crate::adjustable::Adjustable;
use crate::audit::Audit;
use crate::auth::{Access, Auth};
use crate::boot::publish_all;
use crate::catalog::Catalog;
use crate::changes::{Changes, Writer};
use crate::classifier::Classifier;
use crate::credentials::Credentials;
use crate::edge::Edge;
use crate::finding::Finder;
use crate::heads::Heads;
use crate::heads_folder::{Keeper, Listing, WatchedFolder};
use crate::health::Health;
use crate::install::try_out_all;
use crate::listener::{self, Door};
use crate::measured;
use crate::metrics::Metrics;
use crate::registry_tools::RegistryTools;
use crate::reloading::{Reloader, Reloading};
use crate::retention;
use crate::retired_heads::free_in_time;
use crate::samples::keep_current;
use crate::server_config::ServerConfig;
use crate::serving::{Phase, Serving};
use crate::tenants::Tenants;
use crate::tls::{Tls, watch_files};

/// What a server is made of.
#[derive(Debug)]
pub struct Parts {
    /// The engine's: model, tokenizer, limits.
    pub engine: EngineParts,
    /// Digest of the encoder that the engine's model will be.
    pub encoder: Digest,
    /// Where heads are kept.
    pub registry_dir: PathBuf,
    /// How to open that.
    pub registry_options: OpenOptions,
    /// Heads to take in where the registry has none for a task.
    pub bundle: Option<Bundle>,
    /// Everything else.
    pub settings: Settings,
}

/// What an operator may choose.
#[derive(Debug)]
pub struct Settings {
    /// Connections at the same time; further ones wait.
    pub max_connections: usize,
    /// Bytes of one message.
    pub max_message_bytes: usize,
    /// How long calls in flight may take to end once the server stops.
    pub drain: Duration,
    /// Who may call.
    pub access: Access,
    /// Whether clients may ask for the contract.
    pub reflection: bool,
    /// Bytes that a fit may hold in memory.
    pub fit_memory_bytes: usize,
    /// A folder whose heads are kept served, if any.
    pub watch: Option<WatchedFolder>,
    /// Where numbers are served over HTTP, if anywhere.
    pub metrics: Option<TcpListener>,
    /// Certificates, where TLS is spoken.
    pub tls: Option<Tls>,
    /// Where all of this was read, if it can be read again.
    pub configuration: Option<Reloading>,
}

impl Settings {
    /// What of it may change, beside the engine's limits.
    fn adjustable(&self, limits: Limits) -> Adjustable {
        let Self { max_connections, drain, fit_memory_bytes, .. } = *self;
        Adjustable { limits, max_connections, drain, fit_memory_bytes }
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every call in flight was answered.
    Drained,
    /// Some connections were still open when the drain time was over.
    Cut {
        /// How many.
        connections: usize,
    },
}

/// Why a server did not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The registry did not open, or the bundle's heads did not go into it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The encoder did not load, or its worker failed too often.
    #[error("the inference worker is down: {0}")]
    WorkerDown(String),
    /// A change could not be written: predictions went on, changes were refused, and the next start judges the disk.
    #[error("the registry's disk failed while the server ran")]
    DiskFailed,
    /// A folder is to be watched for a tenant that was never made, or is no more.
    #[error("there is no tenant {0} to watch a folder for: `headwater tenants create` makes one")]
    NoTenantToWatchFor(TenantName),
    /// The system gave no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The writer's thread ended by a panic.
    #[error("the registry's thread ended unexpectedly")]
    WriterLost,
    /// Reflection cannot describe the contract.
    #[error("the contract cannot be described")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// Serves until `shutdown` ends, then drains. The listener answers from the first moment: health says NOT_SERVING and
/// calls are UNAVAILABLE until the encoder is loaded and every head published.
///
/// # Errors
/// [`ServeError`]; by then nothing is being served any more.
pub async fn serve(
    parts: Parts,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<Ended, ServeError> {
    let Parts { engine, encoder, registry_dir, registry_options, bundle, settings } = parts;
    let opening = tokio::task::spawn_blocking(move || Registry::open(&registry_dir, &registry_options));
    let registry = opening.await.map_err(|_| ServeError::WriterLost)??;
    if let Some(WatchedFolder { tenant, .. }) = &settings.watch
        && registry.tenant(tenant).is_none()
    {
        return Err(ServeError::NoTenantToWatchFor(tenant.clone()));
    }
    let engine = Arc::new(Engine::start(engine).map_err(ServeError::Thread)?);
    let credentials = Arc::new(Credentials::new(registry.clock()));
    let (writer, disk_failed) = Writer::new(registry, Arc::clone(&engine), encoder, Arc::clone(&credentials));
    let (changes, writer_thread) = Changes::start(writer).map_err(ServeError::Thread)?;
    let (phase, phases) = watch::channel(Phase::Starting);
    let encoder_dir = bundle.as_ref().map(Bundle::encoder_dir);
    let (adjusting, adjustable) = watch::channel(settings.adjustable(engine.limits()));
    let serving = Arc::new(Serving::new(Arc::clone(&engine), changes.clone(), phases, encoder_dir, adjustable.clone()));
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health::new(reporter, settings.configuration.is_some()).await;
    let finder = Arc::new(Finder::new());
    let listing = settings.watch.is_some().then(Arc::<Listing>::default);
    let services = Services { serving: &serving, finder: &finder, listing: listing.as_ref() };
    let mut routes = services.routes(settings.max_message_bytes).add_service(health_service);
    if settings.reflection {
        routes = add_reflection(routes)?;
    }
    let metrics = Arc::new(Metrics::of(listing.clone(), Arc::clone(serving.refusals())));
    let watch = settings.watch.zip(listing);
    let mut keeper = watch.and_then(|(watched, listing)| Keeper::new(Arc::clone(&serving), watched, listing));
    let (stop, stopped) = watch::channel(false);
    let auth = Auth::new(settings.access, credentials, Arc::clone(engine.shares()));
    let tls = settings.tls.map(Arc::new);
    if let Some(tls) = &tls {
        metrics.certificate_ends_at(tls.ends_at());
        let watching = watch_files(Arc::clone(tls), changes.clone(), Arc::clone(&metrics));
        listener::spawn_until(&stopped, watching);
    }
    if let Some(Reloading { options, read, asked }) = settings.configuration {
        let (in_force, changes) = (Arc::new(tokio::sync::Mutex::new(options)), changes.clone());
        let (engine, metrics, tls) = (Arc::clone(&engine), Arc::clone(&metrics), tls.clone());
        let known = auth.known().cloned();
        let reloader = Arc::new(Reloader { read, in_force, changes, engine, metrics, tls, known, adjusting });
        listener::spawn_until(&stopped, Arc::clone(&reloader).follow(asked));
        routes = routes.add_service(ServerServiceServer::new(ServerConfig { reloader }));
    }
    if let Some(listener) = settings.metrics {
        let until_stop = listener::until_true(stopped.clone());
        tokio::spawn(listener::serve_metrics(listener, Arc::clone(&metrics), Arc::clone(&engine), until_stop));
    }
    let edge = Edge::new(routes, auth, Arc::clone(&metrics));
    let door = Door { edge, tls, adjustable: adjustable.clone() };
    let accepting = tokio::spawn(listener::accept(listener, door, stopped));

    let worker_state = engine.worker_state();
    let mut shutdown = pin!(shutdown);
    let life = async {
        ready(worker_state.clone()).await?;
        let info = engine.info().cloned();
        let info = info.ok_or_else(|| ServeError::WorkerDown("the model said nothing of itself".to_owned()))?;
        let (runtime, trying) = (Handle::current(), Arc::clone(&serving));
        let publish = move |writer: &mut Writer| {
            // The writer's thread waits for the engine here, as nothing else waits for it yet.
            let trial = |installs: &[Install]| runtime.block_on(try_out_all(&trying, installs, "bundle"));
            measured::tell(bundle.as_ref(), &info);
            let widths = EncoderWidths { hidden: info.hidden, embedding: info.embedding };
            publish_all(writer, bundle.as_ref(), widths, &trial)
        };
        let left_out = changes.run(&Author::server("start"), publish).await.map_err(|_| ServeError::WriterLost)??;
        metrics.left_out(left_out);
        if let Some(keeper) = &mut keeper {
            keeper.look().await;
        }
        phase.send_replace(Phase::Open);
        tokio::select! {
            never = keep(keeper) => match never {},
            end = follow(worker_state, &health) => end,
            never = engine.watch_workers() => match never {},
            () = tell_of_failure(disk_failed.clone(), &health) => Ok(()),
            () = retention::retire_in_time(&changes) => Ok(()),
            never = free_in_time(&changes) => match never {},
            () = keep_current(&engine, finder.samples()) => Ok(()),
        }
    };
    let life = tokio::select! {
        failure = life => failure,
        () = &mut shutdown => Ok(()),
    };
    if let Err(failure) = &life {
        error!(%failure, "the server stops");
    }

    health.not_serving().await;
    phase.send_replace(Phase::Draining);
    info!(rows = engine.in_flight_rows(), "draining");
    stop.send_replace(true);
    let drain = adjustable.borrow().drain;
    let drain_end = Instant::now() + drain;
    engine.begin_drain();
    // Watchers learn that the server goes, and only then their streams end.
    let _ = timeout(drain, engine.drained()).await;
    health.end_watches().await;
    let cut = accepting.await.unwrap_or_default();
    if !engine.stop(drain_end.max(Instant::now() + Duration::from_millis(100))).await {
        warn!("the inference worker did not end in time");
    }
    drop((serving, changes));
    close_registry(writer_thread).await?;
    if *disk_failed.borrow() {
        return Err(ServeError::DiskFailed);
    }
    life.map(|()| if cut == 0 { Ended::Drained } else { Ended::Cut { connections: cut } })
}

/// Returns once the worker has answered its warm-up row.
async fn ready(mut state: watch::Receiver<WorkerState>) -> Result<(), ServeError> {
    match state.wait_for(|state| *state != WorkerState::Starting).await.as_deref() {
        Ok(WorkerState::Ready) => Ok(()),
        Ok(WorkerState::Down(reason)) => Err(ServeError::WorkerDown(reason.clone())),
        Ok(WorkerState::Starting | WorkerState::Stuck) | Err(_) => {
            Err(ServeError::WorkerDown("it ended while loading".to_owned()))
        }
    }
}

/// Tells health what the worker is doing; ends when the worker is down for good.
async fn follow(mut state: watch::Receiver<WorkerState>, health: &Health) -> Result<(), ServeError> {
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            WorkerState::Ready => {
                health.serving().await;
                info!("serving");
            }
            WorkerState::Starting => health.not_serving().await,
            WorkerState::Stuck => {
                health.not_serving().await;
                error!("an inference worker is stuck in a batch");
            }
            WorkerState::Down(reason) => return Err(ServeError::WorkerDown(reason)),
        }
        if state.changed().await.is_err() {
            return Err(ServeError::WorkerDown("its thread has ended".to_owned()));
        }
    }
}

/// Keeps the watched folder served, where there is one.
async fn keep(keeper: Option<Keeper>) -> Infallible {
    match keeper {
        Some(keeper) => keeper.keep().await,
        None => std::future::pending().await,
    }
}

/// Tells health when the disk has failed; never returns, because predictions go on.
async fn tell_of_failure(disk_failed: watch::Receiver<bool>, health: &Health) {
    listener::until_true(disk_failed).await;
    health.changes_not_serving().await;
    std::future::pending().await
}

/// What the services are made of.
struct Services<'a> {
    serving: &'a Arc<Serving>,
    finder: &'a Arc<Finder>,
    listing: Option<&'a Arc<Listing>>,
}

impl Services<'_> {
    fn routes(&self, max_message_bytes: usize) -> Routes {
        let classifier = Classifier { serving: Arc::clone(self.serving) };
        let catalog = Catalog { serving: Arc::clone(self.serving), finder: Arc::clone(self.finder) };
        let heads = Heads { serving: Arc::clone(self.serving), listing: self.listing.cloned() };
        let tenants = Tenants { serving: Arc::clone(self.serving) };
        let audit = Audit { serving: Arc::clone(self.serving) };
        Routes::new(ClassifierServiceServer::new(classifier).max_decoding_message_size(max_message_bytes))
            .add_service(CatalogServiceServer::new(catalog).max_decoding_message_size(max_message_bytes))
            .add_service(HeadServiceServer::new(heads).max_decoding_message_size(max_message_bytes))
            .add_service(TenantServiceServer::new(tenants).max_decoding_message_size(max_message_bytes))
            .add_service(AuditServiceServer::new(audit).max_decoding_message_size(max_message_bytes))
            .add_service(
                RegistryServiceServer::new(RegistryTools::new(Arc::clone(self.serving)))
                    .max_decoding_message_size(max_message_bytes),
            )
    }
}

fn add_reflection(routes: Routes) -> Result<Routes, ServeError> {
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(api::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = described().build_v1().map_err(ServeError::Reflection)?;
    let v1alpha = described().build_v1alpha().map_err(ServeError::Reflection)?;
    Ok(routes.add_service(v1).add_service(v1alpha))
}

/// Waits for the writer's last job and closes the registry.
async fn close_registry(writer: std::thread::JoinHandle<Writer>) -> Result<(), ServeError> {
    let closing = tokio::task::spawn_blocking(move || {
        let writer = writer.join().map_err(|_| ServeError::WriterLost)?;
        writer.close().map_err(ServeError::Registry)
    });
    closing.await.map_err(|_| ServeError::WriterLost)?
}
