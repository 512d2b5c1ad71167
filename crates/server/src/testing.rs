//! A server's inside without its sockets, for the tests of parts of it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use engine::testing::{CountingModel, WordTokenizer, small_limits};
use engine::{Engine, EngineParts, Head, HeadKind, HeadParts, Model, TaskKey};
use registry::{Change, Digest, Install, OpenOptions, Registry};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::adjustable::Adjustable;
use crate::changes::{Changes, Writer};
use crate::credentials::Credentials;
use crate::serving::{Phase, Serving};

/// A server's inside that serves nothing, in a folder that goes away with it.
pub(crate) fn serving() -> (TempDir, watch::Sender<Phase>, Arc<Serving>) {
    let folder = TempDir::new().unwrap();
    let registry = Registry::open(folder.path(), &OpenOptions { ballast_bytes: 0, ..OpenOptions::SERVER }).unwrap();
    let parts = EngineParts {
        factory: Box::new(|| {
            Ok(Box::new(CountingModel::new(String::new(), 8, Arc::new(AtomicUsize::new(0)))) as Box<dyn Model>)
        }),
        replicas: 1,
        tokenizer: Arc::new(WordTokenizer { max_tokens: 64 }),
        limits: small_limits(),
    };
    let engine = Arc::new(Engine::start(parts).unwrap());
    let credentials = Arc::new(Credentials::new(registry.clock()));
    let (writer, _) = Writer::new(registry, Arc::clone(&engine), Digest::of(b"encoder"), credentials);
    let (changes, _) = Changes::start(writer).unwrap();
    let (phase, phases) = watch::channel(Phase::Open);
    let adjustable =
        Adjustable { limits: small_limits(), max_connections: 1, drain: Duration::ZERO, fit_memory_bytes: 0 };
    let (_, adjustable) = watch::channel(adjustable);
    (folder, phase, Arc::new(Serving::new(engine, changes, phases, None, adjustable)))
}

/// A head of two labels, all of whose numbers are `number`, as the task's next version.
pub(crate) fn install(key: &TaskKey, number: f32) -> Change {
    let parts = HeadParts {
        labels: vec!["no".to_owned(), "yes".to_owned()],
        weight: vec![number; 16].into(),
        bias: vec![number; 2].into(),
        ..HeadParts::default()
    };
    let head = Arc::new(Head::new(HeadKind::Classification, 8, parts).unwrap());
    let encoder = Digest::of(b"encoder");
    Change::Install(Install { key: key.clone(), version: None, head, encoder, forced: false, aliases: Vec::new() })
}
