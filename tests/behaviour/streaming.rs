//! ClassifyStream: every message gets its own outcome.

use std::collections::BTreeMap;

use api::v1;
use api::v1::classify_stream_response::Outcome;
use tests::TestServer;
use tonic::Code;

use crate::asking::input;

pub(crate) fn message(id: &str, task: &str, text: &str) -> v1::ClassifyStreamRequest {
    v1::ClassifyStreamRequest {
        id: id.to_owned(),
        task: task.to_owned(),
        input: Some(input(text)),
        ..v1::ClassifyStreamRequest::default()
    }
}

async fn answers(server: &TestServer, messages: Vec<v1::ClassifyStreamRequest>) -> Vec<v1::ClassifyStreamResponse> {
    let mut replies = server.classifier().classify_stream(tokio_stream::iter(messages)).await.unwrap().into_inner();
    let mut answers = Vec::new();
    while let Some(reply) = replies.message().await.unwrap() {
        answers.push(reply);
    }
    answers
}

#[tokio::test]
async fn a_bad_message_gets_its_own_error_and_the_others_their_answers() {
    let server = TestServer::start().await;
    let messages = vec![
        message("a", "mood", "fine"),
        message("b", "nothing", "x"),
        message("c", "mood", ""),
        message("d", "length", "fine"),
    ];
    let answers = answers(&server, messages).await;
    let codes: BTreeMap<_, _> = answers
        .iter()
        .map(|answer| match answer.outcome.as_ref().unwrap() {
            Outcome::Prediction(_) => (answer.id.as_str(), Code::Ok),
            Outcome::Error(status) => (answer.id.as_str(), Code::from_i32(status.code)),
        })
        .collect();
    let expected = [("a", Code::Ok), ("b", Code::NotFound), ("c", Code::InvalidArgument), ("d", Code::Ok)];
    assert_eq!(codes, BTreeMap::from(expected));
    let refused = answers.iter().find(|answer| answer.id == "c").unwrap();
    let Some(Outcome::Error(status)) = &refused.outcome else { panic!("{refused:?}") };
    assert!(!status.details.is_empty(), "details travel with a row's error");
}

#[tokio::test]
async fn more_messages_than_fit_in_flight_are_all_answered() {
    let server = TestServer::start().await;
    let messages: Vec<_> = (0..1_000).map(|n| message(&n.to_string(), "mood", &format!("text {n}"))).collect();
    let answers = answers(&server, messages).await;
    assert_eq!(answers.len(), 1_000);
    assert!(answers.iter().all(|answer| matches!(answer.outcome, Some(Outcome::Prediction(_)))));
}

#[tokio::test]
async fn an_id_over_its_limit_is_refused_alone() {
    let server = TestServer::start().await;
    let answers =
        answers(&server, vec![message(&"x".repeat(129), "mood", "fine"), message("ok", "mood", "fine")]).await;
    let refused = answers.iter().find(|answer| answer.id.is_empty()).unwrap();
    assert!(matches!(refused.outcome, Some(Outcome::Error(_))));
    assert_eq!(answers.len(), 2);
}
