//! 1 some inputs failed, 2 usage, 3 cannot reach the server, 4 refused by the server.

use std::net::TcpListener;

use crate::headwater;
use crate::rule_server::RuleServer;

#[tokio::test]
async fn a_server_that_is_not_there_is_3() {
    // Bound and dropped: nothing listens there now.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = headwater(&["tasks", "--addr", &format!("http://127.0.0.1:{port}")], "").await;
    assert_eq!((run.status, run.output.as_str()), (3, ""));
    assert!(run.errors.starts_with("headwater: cannot reach http://127.0.0.1:"), "{}", run.errors);
}

#[tokio::test]
async fn a_call_that_is_refused_is_4_and_says_why() {
    let address = RuleServer::default().start().await;
    let run = headwater(&["classify", "no/such", "text", "--addr", &address], "").await;
    assert_eq!(run.status, 4);
    assert_eq!(run.errors, "headwater: NOT_FOUND: task \"no/such\" is unknown\n");
}

#[tokio::test]
async fn a_stream_that_is_refused_is_4_not_a_failed_row() {
    let address = RuleServer::default().start().await;
    let run = headwater(&["classify", "secret", "--input", "-", "--addr", &address], "{\"text\": \"a\"}\n").await;
    assert_eq!((run.status, run.output.as_str()), (4, ""));
    assert_eq!(run.errors, "headwater: PERMISSION_DENIED: not for you\n");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_2_and_needs_no_server() {
    let run = headwater(&["classify", "a/b", "--input", "/no/such/file"], "").await;
    assert_eq!(run.status, 2);
    assert!(run.errors.contains("cannot read /no/such/file"), "{}", run.errors);
}
