//! Calls that no proper client makes: HTTP/2 with every header and byte in the test's own hand.

use std::io::Cursor;
use std::time::Duration;

use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use tests::TestServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::asking::{ask, fields, input};

pub(crate) const CLASSIFY: &str = "/headwater.v1.ClassifierService/Classify";
const CLASSIFY_STREAM: &str = "/headwater.v1.ClassifierService/ClassifyStream";
const INSTALL_HEAD: &str = "/headwater.v1.HeadService/InstallHead";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

struct RawCall {
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    ends: bool,
}

/// A call with a body that ends.
fn call(path: &'static str, body: Vec<u8>) -> RawCall {
    let headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
    RawCall { method: Method::POST, path, headers, body, ends: true }
}

impl RawCall {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value));
        self
    }

    /// The status that the server ends the call with.
    async fn status(self, server: &TestServer) -> Status {
        let answered = tokio::time::timeout(Duration::from_secs(30), self.answered(server)).await;
        answered.expect("the server ends the call by itself")
    }

    async fn answered(self, server: &TestServer) -> Status {
        let mut requests = connect(server).await;
        let mut request = Request::builder().method(self.method).uri(format!("http://headwater{}", self.path));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let (response, mut body) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        // The server may have refused before it saw the body.
        let _ = body.send_data(Cursor::new(self.body), self.ends);
        let (head, mut reply) = response.await.unwrap().into_parts();
        if let Some(status) = Status::from_header_map(&head.headers) {
            return status;
        }
        while let Some(data) = reply.data().await {
            let n_bytes = data.unwrap().len();
            reply.flow_control().release_capacity(n_bytes).unwrap();
        }
        let trailers: HeaderMap = reply.trailers().await.unwrap().expect("a call ends with trailers");
        Status::from_header_map(&trailers).expect("the trailers hold a status")
    }
}

pub(crate) async fn connect(server: &TestServer) -> SendRequest<Cursor<Vec<u8>>> {
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (requests, connection) = h2::client::Builder::new().handshake(socket).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// A message as it travels: flag, length, bytes.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

pub(crate) fn good_message() -> Vec<u8> {
    prost::Message::encode_to_vec(&ask("mood", vec![input("fine")]))
}

#[tokio::test]
async fn the_server_keeps_the_deadline_of_a_client_that_does_not() {
    let server = TestServer::start().await;
    server.gate.close();
    let status = call(CLASSIFY, framed(0, &good_message())).with("grpc-timeout", "50m").status(&server).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(status.get_error_details().error_info().unwrap().metadata.contains_key("stage"));
    server.gate.open();
}

#[tokio::test]
async fn timeouts_are_read_as_the_protocol_writes_them() {
    let server = TestServer::start().await;
    let rows_before = server.rows_seen();
    for timeout in ["0n", "1n", "0S", "0H"] {
        let status = call(CLASSIFY, framed(0, &good_message())).with("grpc-timeout", timeout).status(&server).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{timeout}");
    }
    for timeout in ["", "abc", "-1S", "1", "1.5S", "123456789S", "1 S"] {
        let status = call(CLASSIFY, framed(0, &good_message())).with("grpc-timeout", timeout).status(&server).await;
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["grpc-timeout".into()]), "{timeout}");
    }
    assert_eq!(server.rows_seen(), rows_before);
    let status = call(CLASSIFY, framed(0, &good_message())).with("grpc-timeout", "99999999H").status(&server).await;
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test]
async fn every_kind_of_stream_ends_at_its_deadline() {
    let server = TestServer::start().await;
    for path in [CLASSIFY_STREAM, INSTALL_HEAD] {
        let open = RawCall { ends: false, ..call(path, Vec::new()).with("grpc-timeout", "50m") };
        assert_eq!(open.status(&server).await.code(), Code::DeadlineExceeded, "{path}");
    }
    let watch = call(WATCH, framed(0, &[])).with("grpc-timeout", "50m");
    assert_eq!(watch.status(&server).await.code(), Code::DeadlineExceeded);
    let half = RawCall { ends: false, ..call(CLASSIFY, vec![0, 0, 0]).with("grpc-timeout", "50m") };
    assert_eq!(half.status(&server).await.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_fault() {
    let server = TestServer::start().await;
    let not_utf8 = [b"\x0a\x02\xff\xfe".to_vec(), b"\x0a\x04mood\x1a\x04\x0a\x02\xff\xfe".to_vec()];
    let cases = [
        ("garbage", framed(0, b"\xff\xff\xff\xff")),
        ("a task that is not UTF-8", framed(0, &not_utf8[0])),
        ("a text that is not UTF-8", framed(0, &not_utf8[1])),
        ("another wire type", framed(0, b"\x08\x01")),
        ("a field cut short", framed(0, b"\x0a\x09mo")),
        ("nested a thousand deep", framed(0, &[b"\x1a\x7f".as_slice(); 1_000].concat())),
        ("compressed, and nobody said how", framed(1, &good_message())),
        ("a flag that does not exist", framed(7, &good_message())),
        ("fewer bytes than announced", framed(0, &good_message())[..9].to_vec()),
        ("half a prefix", vec![0, 0, 0]),
        ("no message", Vec::new()),
    ];
    for (case, body) in cases {
        let status = call(CLASSIFY, body.clone()).status(&server).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{case}: {status:?}");
        assert_eq!(fields(&status), ["message"], "{case}: {status:?}");
    }
    for path in [CLASSIFY_STREAM, INSTALL_HEAD] {
        let status = call(path, framed(0, b"\xff\xff\xff\xff")).status(&server).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status:?}");
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_told_the_limit_before_it_is_sent() {
    let server = TestServer::start().await;
    for path in [CLASSIFY, CLASSIFY_STREAM] {
        let announced = [&[0], &u32::MAX.to_be_bytes()[..], b"abc"].concat();
        let status = RawCall { ends: false, ..call(path, announced) }.status(&server).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let details = status.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!((metadata["limit"].as_str(), metadata["actual"].as_str()), ("1048576", "4294967295"));
    }
}

#[tokio::test]
async fn what_is_no_call_of_ours_is_unimplemented() {
    let server = TestServer::start().await;
    let body = || framed(0, &good_message());
    let cases = [
        call("/", body()),
        call("/headwater.v1.ClassifierService/Nothing", body()),
        call("/no.such.Service/Classify", body()),
        call(CLASSIFY, body()).with("content-type", "application/json"),
        call(CLASSIFY, body()).with("content-type", "application/grpc-web"),
        call(CLASSIFY, body()).with("content-type", "application/grpc+json"),
        call(CLASSIFY, body()).with("grpc-encoding", "gzip"),
        RawCall { method: Method::GET, ..call(CLASSIFY, Vec::new()) },
        RawCall { method: Method::PUT, ..call(CLASSIFY, body()) },
        RawCall { headers: Vec::new(), ..call(CLASSIFY, body()) },
    ];
    for case in cases {
        let name = format!("{} {} {:?}", case.method, case.path, case.headers);
        let status = case.status(&server).await;
        assert_eq!(status.code(), Code::Unimplemented, "{name}: {status:?}");
    }
    for content_type in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
        let status = call(CLASSIFY, body()).with("content-type", content_type).status(&server).await;
        assert_eq!(status.code(), Code::Ok, "{content_type}: {status:?}");
    }
}

#[tokio::test]
async fn another_protocol_is_shown_the_door_and_others_notice_nothing() {
    let server = TestServer::start().await;
    for greeting in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03xxxxxxxxxxxxxxxx",
    ] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(greeting).await.unwrap();
        let mut answer = Vec::new();
        // Closed with bytes unread counts as a reset on some systems.
        let _ = socket.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
    let status = call(CLASSIFY, framed(0, &good_message())).status(&server).await;
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test]
async fn a_field_from_the_future_is_no_reason_to_refuse() {
    let server = TestServer::start().await;
    let newer = [good_message(), b"\x7a\x03new".to_vec()].concat();
    let status = call(CLASSIFY, framed(0, &newer)).status(&server).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}
