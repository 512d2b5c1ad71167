//! Health says SERVING only while answers are to be had.

use tests::{Gate, TestServer};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::asking::{ask, input};
use crate::configuring;
use crate::reflecting::services;

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
    assert_eq!(status_of(&server, "").await, ServingStatus::Serving);
}

#[tokio::test]
async fn every_service_that_reflection_tells_of_has_its_own_health() {
    let (server, _asking) = configuring::start(&configuring::File::default()).await;
    let services = services(&server).await;
    let ours: Vec<_> = services.iter().filter(|name| name.starts_with("headwater.")).collect();
    assert!(ours.len() >= 7, "{services:?}");
    for service in ours {
        let request = HealthCheckRequest { service: service.clone() };
        let told = HealthClient::new(server.channel()).check(request).await.map(|reply| reply.into_inner().status());
        assert_eq!(told.map_err(|refusal| refusal.code()), Ok(ServingStatus::Serving), "{service}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_has_no_health() {
    let server = TestServer::start().await;
    for service in ["headwater.v1.ServerService", "headwater.v1.NoService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let told = HealthClient::new(server.channel()).check(request).await;
        assert_eq!(told.expect_err(service).code(), Code::NotFound);
    }
}
