//! A drain ends with its time, or a second later, whoever hangs on to the server and however.

use std::any::Any;
use std::io::Cursor;
use std::time::Duration;

use api::v1;
use api::v1::install_head_request::Part;
use h2::client::SendRequest;
use http::Request;
use tests::{Surroundings, TestServer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::asking::{ask, input};

const DRAIN: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(1);

/// Whatever has to be kept so that the server is held.
type Kept = Box<dyn Any + Send>;

/// A client over HTTP/2 that gives the server room for so many bytes of a reply.
async fn raw(server: &TestServer, window: u32) -> SendRequest<Cursor<Vec<u8>>> {
    let socket = TcpStream::connect(server.address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (requests, connection) = builder.initial_window_size(window).handshake(socket).await.unwrap();
    tokio::spawn(connection);
    requests
}

fn classify() -> Request<()> {
    let request = Request::post("http://headwater/headwater.v1.ClassifierService/Classify");
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

fn message() -> Vec<u8> {
    let message = prost::Message::encode_to_vec(&ask("mood", vec![input("held"); 100]));
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

async fn silent_connection(server: &TestServer) -> Kept {
    Box::new(TcpStream::connect(server.address).await.unwrap())
}

async fn half_a_body(server: &TestServer) -> Kept {
    let mut requests = raw(server, 65_535).await;
    let (response, mut body) = requests.send_request(classify(), false).unwrap();
    let message = message();
    body.send_data(Cursor::new(message[..message.len() / 2].to_vec()), false).unwrap();
    server.until_metric("calls_in_flight", 1).await;
    Box::new((requests, response, body))
}

async fn idle_client_that_never_reads(server: &TestServer) -> Kept {
    let before = server.metric("connections").await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    // The preface and an empty SETTINGS frame.
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    server.until_metric("connections", before + 1).await;
    Box::new(socket)
}

async fn open_watch_of_health(server: &TestServer) -> Kept {
    let request = HealthCheckRequest::default();
    let mut statuses = HealthClient::new(server.channel()).watch(request).await.unwrap().into_inner();
    statuses.message().await.unwrap();
    Box::new(statuses)
}

async fn upload_that_stands_still(server: &TestServer) -> Kept {
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    let header = v1::InstallHeadRequest { part: Some(Part::Header(v1::InstallHeader::default())) };
    sender.send(header).await.unwrap();
    let mut heads = server.heads();
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let call = tokio::spawn(async move { heads.install_head(messages).await.map(|_| ()) });
    server.until_metric("calls_in_flight", 1).await;
    Box::new((sender, call))
}

async fn reader_without_room(server: &TestServer) -> Kept {
    let mut requests = raw(server, 16).await;
    let (response, mut body) = requests.send_request(classify(), false).unwrap();
    body.send_data(Cursor::new(message()), true).unwrap();
    let mut reply = response.await.unwrap().into_body();
    let first = reply.data().await.unwrap().unwrap();
    assert!(first.len() <= 16, "the reply has no more room than that");
    Box::new((requests, reply))
}

/// How long a server took to end that was held so.
async fn time_to_end(hold: impl AsyncFn(&TestServer) -> Kept) -> Duration {
    let server = TestServer::start_among(Surroundings { drain: DRAIN, ..Surroundings::default() }).await;
    let kept = hold(&server).await;
    let asked = Instant::now();
    server.stop().await.expect("it ends well");
    let took = asked.elapsed();
    drop(kept);
    took
}

#[tokio::test]
async fn nobody_holds_a_server_beyond_its_drain_time() {
    let times = [
        ("a silent connection", time_to_end(silent_connection).await),
        ("half a body", time_to_end(half_a_body).await),
        ("an idle client that never reads", time_to_end(idle_client_that_never_reads).await),
        ("an open watch of health", time_to_end(open_watch_of_health).await),
        ("an upload that stands still", time_to_end(upload_that_stands_still).await),
        ("a reader without room", time_to_end(reader_without_room).await),
    ];
    for (who, took) in times {
        assert!(took <= DRAIN + GRACE, "{who} held it for {took:?}");
    }
}
