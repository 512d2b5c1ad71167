//! What a watch owes a slow reader: to be told that changes were missed, and to know everything in the end.

use std::sync::atomic::AtomicUsize;

use engine::testing::{CountingModel, WordTokenizer, small_limits};
use engine::{Engine, EngineParts, Model};
use registry::{Digest, OpenOptions, Registry};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::adjustable::Adjustable;
use crate::changes::{Changes, Writer};
use crate::serving::Phase;

/// A server's inside that serves nothing, in a folder that goes away with it.
fn serving() -> (TempDir, watch::Sender<Phase>, Arc<Serving>) {
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
    let (writer, _) = Writer::new(registry, Arc::clone(&engine), Digest::of(b"encoder"));
    let (changes, _) = Changes::start(writer).unwrap();
    let (phase, phases) = watch::channel(Phase::Open);
    let adjustable = Adjustable {
        limits: small_limits(),
        max_connections: 1,
        drain: std::time::Duration::ZERO,
        fit_memory_bytes: 0,
    };
    let (_, adjustable) = watch::channel(adjustable);
    (folder, phase, Arc::new(Serving::new(engine, changes, phases, None, adjustable)))
}

fn note(serving: &Serving, generation: u64, tasks: usize) {
    let key =
        |number| TaskKey { tenant: TenantName::default_tenant(), task: format!("task-{number}").parse().unwrap() };
    serving.changes().log().note(generation, (0..tasks).map(key));
}

#[tokio::test]
async fn a_slow_reader_is_told_that_changes_were_missed_and_begins_anew() {
    let (_folder, _phase, serving) = serving();
    let mut events = start(Arc::clone(&serving), v1::WatchTasksRequest::default()).unwrap();
    let mut next = async || events.recv().await.unwrap().unwrap();
    assert!(matches!(next().await.event, Some(Event::Snapshot(_))));
    assert_eq!(next().await.event, Some(Event::UpToDate(v1::UpToDate {})));
    note(&serving, 1, 100);
    assert_eq!(next().await.resume_generation, 0, "the watch is on its way, and 99 changes wait for room");
    note(&serving, 2, 5_000);
    note(&serving, 3, 1);
    for told in 1..100 {
        assert_eq!(next().await.resume_generation, u64::from(told == 99));
    }
    let missed = v1::TaskSnapshot { reason: v1::SnapshotReason::Missed.into(), tasks: 0 };
    assert_eq!(next().await.event, Some(Event::Snapshot(missed)));
    let last = next().await;
    assert_eq!((last.event, last.resume_generation), (Some(Event::UpToDate(v1::UpToDate {})), 3));
}
