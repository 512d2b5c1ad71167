//! A call that is refused by its headers costs its connection nothing, also where its body comes late: others share it.

use std::io::Cursor;
use std::time::Duration;

use http::Request;
use tests::TestServer;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::raw_calls::{CLASSIFY, connect, framed, good_message};

const PATIENCE: Duration = Duration::from_secs(30);
/// More than a connection survives of what comes for streams that are closed.
const REFUSED: usize = 300;

fn request(token: &str) -> Request<()> {
    let request = Request::post(format!("http://headwater{CLASSIFY}")).header("content-type", "application/grpc");
    request.header("te", "trailers").header("authorization", format!("Bearer {token}")).body(()).unwrap()
}

#[tokio::test]
async fn bodies_of_refused_calls_may_come_after_the_refusal() {
    let (server, good) = TestServer::start_with_credentials().await;
    let mut requests = connect(&server).await;
    let message = || Cursor::new(framed(0, &good_message()));
    for call in 0..REFUSED {
        let (refused, mut body) = requests.send_request(request("nonsense"), false).unwrap();
        let refused = timeout(PATIENCE, refused).await.expect("it is refused in time").unwrap();
        let status = Status::from_header_map(refused.headers()).unwrap();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(timeout(PATIENCE, refused.into_body().trailers()).await.expect("it ends").is_ok());
        body.send_data(message(), true).unwrap_or_else(|error| panic!("the stream of call {call} is open: {error}"));
    }
    let (answered, mut body) = requests.send_request(request(&good), false).expect("the connection stands");
    body.send_data(message(), true).unwrap();
    let answered = timeout(PATIENCE, answered).await.expect("it is answered in time").unwrap();
    assert!(Status::from_header_map(answered.headers()).is_none_or(|status| status.code() == Code::Ok));
}

#[tokio::test]
async fn a_body_that_never_comes_is_waited_for_a_while_and_not_for_ever() {
    let (server, _) = TestServer::start_with_credentials().await;
    let mut requests = connect(&server).await;
    let (refused, mut body) = requests.send_request(request("nonsense"), false).unwrap();
    refused.await.unwrap();
    let reset = timeout(PATIENCE, std::future::poll_fn(|cx| body.poll_reset(cx))).await.expect("it is closed in time");
    assert_eq!(reset.unwrap(), h2::Reason::NO_ERROR);
}
