//! Tenants over real sockets: a busy encoder is divided by their weights, and one that asks far too much costs another
//! no call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::v1;
use tests::{TestServer, found};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::asking::{ask, input};
use crate::credentials::with;
use crate::quotas::{classify, limit, start};

const CALLS: usize = 50;
const ROWS: usize = 20;

/// Asks for fifty times twenty rows, each with `words` and two numbers of its own between what marks its ends.
fn backlog(server: &TestServer, token: &str, words: &str) -> Vec<JoinHandle<Result<(), Status>>> {
    let call = |call: usize| {
        let inputs = (0..ROWS).map(|row| input(&format!("{words} {call} {row}"))).collect();
        let (mut classifier, request) = (server.classifier(), with(token, ask("mood", inputs)));
        tokio::spawn(async move { classifier.classify(request).await.map(drop) })
    };
    (0..CALLS).map(call).collect()
}

#[tokio::test]
async fn tenants_that_both_wait_are_served_tokens_by_their_weights() {
    let (server, operator, [acme, zoo]) = start().await;
    for (name, weight) in [("acme", 3.0), ("zoo", 1.0)] {
        limit(&server, &operator, name, v1::Quota { weight: Some(weight), ..v1::Quota::default() }).await;
    }
    server.gate.close();
    let (mut classifier, first) = (server.classifier(), with(&operator, ask("mood", vec![input("first")])));
    let first = tokio::spawn(async move { classifier.classify(first).await });
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    // Rows of 5 tokens are the heavy tenant's, of 6 the light one's.
    let waiting = [backlog(&server, &acme, "heavy"), backlog(&server, &zoo, "not heavy")];
    server.until_metric("rows_queued", (2 * CALLS * ROWS) as u64).await;
    server.gate.record();
    server.gate.open();
    first.await.unwrap().unwrap();
    for call in waiting.into_iter().flatten() {
        call.await.unwrap().unwrap();
    }
    let (mut heavy, mut light) = (0, 0);
    for tokens in server.gate.batches().into_iter().flatten().filter(|tokens| *tokens > 3) {
        if heavy == 5 * CALLS * ROWS {
            break;
        }
        *(if tokens == 5 { &mut heavy } else { &mut light }) += tokens;
    }
    let ratio = heavy as f64 / light as f64;
    assert!((ratio / 3.0 - 1.0).abs() < 0.15, "{heavy} tokens to {light}");
}

#[tokio::test]
async fn a_tenant_at_ten_times_its_quota_costs_another_no_call() {
    let (server, operator, [acme, zoo]) = start().await;
    let quota = |calls: f64, rows| v1::Quota {
        requests_per_second: Some(calls),
        tokens_per_second: Some(10.0 * calls),
        rows_in_flight: Some(rows),
        ..v1::Quota::default()
    };
    limit(&server, &operator, "acme", quota(20.0, 4)).await;
    limit(&server, &operator, "zoo", quota(1_000.0, 10)).await;
    let server = Arc::new(server);
    let (accepted, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let flood = (0..8).map(|caller| {
        let (server, token) = (Arc::clone(&server), acme.clone());
        let (accepted, refused) = (Arc::clone(&accepted), Arc::clone(&refused));
        tokio::spawn(async move {
            for call in 0.. {
                match classify(&server, &token, &[&format!("{caller} {call}")]).await {
                    Ok(()) => accepted.fetch_add(1, Ordering::Relaxed),
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
        })
    });
    let flood: Vec<_> = flood.collect();
    let load = || (accepted.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    // A tenth of what it may in a second, amid ten times what the other may.
    let mut calls = 0;
    while calls < 100 || load().1 < 9 * load().0 {
        classify(&server, &zoo, &[&format!("call {calls}")]).await.expect("the other tenant's calls are its own");
        calls += 1;
    }
    flood.iter().for_each(JoinHandle::abort);
    let (accepted, refused) = load();
    found(&format!("{refused} of {} calls refused to the one, 0 of {calls} to the other", accepted + refused));
}
