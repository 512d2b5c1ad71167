//! A panic fails the rows of its batch, not the process.

use tests::TestServer;
use tonic::Code;

use crate::asking::{ask, input};

#[tokio::test]
async fn a_panic_in_the_model_fails_its_batch_and_the_worker_comes_back() {
    let server = TestServer::start().await;
    server.gate.panic_next(1);
    let status = server.classifier().classify(ask("mood", vec![input("x")])).await.expect_err("the model panicked");
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("panic"), "details are for the log: {}", status.message());
    server.classifier().classify(ask("mood", vec![input("x")])).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_keeps_panicking_takes_the_server_down_with_a_reason() {
    let server = TestServer::start().await;
    server.gate.panic_next(100);
    let mut classifier = server.classifier();
    // Each rebuilt worker panics at its warm-up row, so the first ask is all it takes.
    let status = classifier.classify(ask("mood", vec![input("x")])).await.expect_err("the model panicked");
    assert_eq!(status.code(), Code::Internal);
    drop(classifier);
    let failure = server.ended().await.expect_err("the server does not go on without a worker");
    assert!(failure.to_string().contains("panics within"), "{failure}");
}
