//! Two tenants on one engine: what one sends does not decide how long the other waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use engine::testing::{CountingModel, WordTokenizer, small_limits};
use engine::{
    Alias, Ask, Engine, EngineParts, HeadKind, Input, Limits, LiveTask, Model, Reading, Selector, ServedHead, TaskKey,
    Version, WorkerState,
};
use tests::{Gate, GatedModel, HIDDEN, head};

fn key(tenant: &str) -> TaskKey {
    TaskKey { tenant: tenant.parse().unwrap(), task: "mood".parse().unwrap() }
}

/// An engine with a task of the same name for each of two tenants, whose batches have room for 20 tokens.
async fn engine(gate: &Gate) -> Arc<Engine> {
    gate.record();
    let held = gate.clone();
    let parts = EngineParts {
        factory: Box::new(move || {
            let model = CountingModel::new("sha256:0".to_owned(), HIDDEN, Arc::new(AtomicUsize::new(0)));
            Ok(Box::new(GatedModel::new(model, held.clone())) as Box<dyn Model>)
        }),
        replicas: 1,
        tokenizer: Arc::new(WordTokenizer { max_tokens: 64 }),
        limits: Limits { batch_tokens: 20, ..small_limits() },
    };
    let engine = Arc::new(Engine::start(parts).unwrap());
    engine.worker_state().wait_for(|state| *state == WorkerState::Ready).await.unwrap();
    for tenant in ["flood", "small"] {
        let served = ServedHead {
            key: key(tenant),
            version: Version::FIRST,
            digest: String::new(),
            encoder_digest: String::new(),
            forced: false,
            created_unix_seconds: 0,
            head: Arc::new(head(HeadKind::Classification, &["glad", "sad"], 1)),
        };
        engine.live().publish(LiveTask {
            key: key(tenant),
            versions: BTreeMap::from([(Version::FIRST, Arc::new(served))]),
            aliases: BTreeMap::from([(Alias::live(), Version::FIRST)]),
            traffic: None,
            retention: engine::Retention::default(),
            generation: 1,
        });
    }
    engine
}

async fn ask(engine: &Engine, tenant: &str, texts: impl Iterator<Item = String>) {
    let input = |text| Input { text: Some(text), ..Input::default() };
    let ask = Ask {
        key: key(tenant),
        selector: Selector::Alias(Alias::live()),
        inputs: texts.map(input).collect(),
        mode: None,
        reading: Reading::default(),
    };
    engine.classify(ask).await.unwrap();
}

/// Returns once so many rows are in line.
async fn queued(engine: &Engine, rows: usize) {
    let reaching = async {
        while engine.queued_rows() < rows {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reaching).await.unwrap();
}

/// The flood's rows have 4 tokens, the small tenant's 5, so that a batch tells whose they are.
#[tokio::test]
async fn a_small_tenants_row_is_in_the_next_batch_however_many_rows_another_has() {
    let gate = Gate::default();
    let engine = engine(&gate).await;
    gate.close();
    let flood = (0..20).map(|call| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { ask(&engine, "flood", (0..50).map(|row| format!("{call} {row}"))).await })
    });
    let flood: Vec<_> = flood.collect();
    let held = gate.clone();
    tokio::task::spawn_blocking(move || held.wait_until_held()).await.unwrap();
    // A batch of five is held, of which one call's fifty rows made the most.
    queued(&engine, 995).await;
    let small = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { ask(&engine, "small", ["one two three".to_owned()].into_iter()).await }
    });
    queued(&engine, 996).await;
    gate.open();
    small.await.unwrap();
    for call in flood {
        call.await.unwrap();
    }
    let batches = gate.batches();
    let its_batch = batches.iter().position(|batch| batch.contains(&5)).unwrap();
    // The first batch is the model's own row, the second was held with what had come by then.
    assert_eq!(its_batch, 2);
    assert!(batches.len() > 150, "the flood took {} batches", batches.len());
}

/// A check gives up its place behind callers after a while, so a slow machine may need another try.
#[tokio::test]
async fn the_row_of_a_heads_check_shares_no_batch_with_a_callers() {
    let gate = Gate::default();
    let engine = engine(&gate).await;
    let tried = Arc::new(head(HeadKind::Classification, &["no", "yes"], 9));
    let ask_once = |text: String| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { ask(&engine, "small", [text].into_iter()).await })
    };
    let mut apart = false;
    for attempt in 0..5 {
        gate.close();
        let first = ask_once(format!("{attempt} first"));
        let held = gate.clone();
        tokio::task::spawn_blocking(move || held.wait_until_held()).await.unwrap();
        let checking = tokio::spawn({
            let (engine, tried) = (Arc::clone(&engine), Arc::clone(&tried));
            async move { engine.try_head(tried).await }
        });
        queued(&engine, 1).await;
        let second = ask_once(format!("{attempt} second"));
        queued(&engine, 2).await;
        gate.open();
        checking.await.unwrap().unwrap();
        first.await.unwrap();
        second.await.unwrap();
        apart |= !gate.batches().iter().any(|batch| batch.contains(&4) && batch.contains(&5));
    }
    assert!(apart, "the check's 5 tokens went together with a caller's 4");
}
