//! Several models on one queue: they work at the same time, and stand and fall together.

use engine::testing::small_limits;
use server::Ended;
use tests::TestServer;
use tonic::Code;

use crate::asking::{ask, input};

type Call = tokio::task::JoinHandle<Result<tonic::Response<api::v1::ClassifyResponse>, tonic::Status>>;

fn call(server: &TestServer, text: &str) -> Call {
    let mut classifier = server.classifier();
    let request = ask("mood", vec![input(text)]);
    tokio::spawn(async move { classifier.classify(request).await })
}

#[tokio::test]
async fn batches_run_at_the_same_time_and_a_stop_waits_for_all() {
    let mut server = TestServer::start_several(small_limits(), 2).await;
    // And each of the bundle's six heads has been tried.
    assert_eq!(server.rows_seen(), 2 + 6, "each model has answered its warm-up row before the server serves");
    server.gate.close();
    let first = call(&server, "first");
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    let second = call(&server, "second");
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_so_many_held(2)).await.unwrap();
    server.ask_to_stop();
    server.gate.open();
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
    assert_eq!(server.ended().await.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn a_panic_of_one_is_its_own_batch_and_the_other_goes_on() {
    let server = TestServer::start_several(small_limits(), 2).await;
    server.gate.panic_next(1);
    let status = call(&server, "x").await.unwrap().expect_err("the model panicked");
    assert_eq!(status.code(), Code::Internal);
    for text in ["x", "y", "z"] {
        assert!(call(&server, text).await.unwrap().is_ok());
    }
    assert_eq!(server.metric("worker_restarts_total").await, 1);
}

#[tokio::test]
async fn one_that_is_down_for_good_takes_the_server_down() {
    let server = TestServer::start_several(small_limits(), 2).await;
    server.gate.panic_next(6);
    call(&server, "x").await.unwrap().expect_err("the model panicked");
    let failure = server.ended().await.expect_err("the server does not go on with half its models");
    assert!(failure.to_string().contains("panics within"), "{failure}");
}
