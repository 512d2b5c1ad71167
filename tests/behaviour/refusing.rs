//! Bad input gets a clear refusal and changes nothing.

use api::v1;
use tests::TestServer;
use tonic::Code;

use crate::asking::{ask, fields, input};

async fn refusal(server: &TestServer, request: v1::ClassifyRequest) -> tonic::Status {
    server.classifier().classify(request).await.expect_err("the call is refused")
}

#[tokio::test]
async fn an_unknown_task_and_an_unknown_version_read_the_same() {
    let server = TestServer::start().await;
    let task = refusal(&server, ask("nothing", vec![input("x")])).await;
    let version = refusal(&server, v1::ClassifyRequest { version: "9".into(), ..ask("mood", vec![input("x")]) }).await;
    let alias = refusal(&server, v1::ClassifyRequest { version: "next".into(), ..ask("mood", vec![input("x")]) }).await;
    for status in [&task, &version, &alias] {
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!((status.message(), status.details()), (task.message(), task.details()));
    }
}

#[tokio::test]
async fn fields_a_kind_has_no_use_for_are_named() {
    let server = TestServer::start().await;
    let two = || ["a", "b"].map(String::from).to_vec();
    let cases = [
        ("mood", v1::Input::default(), "inputs[1].text"),
        ("mood", v1::Input { choices: two(), ..input("x") }, "inputs[1].choices"),
        ("mood", v1::Input { tokens: two(), ..input("x") }, "inputs[1].tokens"),
        ("ending", input("x"), "inputs[1].choices"),
        ("ending", v1::Input { text_pair: Some("y".into()), choices: two(), ..input("x") }, "inputs[1].text_pair"),
        ("ending", v1::Input { choices: vec!["a".into(), String::new()], ..input("x") }, "inputs[1].choices[1]"),
        ("names", v1::Input { tokens: two(), ..input("x") }, "inputs[1].tokens"),
        ("names", v1::Input { tokens: vec!["a".into(), String::new()], ..v1::Input::default() }, "inputs[1].tokens[1]"),
    ];
    for (task, bad, field) in cases {
        let good = if task == "ending" { v1::Input { choices: two(), ..input("x") } } else { input("x") };
        let status = refusal(&server, ask(task, vec![good, bad.clone()])).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{task} {bad:?}");
        assert_eq!(fields(&status), [field], "{}", status.message());
    }
}

#[tokio::test]
async fn each_limit_is_named_with_what_was_found() {
    use tonic_types::StatusExt;
    let server = TestServer::start().await;
    let too_long = refusal(&server, ask("mood", vec![input(&"x".repeat(65_537))])).await;
    let too_many = refusal(&server, ask("mood", vec![input("x"); 257])).await;
    let options = v1::ClassifyOptions { truncation: v1::Truncation::Refuse.into(), ..v1::ClassifyOptions::default() };
    let cut = v1::ClassifyRequest { options: Some(options), ..ask("mood", vec![input(&"word ".repeat(100))]) };
    let cut = refusal(&server, cut).await;
    for (status, limit, actual) in [(too_long, "65536", "65537"), (too_many, "256", "257"), (cut, "64", "102")] {
        assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
        let details = status.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!((metadata["limit"].as_str(), metadata["actual"].as_str()), (limit, actual));
    }
}

#[tokio::test]
async fn exactly_at_the_limits_is_accepted() {
    let server = TestServer::start().await;
    let reply = server.classifier().classify(ask("mood", vec![input("x"); 256])).await.unwrap().into_inner();
    assert_eq!(reply.predictions.len(), 256);
    assert!(server.classifier().classify(ask("mood", vec![input(&"x".repeat(65_536))])).await.is_ok());
}

#[tokio::test]
async fn unknown_enum_numbers_and_empty_messages_are_answers() {
    let server = TestServer::start().await;
    let empty = refusal(&server, v1::ClassifyRequest::default()).await;
    assert_eq!((empty.code(), fields(&empty)), (Code::InvalidArgument, vec!["task".to_owned()]));
    let options = v1::ClassifyOptions { mode: 77, ..v1::ClassifyOptions::default() };
    let unknown =
        refusal(&server, v1::ClassifyRequest { options: Some(options), ..ask("mood", vec![input("x")]) }).await;
    assert_eq!((unknown.code(), fields(&unknown)), (Code::InvalidArgument, vec!["options.mode".to_owned()]));
    let none = refusal(&server, ask("mood", Vec::new())).await;
    assert_eq!((none.code(), fields(&none)), (Code::InvalidArgument, vec!["inputs".to_owned()]));
}

#[tokio::test]
async fn a_message_over_the_limit_is_the_clients_fault() {
    let server = TestServer::start().await;
    let status = refusal(&server, ask("mood", vec![input(&"x".repeat(60_000)); 20])).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
}

#[tokio::test]
async fn refused_rows_never_reach_the_model() {
    let server = TestServer::start().await;
    let before = server.rows_seen();
    refusal(&server, ask("mood", vec![input("fine"), v1::Input::default()])).await;
    assert_eq!(server.rows_seen(), before);
}
