//! The parts of a server whose encoder is pretended, and such a server in a process of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::testing::{CountingModel, WordTokenizer, small_limits};
use engine::{EngineParts, Model, TenantName};
use registry::{Bundle, OpenOptions};
use server::{Access, Parts, Settings, WatchedFolder};
use tokio::net::TcpListener;

use crate::heads::{HIDDEN, write_bundle};

/// A server on the bundle in `bundle` that keeps its heads in `folder`.
pub(crate) fn parts(folder: &Path, bundle: &Path, engine: EngineParts, metrics: Option<TcpListener>) -> Parts {
    let bundle = Bundle::open(bundle).expect("the bundle is there");
    Parts {
        engine,
        encoder: bundle.encoder_digest().expect("the encoder's files are there"),
        registry_dir: folder.join("registry"),
        registry_options: OpenOptions { ballast_bytes: 0, ..OpenOptions::SERVER },
        bundle: Some(bundle),
        settings: Settings {
            max_connections: 64,
            max_message_bytes: 1 << 20,
            drain: Duration::from_secs(10),
            access: Access::Open,
            reflection: true,
            fit_memory_bytes: 1 << 20,
            watch: Some(folder.join("watched")).filter(|dir| dir.is_dir()).map(|dir| WatchedFolder {
                dir,
                tenant: TenantName::default_tenant(),
                every: Duration::from_millis(5),
            }),
            metrics,
            tls: None,
            configuration: None,
        },
    }
}

/// Serves what is in `folder`, without any head of its own, on a free port that `listening` is told; ends only with an
/// error.
///
/// # Errors
/// The server's own.
pub async fn serve_until_killed(folder: &Path, listening: impl FnOnce(&str)) -> Result<(), server::ServeError> {
    let bundle = folder.join("bundle");
    let encoder = write_bundle(&bundle, &[]);
    let engine = EngineParts {
        factory: Box::new(move || {
            Ok(Box::new(CountingModel::new(encoder.to_string(), HIDDEN, Arc::default())) as Box<dyn Model>)
        }),
        replicas: 1,
        tokenizer: Arc::new(WordTokenizer { max_tokens: 64 }),
        limits: small_limits(),
    };
    std::fs::create_dir_all(bundle.join("heads")).expect("the temporary folder takes files");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system gives a port");
    listening(&listener.local_addr().expect("a bound listener has an address").to_string());
    server::serve(parts(folder, &bundle, engine, None), listener, std::future::pending()).await.map(drop)
}
