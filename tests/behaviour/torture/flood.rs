//! A tenant asks ten times what it may, and another hardly waits longer than alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::v1;
use tests::{TestServer, effort, found};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Code;

use super::statistics::one_round_holds;
use crate::quotas::{classify, limit, start};

/// Calls a second that each may make; the one makes ten times as many, the other a tenth.
const QUOTA: f64 = 200.0;
const MOST_TIMES_ALONE: f64 = 1.5;

/// The slowest but one in a hundred of so many calls of the small tenant's.
async fn slow_call(server: &TestServer, token: &str, calls: usize) -> Duration {
    let mut due = interval(Duration::from_secs_f64(10.0 / QUOTA));
    let mut latencies = Vec::with_capacity(calls);
    for call in 0..calls {
        due.tick().await;
        let started = Instant::now();
        classify(server, token, &[&format!("call {call}")]).await.expect("the other tenant's calls are its own");
        latencies.push(started.elapsed());
    }
    latencies.sort_unstable();
    latencies[(calls * 99 / 100).min(calls - 1)]
}

/// Asks ten times as often as it may, until it is stopped; counts how often that was refused.
fn flood(server: &Arc<TestServer>, token: &str, refused: &Arc<AtomicUsize>) -> JoinHandle<()> {
    let (server, token, refused) = (Arc::clone(server), token.to_owned(), Arc::clone(refused));
    tokio::spawn(async move {
        let mut due = interval(Duration::from_secs_f64(0.1 / QUOTA));
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            due.tick().await;
            let (server, token, refused) = (Arc::clone(&server), token.clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                if let Err(status) = classify(&server, &token, &["flood"]).await {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_ten_times_its_quota_hardly_slows_another() {
    let (server, operator, [acme, zoo]) = start().await;
    let quota = || v1::Quota { requests_per_second: Some(QUOTA), ..v1::Quota::default() };
    for tenant in ["acme", "zoo"] {
        limit(&server, &operator, tenant, quota()).await;
    }
    let server = Arc::new(server);
    let calls = effort(10, 500);
    let (holds, seen) = one_round_holds(async || {
        let alone = slow_call(&server, &zoo, calls).await;
        let refused = Arc::default();
        let flood = flood(&server, &acme, &refused);
        let beside = slow_call(&server, &zoo, calls).await;
        flood.abort();
        let times = beside.as_secs_f64() / alone.as_secs_f64();
        let refused = refused.load(Ordering::Relaxed);
        let seen = format!("{refused} calls refused to the one, of {calls} calls of the other 0");
        let seen = format!("{seen}, its p99 {alone:.2?} alone and {beside:.2?} beside the one");
        (times < MOST_TIMES_ALONE && refused > 10 * calls, seen)
    })
    .await;
    // A time says something only where there are enough of them, on a machine that does nothing else.
    assert!(holds || effort(true, false), "{seen}");
    found(&seen);
}
