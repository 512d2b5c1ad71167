//! A real server on a free port, with a data directory that goes away with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::v1;
use api::v1::audit_service_client::AuditServiceClient;
use api::v1::catalog_service_client::CatalogServiceClient;
use api::v1::classifier_service_client::ClassifierServiceClient;
use api::v1::head_service_client::HeadServiceClient;
use api::v1::tenant_service_client::TenantServiceClient;
use engine::testing::{CountingModel, WordTokenizer, small_limits};
use engine::{EngineParts, Head, HeadKind, Limits, Model, TenantName};
use registry::{Change, Digest, NewToken, OpenOptions, Registry, Scopes};
use server::{Access, Ended, Identities, Reloading, ServeError, Settings, Tls};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::gate::{Gate, GatedModel};
use crate::heads::{HIDDEN, head, write_bundle};
use crate::pretended;

/// Longer than anything here takes, shorter than anybody's patience.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server is given beside its engine.
#[derive(Debug)]
pub struct Surroundings {
    /// What it shows at the door, and what a client needs to come in.
    pub tls: Option<(Tls, ClientTlsConfig)>,
    /// Where its configuration is read again.
    pub configuration: Option<Reloading>,
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long calls may take to end once it stops.
    pub drain: Duration,
    /// Who may call.
    pub access: Access,
    /// Whose heads a folder `watched` of the data directory holds.
    pub watch_tenant: TenantName,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            tls: None,
            configuration: None,
            max_connections: 64,
            drain: Duration::from_secs(10),
            access: Access::Open,
            watch_tenant: TenantName::default_tenant(),
        }
    }
}

/// A running server and the ways to reach it.
#[derive(Debug)]
pub struct TestServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Holds the model's batches back.
    pub gate: Gate,
    /// Digest of the encoder it pretends to have.
    pub encoder: Digest,
    metrics_address: SocketAddr,
    rows: Arc<AtomicUsize>,
    access: Access,
    folder: Option<TempDir>,
    shutdown: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<Ended, ServeError>>,
    channel: Channel,
}

impl TestServer {
    /// A server with one task of every kind, once it says SERVING.
    pub async fn start() -> Self {
        Self::start_with(small_limits()).await
    }

    /// The same under other limits.
    pub async fn start_with(limits: Limits) -> Self {
        Self::start_several(limits, 1).await
    }

    /// The same with so many models on the one queue.
    pub async fn start_several(limits: Limits, replicas: usize) -> Self {
        let folder = TempDir::new().expect("the system gives a folder");
        let server = Self::start_in(folder, (limits, replicas), Gate::default(), Surroundings::default()).await;
        server.until(ServingStatus::Serving).await;
        server
    }

    /// A server with one task of every kind in other surroundings, once it says SERVING.
    pub async fn start_among(surroundings: Surroundings) -> Self {
        let folder = TempDir::new().expect("the system gives a folder");
        let server = Self::start_in(folder, (small_limits(), 1), Gate::default(), surroundings).await;
        server.until(ServingStatus::Serving).await;
        server
    }

    /// The same for callers with credentials, and a token of the tenant `default` that is good for everything. The heads
    /// of `default` are everybody's.
    pub async fn start_with_credentials() -> (Self, String) {
        let folder = TempDir::new().expect("the system gives a folder");
        let token = first_token(&folder.path().join("registry"));
        let catalogue = Some(TenantName::default_tenant());
        let access = Access::Credentials { catalogue, identities: Identities::default() };
        let surroundings = Surroundings { access, ..Surroundings::default() };
        let server = Self::start_in(folder, (small_limits(), 1), Gate::default(), surroundings).await;
        server.until(ServingStatus::Serving).await;
        (server, token)
    }

    /// A server whose model is held at `gate` from its first row on, and so not yet serving.
    pub async fn start_held(gate: Gate) -> Self {
        let folder = TempDir::new().expect("the system gives a folder");
        Self::start_in(folder, (small_limits(), 1), gate, Surroundings::default()).await
    }

    /// A server on the bundle in `bundle`, a folder inside `folder`, with this engine; once it says SERVING.
    pub async fn start_on(folder: TempDir, bundle: &Path, engine: EngineParts) -> Self {
        let watch = (Gate::default(), Arc::default());
        let server = Self::serve(folder, bundle, engine, watch, Surroundings::default()).await;
        server.until(ServingStatus::Serving).await;
        server
    }

    /// The same where the data directory may hold a folder `watched`, whose heads are then kept served.
    pub async fn start_in_folder(folder: TempDir) -> Self {
        let server = Self::start_in(folder, (small_limits(), 1), Gate::default(), Surroundings::default()).await;
        server.until(ServingStatus::Serving).await;
        server
    }

    /// A server on a data directory of the caller's, which may not get as far as to serve.
    pub async fn begin_in_folder(folder: TempDir, surroundings: Surroundings) -> Self {
        Self::start_in(folder, (small_limits(), 1), Gate::default(), surroundings).await
    }

    /// The data directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("a running server has its folder").path()
    }

    async fn start_in(folder: TempDir, sizes: (Limits, usize), gate: Gate, surroundings: Surroundings) -> Self {
        let (limits, replicas) = sizes;
        let bundle = folder.path().join("bundle");
        let encoder = write_bundle(&bundle, &one_of_each());
        let rows = Arc::new(AtomicUsize::new(0));
        let (counted, held) = (Arc::clone(&rows), gate.clone());
        let engine = EngineParts {
            factory: Box::new(move || {
                let model = CountingModel::new(encoder.to_string(), HIDDEN, Arc::clone(&counted));
                Ok(Box::new(GatedModel::new(model, held.clone())) as Box<dyn Model>)
            }),
            replicas,
            tokenizer: Arc::new(WordTokenizer { max_tokens: 64 }),
            limits,
        };
        Self::serve(folder, &bundle, engine, (gate, rows), surroundings).await
    }

    async fn serve(
        folder: TempDir,
        bundle: &Path,
        engine: EngineParts,
        watch: (Gate, Arc<AtomicUsize>),
        surroundings: Surroundings,
    ) -> Self {
        let (gate, rows) = watch;
        let Surroundings { tls, configuration, max_connections, drain, access, watch_tenant } = surroundings;
        let (tls, client_tls) = tls.unzip();
        let metrics = TcpListener::bind("127.0.0.1:0").await.expect("the system gives a port");
        let metrics_address = metrics.local_addr().expect("a bound listener has an address");
        let mut parts = pretended::parts(folder.path(), bundle, engine, Some(metrics));
        parts.settings =
            Settings { tls, configuration, max_connections, drain, access: access.clone(), ..parts.settings };
        if let Some(watch) = &mut parts.settings.watch {
            watch.tenant = watch_tenant;
        }
        let encoder = parts.encoder;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system gives a port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (shutdown, asked) = oneshot::channel::<()>();
        let serving = tokio::spawn(server::serve(parts, listener, async move { drop(asked.await) }));
        let channel = endpoint(address, client_tls).connect_lazy();
        Self {
            address,
            gate,
            encoder,
            metrics_address,
            rows,
            access,
            folder: Some(folder),
            shutdown: Some(shutdown),
            serving,
            channel,
        }
    }

    /// Stops this server and starts another on the same data directory.
    pub async fn restart(mut self) -> Self {
        let access = self.access.clone();
        let folder = self.folder.take().expect("a running server has its folder");
        assert_eq!(self.stop().await.expect("the server stops without an error"), Ended::Drained);
        let surroundings = Surroundings { access, ..Surroundings::default() };
        let server = Self::start_in(folder, (small_limits(), 1), Gate::default(), surroundings).await;
        server.until(ServingStatus::Serving).await;
        server
    }

    /// Asks the server to stop and waits until it has.
    ///
    /// # Errors
    /// The server's own.
    pub async fn stop(mut self) -> Result<Ended, ServeError> {
        self.ask_to_stop();
        self.ended().await
    }

    /// Asks the server to stop and returns at once.
    pub fn ask_to_stop(&mut self) {
        // A server that has ended already does not listen.
        let _ = self.shutdown.take().map(|shutdown| shutdown.send(()));
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    /// The server's own.
    pub async fn ended(self) -> Result<Ended, ServeError> {
        drop(self.channel);
        let ended = tokio::time::timeout(PATIENCE, self.serving).await.expect("the server ends in time");
        ended.expect("the server does not panic")
    }

    /// Returns once the server's health says `wanted`.
    pub async fn until(&self, wanted: ServingStatus) {
        let watching = async {
            let mut health = HealthClient::new(self.channel());
            let request = HealthCheckRequest { service: String::new() };
            let mut statuses = health.watch(request).await.expect("health can be watched").into_inner();
            while let Some(response) = statuses.message().await.expect("health goes on") {
                if response.status() == wanted {
                    return;
                }
            }
            panic!("health never said {wanted:?}");
        };
        tokio::time::timeout(PATIENCE, watching).await.expect("health says so in time");
    }

    /// Rows the model has seen, the warm-up row included.
    #[must_use]
    pub fn rows_seen(&self) -> usize {
        self.rows.load(Ordering::SeqCst)
    }

    /// All numbers that the server publishes.
    pub async fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(self.metrics_address).await.expect("metrics are served");
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("metrics are served");
        let mut page = String::new();
        socket.read_to_string(&mut page).await.expect("metrics are text");
        page
    }

    /// A number that the server publishes, such as `rows_in_flight`.
    pub async fn metric(&self, name: &str) -> u64 {
        let page = self.metrics().await;
        let start = format!("headwater_{name} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&start));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {page}"))
    }

    /// Returns once `metric` has reached `wanted`.
    pub async fn until_metric(&self, metric: &str, wanted: u64) {
        let reaching = async {
            while self.metric(metric).await < wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reaching).await.expect("the number is reached in time");
    }

    /// Returns once no such task is served.
    pub async fn until_gone(&self, task: &str) {
        let mut catalog = self.catalog();
        let going = async {
            let request = || v1::GetTaskRequest { task: task.to_owned(), ..v1::GetTaskRequest::default() };
            while catalog.get_task(request()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, going).await.expect("the task goes in time");
    }

    /// A connection that all clients share.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A client that keeps tenants.
    #[must_use]
    pub fn tenants(&self) -> TenantServiceClient<Channel> {
        TenantServiceClient::new(self.channel())
    }

    /// A client that reads the audit log.
    #[must_use]
    pub fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel())
    }

    /// A connection of the caller's own.
    #[must_use]
    pub fn own_channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).expect("an address is a URI").connect_lazy()
    }

    /// Where heads are kept.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.as_ref().expect("a running server has its folder").path().join("registry")
    }

    /// A client that asks.
    #[must_use]
    pub fn classifier(&self) -> ClassifierServiceClient<Channel> {
        ClassifierServiceClient::new(self.channel())
    }

    /// A client that lists.
    #[must_use]
    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel())
    }

    /// A client that changes heads.
    #[must_use]
    pub fn heads(&self) -> HeadServiceClient<Channel> {
        HeadServiceClient::new(self.channel())
    }
}

/// A token of the tenant `default` that is good for everything, made in a registry that no server has open.
///
/// # Panics
/// Where the registry does not open or does not take it.
#[must_use]
pub fn first_token(registry: &Path) -> String {
    let options = OpenOptions { ballast_bytes: 0, ..OpenOptions::SERVER };
    let mut registry = Registry::open(registry, &options).expect("a new folder opens");
    let (id, text, digest) = server::credentials::mint().expect("the system gives random bytes");
    let (tenant, scopes) = (TenantName::default_tenant(), Scopes::all());
    let token = NewToken { id, tenant, scopes, digest, description: String::new(), expires_unix_seconds: None };
    registry.commit(Change::CreateToken(token)).expect("a first token is made");
    registry.close().expect("the registry closes");
    text
}

/// Where a client connects.
fn endpoint(address: SocketAddr, tls: Option<ClientTlsConfig>) -> Endpoint {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).expect("an address is a URI");
    match tls {
        Some(tls) => endpoint.tls_config(tls).expect("the certificates of a test can be read"),
        None => endpoint,
    }
}

fn one_of_each() -> Vec<(&'static str, Head)> {
    vec![
        ("mood", head(HeadKind::Classification, &["glad", "sad", "angry"], 1)),
        ("topics", head(HeadKind::MultiLabel, &["sport", "money", "war"], 2)),
        ("length", head(HeadKind::Regression, &[], 3)),
        ("ending", head(HeadKind::MultipleChoice, &[], 4)),
        ("names", head(HeadKind::TokenClassification, &["O", "B-PER", "I-PER"], 5)),
        ("help", head(HeadKind::Reward, &[], 6)),
    ]
}
