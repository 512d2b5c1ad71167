//! A token that is revoked lets nobody in from the acknowledgement on, and streams that it opened end within a second.

use std::time::Duration;

use api::v1;
use api::v1::classifier_service_client::ClassifierServiceClient;
use tests::{Random, TestServer, effort, found};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::asking::{ask, input};
use crate::credentials::{token, with};
use crate::streaming::message;

/// Streams are looked after four times a second; a revocation comes at any moment between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// Calls at once, over the connection that stands and over new ones.
const CALLS: usize = 16;

/// When the stream ended, with which code.
fn end_of<T: Send + 'static>(mut stream: Streaming<T>) -> JoinHandle<(Instant, Code)> {
    tokio::spawn(async move {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return (Instant::now(), Code::Ok),
                Err(status) => return (Instant::now(), status.code()),
            }
        }
    })
}

/// Revokes a token under two open streams; how long after the acknowledgement the later one ended.
async fn revoke(server: &TestServer, operator: &str, moment: Duration) -> Duration {
    let (secret, id) = token(server, operator, "default", &[v1::Scope::Infer]).await;
    let watching = server.catalog().watch_tasks(with(&secret, v1::WatchTasksRequest::default())).await.unwrap();
    let (rows, waiting) = mpsc::channel(4);
    let rows_of = with(&secret, ReceiverStream::new(waiting));
    let mut classifying = server.classifier().classify_stream(rows_of).await.unwrap().into_inner();
    let opened = Instant::now();
    while opened.elapsed() < moment {
        rows.send(message("1", "mood", "fine")).await.unwrap();
        classifying.message().await.unwrap().expect("the stream answers while its token is good");
    }
    let ends = [end_of(watching.into_inner()), end_of(classifying)];

    server.tenants().revoke_token(with(operator, v1::RevokeTokenRequest { id })).await.unwrap();
    let acknowledged = Instant::now();
    let calls = (0..CALLS).map(|call| {
        let channel = if call % 2 == 0 { server.channel() } else { server.own_channel() };
        let request = with(&secret, ask("mood", vec![input("fine")]));
        tokio::spawn(async move { ClassifierServiceClient::new(channel).classify(request).await })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        assert_eq!(call.await.unwrap().expect_err("it is revoked").code(), Code::Unauthenticated);
    }
    let mut latest = Duration::ZERO;
    for end in ends {
        let (ended, code) = timeout(Duration::from_secs(60), end).await.expect("it ends at all").unwrap();
        assert_eq!(code, Code::Unauthenticated);
        latest = latest.max(ended.saturating_duration_since(acknowledged));
    }
    latest
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_and_every_open_stream_ends_in_time() {
    let within = effort(Duration::from_secs(60), Duration::from_secs(1));
    let (server, operator) = TestServer::start_with_credentials().await;
    let mut random = Random::new(4);
    let mut worst = Duration::ZERO;
    let revocations = effort(2, 20);
    for _ in 0..revocations {
        let moment = BETWEEN_LOOKS.mul_f64(random.below(1_000) as f64 / 1_000.0);
        worst = worst.max(revoke(&server, &operator, moment).await);
    }
    assert!(worst < within, "a stream ended {worst:?} after its token");
    found(&format!(
        "{revocations} tokens revoked: 0 of {} calls accepted, the last of {} streams ended after {worst:?}",
        revocations * CALLS,
        revocations * 2
    ));
}
