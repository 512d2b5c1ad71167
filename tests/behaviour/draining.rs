//! Stopping: what was admitted is answered, what is new is refused, and nothing holds the process.

use api::v1;
use server::Ended;
use tests::TestServer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::asking::{ask, input};

#[tokio::test]
async fn calls_in_flight_are_answered_and_watchers_are_told_first() {
    let mut server = TestServer::start().await;
    let mut statuses = HealthClient::new(server.channel())
        .watch(HealthCheckRequest { service: String::new() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(statuses.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.gate.close();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let mut classifier = server.classifier();
            tokio::spawn(async move { classifier.classify(ask("mood", vec![input("in flight")])).await })
        })
        .collect();
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    server.until_metric("rows_in_flight", 20).await;
    server.ask_to_stop();
    assert_eq!(statuses.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    server.gate.open();
    for call in calls {
        assert!(call.await.unwrap().is_ok(), "every admitted call is answered");
    }
    drop(statuses);
    assert_eq!(server.ended().await.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn fifty_long_replies_in_flight_arrive_whole_and_later_calls_are_told_to_go_elsewhere() {
    let mut server = TestServer::start().await;
    server.gate.close();
    let words = vec!["word"; 60].join(" ");
    let options = Some(v1::ClassifyOptions { logits: true, ..v1::ClassifyOptions::default() });
    let long = v1::ClassifyRequest { options, ..ask("names", vec![input(&words); 8]) };
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (mut classifier, ask) = (server.classifier(), long.clone());
            tokio::spawn(async move { classifier.classify(ask).await })
        })
        .collect();
    server.until_metric("rows_in_flight", 400).await;
    server.ask_to_stop();
    server.until(ServingStatus::NotServing).await;
    let late = server.classifier().classify(ask("mood", vec![input("late")])).await.expect_err("it drains");
    // Cancelled is the client's own word for a connection that takes no more calls.
    assert!([tonic::Code::Unavailable, tonic::Code::Cancelled].contains(&late.code()), "{late:?}");
    server.gate.open();
    for call in calls {
        let reply = call.await.unwrap().expect("every admitted call is answered").into_inner();
        assert!(prost::Message::encoded_len(&reply) >= 16 << 10 && reply.predictions.len() == 8);
    }
    assert_eq!(server.ended().await.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn silent_connections_and_idle_streams_do_not_hold_the_server() {
    let server = TestServer::start().await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let (_requests, open) = tokio::sync::mpsc::channel::<v1::ClassifyStreamRequest>(1);
    let open = tokio_stream::wrappers::ReceiverStream::new(open);
    let mut replies = server.classifier().classify_stream(open).await.unwrap().into_inner();
    let ended = server.stop().await.unwrap();
    assert_eq!(ended, Ended::Drained);
    let end = replies.message().await.expect_err("the stream is told that the server goes");
    assert_eq!(end.code(), tonic::Code::Unavailable);
    drop((silent, half));
}

#[tokio::test]
async fn what_is_no_http2_is_closed() {
    use tokio::io::AsyncReadExt;
    let server = TestServer::start().await;
    let mut http1 = TcpStream::connect(server.address).await.unwrap();
    http1.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Closed with or without a reset: either way nothing was answered.
    let _ = http1.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}
