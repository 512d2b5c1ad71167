//! Full is an answer, given at once.

use engine::Limits;
use engine::testing::small_limits;
use tests::TestServer;
use tonic::Code;
use tonic_types::StatusExt;

use crate::asking::{ask, input};

#[tokio::test]
async fn rows_over_the_in_flight_limit_are_refused_with_advice_to_retry() {
    let server = TestServer::start_with(Limits { max_in_flight_rows: 2, ..small_limits() }).await;
    let status =
        server.classifier().classify(ask("mood", vec![input("x"); 3])).await.expect_err("three rows, two places");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert!(details.retry_info().is_some() && details.quota_failure().is_some(), "{details:?}");
    let answered = server.classifier().classify(ask("mood", vec![input("x"); 2])).await;
    assert!(answered.is_ok(), "the refused call gave its places back");
}

#[tokio::test]
async fn bytes_over_the_in_flight_limit_are_refused() {
    let server = TestServer::start_with(Limits { max_in_flight_bytes: 10, ..small_limits() }).await;
    let status =
        server.classifier().classify(ask("mood", vec![input("eleven bytes")])).await.expect_err("too many bytes");
    assert_eq!(status.code(), Code::ResourceExhausted);
}
