//! The options of `serve`, as flags or environment variables, and the typed parts they become.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use deberta::{Device, FastTokenizer, Kernels, LoadOptions, Precision, Source};
use engine::{EngineParts, Limits, Model, ModelError, TenantName, Tokenizer};
use registry::{Bundle, Digest, OpenOptions};
use server::{Access, Adjustable, Identities, Parts, Reloading, Settings, Tls, TlsFiles, WatchedFolder};

use crate::open_files::room_for;
use crate::telemetry;
use crate::who_may_call::{self, Switch};

/// Folder of the data directory that holds the registry.
pub(crate) const REGISTRY_FOLDER: &str = "registry";
/// Folder of the data directory that holds the imported bundle.
pub(crate) const BUNDLE_FOLDER: &str = "bundle";

/// Time between two looks at a watched folder.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Options that change while the server runs; the others need a restart. Certificates change by what their files hold,
/// and so do identities.
pub(crate) const LIVE: [&str; 12] = [
    "log",
    "identities",
    "max_inputs",
    "max_tasks",
    "max_text_bytes",
    "max_choices",
    "max_candidate_labels",
    "max_in_flight_rows",
    "max_in_flight_bytes",
    "max_connections",
    "drain_seconds",
    "fit_memory_bytes",
];

/// Serve an encoder and its heads over gRPC.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// TOML file with any of these options, spelled like max_inputs = 64; flags and environment beat it [default: none]
    #[arg(long, env = "HEADWATER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that must survive: installed heads, and the bundle that `import` writes
    #[arg(long, env = "HEADWATER_DATA", value_name = "DIR", required = false, required_unless_present = "config")]
    data: PathBuf,
    /// Bundle whose encoder is served and whose heads are taken in [default: what `import` wrote into the data folder]
    #[arg(long, env = "HEADWATER_BUNDLE", value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Folder whose heads are kept served: what lies in it is installed, what goes from it is withdrawn [default: none]
    #[arg(long, env = "HEADWATER_WATCH", value_name = "DIR")]
    watch: Option<PathBuf>,
    /// Tenant whose heads the watched folder holds; it must exist
    #[arg(long, env = "HEADWATER_WATCH_TENANT", value_name = "NAME", default_value = "default")]
    watch_tenant: TenantName,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "HEADWATER_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:50051")]
    pub(crate) listen: SocketAddr,
    /// Whether callers need credentials, on or off [default: off on a loopback address; elsewhere it must be said]
    #[arg(long, env = "HEADWATER_AUTH", value_name = "SWITCH")]
    auth: Option<Switch>,
    /// Tenant whose heads all others may read; empty for none. Heads of the bundle are `default`'s
    #[arg(long, env = "HEADWATER_CATALOGUE_TENANT", value_name = "NAME", default_value = "default")]
    catalogue_tenant: String,
    /// File that says which tenant a client certificate stands for: lines of tenant, scopes and identity [default: none]
    #[arg(long, env = "HEADWATER_IDENTITIES", value_name = "FILE")]
    identities: Option<PathBuf>,
    /// Address for metrics over HTTP [default: none]
    #[arg(long, env = "HEADWATER_METRICS", value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
    /// What the log says: error, warn, info, debug or trace, or levels of parts such as info,server=debug
    #[arg(long, env = "HEADWATER_LOG", value_name = "LEVEL", default_value = "info", value_parser = telemetry::checked)]
    pub(crate) log: String,
    /// PEM file with the server's certificate and those up to its authority: TLS is spoken [default: plain text]
    #[arg(long, env = "HEADWATER_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the key of that certificate
    #[arg(long, env = "HEADWATER_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// PEM file with the authorities of clients: only those with a certificate may connect [default: anybody may]
    #[arg(long, env = "HEADWATER_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// PEM file with lists of clients' certificates that count no more [default: none]
    #[arg(long, env = "HEADWATER_CLIENT_CRL", value_name = "FILE")]
    client_crl: Option<PathBuf>,
    /// Where the encoder runs: cpu, or cuda:0 with a PyTorch that has CUDA
    #[arg(long, env = "HEADWATER_DEVICE", default_value = "cpu")]
    device: Device,
    /// Element type of the encoder: fp32 is exact; bf16, int8 (CPU) and fp16 (GPU) are faster and move logits a little
    #[arg(long, env = "HEADWATER_DTYPE", default_value = "fp32")]
    dtype: Precision,
    /// Encoders that work on the one queue, each on a thread of its own
    #[arg(long, env = "HEADWATER_REPLICAS", value_name = "N", default_value_t = 1)]
    replicas: usize,
    /// Threads of each encoder on the CPU; 0 is one for each core
    #[arg(long, env = "HEADWATER_THREADS", value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Whose kernels the encoder uses on the CPU: native, libtorch, auto for the best, or avx2 for the best without AVX-512
    #[arg(long, env = "HEADWATER_KERNELS", default_value = "auto")]
    kernels: Kernels,
    /// Threads that turn text into ids
    #[arg(long, env = "HEADWATER_TOKENIZER_THREADS", value_name = "N", default_value_t = 2)]
    tokenizer_threads: usize,
    /// Longest sequence in tokens, special tokens included [default: the tokenizer's own limit]
    #[arg(long, env = "HEADWATER_MAX_TOKENS", value_name = "N")]
    max_tokens: Option<usize>,
    /// Tokens of one batch, a longer row runs alone; 0 is what suits the device: 1024 on a CPU, 16384 on a GPU
    #[arg(long, env = "HEADWATER_BATCH_TOKENS", value_name = "N", default_value_t = 0)]
    batch_tokens: usize,
    /// Rows of one batch
    #[arg(long, env = "HEADWATER_BATCH_ROWS", value_name = "N", default_value_t = 128)]
    batch_rows: usize,
    /// Bytes of encoder outputs kept for texts that come again, keys included; 0 turns it off
    #[arg(long, env = "HEADWATER_CACHE_BYTES", value_name = "BYTES", default_value_t = 64 << 20)]
    cache_bytes: usize,
    /// Thousandths of the time that the encoder may work on rows of a fit where calls would notice it; elsewhere it is free
    #[arg(long, env = "HEADWATER_BACKGROUND_PERMILLE", value_name = "N", default_value_t = 5)]
    background_permille: u32,
    /// Bytes of vectors and layers that a fit may hold in memory; a tenant has one fit at a time, and four tenants may
    #[arg(long, env = "HEADWATER_FIT_MEMORY_BYTES", value_name = "BYTES", default_value_t = 512 << 20)]
    fit_memory_bytes: usize,
    /// Inputs of one call
    #[arg(long, env = "HEADWATER_MAX_INPUTS", value_name = "N", default_value_t = 256)]
    max_inputs: usize,
    /// Tasks of one call to ClassifyTasks
    #[arg(long, env = "HEADWATER_MAX_TASKS", value_name = "N", default_value_t = 1_000)]
    max_tasks: usize,
    /// Bytes of one text
    #[arg(long, env = "HEADWATER_MAX_TEXT_BYTES", value_name = "BYTES", default_value_t = 64 << 10)]
    max_text_bytes: usize,
    /// Choices of one input
    #[arg(long, env = "HEADWATER_MAX_CHOICES", value_name = "N", default_value_t = 64)]
    max_choices: usize,
    /// Candidate labels of one zero-shot input
    #[arg(long, env = "HEADWATER_MAX_CANDIDATE_LABELS", value_name = "N", default_value_t = 256)]
    max_candidate_labels: usize,
    /// Rows admitted and not yet answered; more are refused
    #[arg(long, env = "HEADWATER_MAX_IN_FLIGHT_ROWS", value_name = "N", default_value_t = 4_096)]
    max_in_flight_rows: usize,
    /// Bytes of text admitted and not yet answered; more are refused
    #[arg(long, env = "HEADWATER_MAX_IN_FLIGHT_BYTES", value_name = "BYTES", default_value_t = 64 << 20)]
    max_in_flight_bytes: usize,
    /// Connections at the same time; further ones wait
    #[arg(long, env = "HEADWATER_MAX_CONNECTIONS", value_name = "N", default_value_t = 512)]
    max_connections: usize,
    /// Bytes of one message
    #[arg(long, env = "HEADWATER_MAX_MESSAGE_BYTES", value_name = "BYTES", default_value_t = 4 << 20)]
    max_message_bytes: usize,
    /// Seconds that calls in flight may take to end once the server stops
    #[arg(long, env = "HEADWATER_DRAIN_SECONDS", value_name = "S", default_value_t = 20)]
    drain_seconds: u64,
    /// Do not let clients ask for the contract
    #[arg(long, env = "HEADWATER_NO_REFLECTION")]
    no_reflection: bool,
    /// Keep heads on a network file system, whose locks and syncs may not hold
    #[arg(long, env = "HEADWATER_ALLOW_NETWORK_FILE_SYSTEM")]
    allow_network_file_system: bool,
    /// Start empty where no record of the installed heads can be read; an operator's decision
    #[arg(long, env = "HEADWATER_ACCEPT_LOSS")]
    accept_loss: bool,
    /// Print the resolved options and end
    #[arg(long)]
    pub(crate) check: bool,
}

impl Serve {
    /// Who may call.
    pub(crate) fn access(&self) -> Result<Access, String> {
        let decided = who_may_call::decide(self.auth, self.listen)?;
        who_may_call::access(decided, &self.catalogue_tenant, self.identities()?)
    }

    /// Whom client certificates stand for, also where nobody is asked for one: a bad list is a slip in any case.
    pub(crate) fn identities(&self) -> Result<Identities, String> {
        who_may_call::identities(self.identities.as_deref())
    }

    /// What of it may change while the server runs, once it makes sense.
    pub(crate) fn adjustable(&self) -> Result<Adjustable, String> {
        self.check_bounds()?;
        Ok(Adjustable {
            limits: Limits {
                max_inputs: self.max_inputs,
                max_tasks: self.max_tasks,
                max_text_bytes: self.max_text_bytes,
                max_choices: self.max_choices,
                max_candidate_labels: self.max_candidate_labels,
                max_in_flight_rows: self.max_in_flight_rows,
                max_in_flight_bytes: self.max_in_flight_bytes,
                batch_tokens: batch_tokens(self.batch_tokens, self.device),
                batch_rows: self.batch_rows,
                cache_bytes: self.cache_bytes,
                background_permille: self.background_permille,
                tokenizer_threads: self.tokenizer_threads.max(1),
            },
            max_connections: room_for(self.max_connections),
            drain: Duration::from_secs(self.drain_seconds),
            fit_memory_bytes: self.fit_memory_bytes,
        })
    }

    /// Numbers with which nothing could ever be answered are slips.
    fn check_bounds(&self) -> Result<(), String> {
        let bounds = [
            ("max_inputs", self.max_inputs),
            ("max_tasks", self.max_tasks),
            ("max_text_bytes", self.max_text_bytes),
            ("max_choices", self.max_choices),
            ("max_candidate_labels", self.max_candidate_labels),
            ("max_in_flight_rows", self.max_in_flight_rows),
            ("max_in_flight_bytes", self.max_in_flight_bytes),
            ("batch_rows", self.batch_rows),
            ("max_connections", self.max_connections),
            ("max_message_bytes", self.max_message_bytes),
        ];
        match bounds.into_iter().find(|(_, number)| !(1..=u32::MAX as usize).contains(number)) {
            Some((name, number)) => Err(format!("{name} = {number}: a number from 1 to {} is needed", u32::MAX)),
            None => Ok(()),
        }
    }

    /// The certificates, where TLS is to be spoken.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Failure> {
        let client_options = self.client_ca.is_some() || self.client_crl.is_some();
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) if self.client_ca.is_some() || self.client_crl.is_none() => {
                let (cert, key) = (cert.clone(), key.clone());
                let (client_ca, client_crl) = (self.client_ca.clone(), self.client_crl.clone());
                Ok(Some(Tls::open(TlsFiles { cert, key, client_ca, client_crl })?))
            }
            (Some(_), Some(_)) => Err("--client-crl says nothing without --client-ca".into()),
            (None, None) if !client_options => Ok(None),
            (None, None) => Err("--client-ca and --client-crl need --tls-cert and --tls-key".into()),
            (Some(_), None) | (None, Some(_)) => Err("--tls-cert and --tls-key are given together".into()),
        }
    }

    /// Opens what can be opened before a port is taken: the bundle, its digest, its tokenizer, the certificates. The
    /// encoder itself is loaded by the worker.
    pub(crate) fn into_parts(self, outside: Outside) -> Result<Parts, Failure> {
        let Adjustable { limits, max_connections, drain, fit_memory_bytes } = self.adjustable()?;
        let (tls, access) = (self.tls()?, self.access()?);
        let bundle_dir = self.bundle.unwrap_or_else(|| self.data.join(BUNDLE_FOLDER));
        let bundle = Bundle::open(&bundle_dir)?;
        let encoder_dir = bundle.encoder_dir();
        let encoder = bundle.encoder_digest()?;
        let tokenizer = FastTokenizer::open(&encoder_dir, self.max_tokens)?;
        let options = LoadOptions {
            encoder_digest: encoder.to_string(),
            device: self.device,
            precision: self.dtype,
            threads: self.threads,
            kernels: self.kernels,
        };
        let source = Source::new(&encoder_dir, options);
        Ok(Parts {
            engine: EngineParts {
                factory: Box::new(move || {
                    let model = source.load();
                    let model = model.map_err(|error| ModelError::Load(error.to_string()))?;
                    Ok(Box::new(model) as Box<dyn Model>)
                }),
                replicas: self.replicas.max(1),
                tokenizer: Arc::new(tokenizer) as Arc<dyn Tokenizer>,
                limits,
            },
            encoder,
            registry_dir: self.data.join(REGISTRY_FOLDER),
            registry_options: OpenOptions {
                accept_loss: self.accept_loss,
                allow_network_file_system: self.allow_network_file_system,
                ..OpenOptions::SERVER
            },
            bundle: Some(bundle),
            settings: Settings {
                max_connections,
                max_message_bytes: self.max_message_bytes,
                drain,
                access,
                reflection: !self.no_reflection,
                fit_memory_bytes,
                watch: self.watch.map(|dir| WatchedFolder { dir, tenant: self.watch_tenant, every: LOOK_EVERY }),
                metrics: outside.metrics,
                tls,
                configuration: Some(outside.configuration),
            },
        })
    }
}

/// What the process brings along beside its options.
#[derive(Debug)]
pub(crate) struct Outside {
    /// Where numbers are served.
    pub(crate) metrics: Option<tokio::net::TcpListener>,
    /// How the options are read again.
    pub(crate) configuration: Reloading,
}

/// The tokens of one batch: as `asked`, or what suits the device. A CPU is busy with a few texts, and a larger batch only
/// makes callers wait for each other; a GPU needs many to be busy at all.
fn batch_tokens(asked: usize, device: Device) -> usize {
    match (asked, device) {
        (0, Device::Cpu) => 1_024,
        (0, Device::Cuda(_)) => 16_384,
        (asked, _) => asked,
    }
}

/// The digest of the encoder in a bundle, for those who write manifests by hand.
#[derive(Debug, Args)]
pub(crate) struct DigestOf {
    /// The bundle
    pub(crate) bundle: PathBuf,
}

impl DigestOf {
    pub(crate) fn run(&self) -> Result<Digest, Failure> {
        Ok(Bundle::open(&self.bundle)?.encoder_digest()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_suits_the_device_unless_somebody_says_otherwise() {
        assert_eq!(batch_tokens(0, Device::Cpu), 1_024);
        assert_eq!(batch_tokens(0, Device::Cuda(0)), 16_384);
        assert_eq!(batch_tokens(300, Device::Cuda(0)), 300);
    }
}
