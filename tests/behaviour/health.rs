//! Health says SERVING only while answers are to be had.

use tests::{Gate, TestServer};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::asking::{ask, input};

async fn status_of(server: &TestServer, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(server.channel()).check(request).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn not_serving_until_the_encoder_is_warm() {
    let gate = Gate::default();
    gate.close();
    let server = TestServer::start_held(gate.clone()).await;
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    assert_eq!(status_of(&server, "").await, ServingStatus::NotServing);
    let early = server.classifier().classify(ask("mood", vec![input("x")])).await.expect_err("too early");
    assert_eq!(early.code(), Code::Unavailable);
    server.gate.open();
    server.until(ServingStatus::Serving).await;
    for service in ["", "headwater.v1.ClassifierService", "headwater.v1.CatalogService", "headwater.v1.HeadService"] {
        assert_eq!(status_of(&server, service).await, ServingStatus::Serving, "{service}");
    }
}
