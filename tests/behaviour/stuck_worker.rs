//! An encoder that does not come back from a batch is told of and asked no more, until it does.

use std::time::Duration;

use tests::TestServer;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::asking::{ask, input};

/// The gate holds the batch for good; nobody has to wait longer than this to hear of it.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// A machine with other work to do may be so much later.
const SPARE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn callers_are_sent_elsewhere_while_the_encoder_is_stuck() {
    let server = TestServer::start().await;
    // What a batch takes is known from the first on.
    server.classifier().classify(ask("mood", vec![input("before")])).await.unwrap();
    server.gate.close();
    let mut classifier = server.classifier();
    let held = tokio::spawn(async move { classifier.classify(ask("mood", vec![input("held")])).await });
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    let told = server.until(ServingStatus::NotServing);
    timeout(TOLD_WITHIN + SPARE, told).await.expect("health says so in time");
    let refused = server.classifier().classify(ask("mood", vec![input("later")])).await.expect_err("it is stuck");
    assert_eq!((refused.code(), server.metric("rows_queued").await), (Code::Unavailable, 0));
    assert_eq!(server.metric("worker_stalls_total").await, 1);
    server.gate.open();
    held.await.unwrap().expect("it was only slow");
    server.until(ServingStatus::Serving).await;
    server.classifier().classify(ask("mood", vec![input("after")])).await.unwrap();
}
