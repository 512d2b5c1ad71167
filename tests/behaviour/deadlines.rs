//! A deadline holds at every stage, and work nobody waits for is not done.

use std::time::Duration;

use tests::TestServer;
use tonic::{Code, Request};

use crate::asking::{ask, input};

fn impatient(text: &str, patience: Duration) -> Request<api::v1::ClassifyRequest> {
    let mut request = Request::new(ask("mood", vec![input(text)]));
    request.set_timeout(patience);
    request
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_queue_is_deadline_exceeded_and_costs_no_work() {
    let server = TestServer::start().await;
    server.gate.close();
    let mut classifier = server.classifier();
    let held = tokio::spawn(async move { classifier.classify(ask("mood", vec![input("first")])).await });
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    let status = server.classifier().classify(impatient("second", Duration::from_millis(50))).await;
    let status = status.expect_err("the deadline passes while the worker is held");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    server.gate.open();
    held.await.unwrap().unwrap();
    let before = server.rows_seen();
    server.classifier().classify(ask("mood", vec![input("third")])).await.unwrap();
    assert_eq!(server.rows_seen(), before + 1, "the expired row never reached the model");
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_row_out_of_the_queue() {
    let server = TestServer::start().await;
    server.gate.close();
    let mut classifier = server.classifier();
    let held = tokio::spawn(async move { classifier.classify(ask("mood", vec![input("first")])).await });
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    let mut classifier = server.classifier();
    let left = tokio::spawn(async move { classifier.classify(ask("mood", vec![input("second")])).await });
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    server.gate.open();
    held.await.unwrap().unwrap();
    let before = server.rows_seen();
    server.classifier().classify(ask("mood", vec![input("third")])).await.unwrap();
    assert_eq!(server.rows_seen(), before + 1);
}
