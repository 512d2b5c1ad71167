//! A traffic rule: a canary answers its share, a shadow judges unseen, and both last and hold their versions.

use api::v1;
use api::v1::classify_stream_response::Outcome;
use cli::DONE;
use engine::{Head, HeadKind, HeadParts};
use tests::{HIDDEN, TestServer, head};
use tonic::{Code, Request};

use crate::asking::{ask, fields, input};
use crate::command_line::headwater;
use crate::finding::serve;
use crate::installing::version_that_answers;

const TASK: &str = "new/task";

/// A head that reads the same vectors as every other of these, and always gives the label at `best`.
fn constant(labels: &[&str], best: usize) -> Head {
    let plain = head(HeadKind::Classification, labels, 9);
    let bias = (0..labels.len()).map(|at| if at == best { 100.0 } else { 0.0 }).collect();
    let parts = HeadParts { weight: vec![0.0; labels.len() * HIDDEN].into(), bias, ..plain.parts().clone() };
    Head::new(HeadKind::Classification, HIDDEN, parts).unwrap()
}

/// A server with three versions of one task: 1 says "no", 2 says "yes", 3 says "no" from another place.
async fn three_versions() -> TestServer {
    let server = TestServer::start().await;
    for head in [constant(&["no", "yes"], 0), constant(&["no", "yes"], 1), constant(&["yes", "no"], 1)] {
        serve(&server, TASK, &head).await;
    }
    server
}

fn canary(version: u64, share: f64, split: v1::CanarySplit) -> v1::Traffic {
    v1::Traffic { canary: Some(v1::Canary { version, share, split: split.into() }), shadow: None }
}

fn shadow(version: u64) -> v1::Traffic {
    v1::Traffic { canary: None, shadow: Some(v1::Shadow { version, share: None }) }
}

fn set(traffic: v1::Traffic) -> v1::SetTrafficRequest {
    v1::SetTrafficRequest { task: TASK.into(), traffic: Some(traffic), ..v1::SetTrafficRequest::default() }
}

async fn divide(server: &TestServer, traffic: v1::Traffic) -> u64 {
    let reply = server.heads().set_traffic(set(traffic)).await.unwrap().into_inner();
    assert_eq!(reply.traffic.unwrap_or_default(), traffic);
    reply.generation
}

async fn versions(server: &TestServer) -> v1::ListVersionsResponse {
    let request = v1::ListVersionsRequest { task: TASK.into() };
    server.heads().list_versions(request).await.unwrap().into_inner()
}

/// The version that answers a call with this key.
async fn with_key(server: &TestServer, key: &str) -> u64 {
    let options = v1::ClassifyOptions { traffic_key: key.to_owned(), ..v1::ClassifyOptions::default() };
    let request = v1::ClassifyRequest { options: Some(options), ..ask(TASK, vec![input("fine")]) };
    server.classifier().classify(request).await.unwrap().into_inner().served_by.unwrap().version
}

#[tokio::test]
async fn a_canary_by_key_answers_its_share_of_the_keys_always_the_same_ones() {
    let server = three_versions().await;
    divide(&server, canary(2, 0.3, v1::CanarySplit::Key)).await;
    let mut answered = Vec::new();
    for number in 0..200 {
        answered.push(with_key(&server, &format!("user-{number}")).await);
    }
    let by_canary = answered.iter().filter(|version| **version == 2).count();
    assert!((35..85).contains(&by_canary), "{by_canary} of 200");
    assert!(answered.iter().all(|version| [1, 2].contains(version)));
    let server = server.restart().await;
    for (number, version) in answered.iter().enumerate().step_by(7) {
        assert_eq!(with_key(&server, &format!("user-{number}")).await, *version, "user-{number}");
    }
}

#[tokio::test]
async fn a_canary_by_share_answers_calls_that_name_no_version_alone() {
    let server = three_versions().await;
    divide(&server, canary(2, 1.0, v1::CanarySplit::Random)).await;
    assert_eq!(version_that_answers(&server, TASK).await, Ok(2));
    for (version, answers) in [("live", 1), ("1", 1), ("3", 3)] {
        let request = v1::ClassifyRequest { version: version.into(), ..ask(TASK, vec![input("fine")]) };
        let reply = server.classifier().classify(request).await.unwrap().into_inner();
        assert_eq!(reply.served_by.unwrap().version, answers, "{version} was asked for");
    }
    divide(&server, canary(2, 0.0, v1::CanarySplit::Random)).await;
    assert_eq!(version_that_answers(&server, TASK).await, Ok(1));
    divide(&server, v1::Traffic::default()).await;
    assert!(versions(&server).await.traffic.is_none());
    let calls = format!("divided_calls_total{{task=\"{TASK}\",answered_by=\"canary\"}}");
    divide(&server, canary(2, 0.5, v1::CanarySplit::Random)).await;
    let mut by_canary = 0;
    for _ in 0..100 {
        by_canary += u64::from(version_that_answers(&server, TASK).await == Ok(2));
    }
    assert!((20..80).contains(&by_canary), "{by_canary} of 100");
    assert_eq!(server.metric(&calls).await, by_canary);
}

#[tokio::test]
async fn a_canary_by_header_answers_calls_and_streams_that_carry_it() {
    let server = three_versions().await;
    divide(&server, canary(2, 0.0, v1::CanarySplit::Header)).await;
    assert_eq!(version_that_answers(&server, TASK).await, Ok(1));
    for (value, answers) in [("1", 2), ("0", 1)] {
        let mut request = Request::new(ask(TASK, vec![input("fine")]));
        request.metadata_mut().insert("headwater-canary", value.parse().unwrap());
        let reply = server.classifier().classify(request).await.unwrap().into_inner();
        assert_eq!(reply.served_by.unwrap().version, answers);
        let row = v1::ClassifyStreamRequest { task: TASK.into(), input: Some(input("fine")), ..Default::default() };
        let mut request = Request::new(tokio_stream::iter([row]));
        request.metadata_mut().insert("headwater-canary", value.parse().unwrap());
        let mut replies = server.classifier().classify_stream(request).await.unwrap().into_inner();
        let reply = replies.message().await.unwrap().unwrap();
        assert!(matches!(reply.outcome, Some(Outcome::Prediction(_))), "{reply:?}");
        assert_eq!(reply.served_by.unwrap().version, answers);
    }
}

#[tokio::test]
async fn a_shadow_judges_every_input_unseen_and_its_agreement_is_counted() {
    let server = three_versions().await;
    divide(&server, shadow(2)).await;
    let rows_before = server.rows_seen();
    let reply =
        server.classifier().classify(ask(TASK, vec![input("one"), input("two"), input("three")])).await.unwrap();
    assert_eq!(reply.into_inner().served_by.unwrap().version, 1);
    assert_eq!(server.rows_seen() - rows_before, 3, "the shadow reads the same vectors");
    let agreement = versions(&server).await.shadow_agreement.unwrap();
    assert_eq!((agreement.version, agreement.judged, agreement.agreed, agreement.skipped), (2, 3, 0, 0));
    divide(&server, shadow(3)).await;
    server.classifier().classify(ask(TASK, vec![input("one"), input("two")])).await.unwrap();
    let agreement = versions(&server).await.shadow_agreement.unwrap();
    assert_eq!((agreement.version, agreement.judged, agreement.agreed), (3, 2, 2), "labels agree by name");
    assert_eq!(server.metric(&format!("shadow_inputs_total{{task=\"{TASK}\",outcome=\"agreed\"}}")).await, 2);
    let asked = v1::ClassifyRequest { version: "live".into(), ..ask(TASK, vec![input("one")]) };
    server.classifier().classify(asked).await.unwrap();
    assert_eq!(
        versions(&server).await.shadow_agreement.unwrap().judged,
        2,
        "a call that names a version is not judged"
    );
    let server = server.restart().await;
    let listed = versions(&server).await;
    assert_eq!(listed.traffic, Some(shadow(3)));
    assert_eq!(listed.shadow_agreement.unwrap().judged, 0);
}

#[tokio::test]
async fn numbers_are_compared_by_their_distance() {
    let server = TestServer::start().await;
    for bias in [1.0, 3.5] {
        let plain = head(HeadKind::Regression, &[], 3);
        let parts = HeadParts { weight: vec![0.0; HIDDEN].into(), bias: vec![bias].into(), ..plain.parts().clone() };
        serve(&server, TASK, &Head::new(HeadKind::Regression, HIDDEN, parts).unwrap()).await;
    }
    divide(&server, shadow(2)).await;
    server.classifier().classify(ask(TASK, vec![input("one"), input("two")])).await.unwrap();
    let agreement = versions(&server).await.shadow_agreement.unwrap();
    assert_eq!((agreement.judged, agreement.numbers, agreement.agreed), (2, 2, 0));
    assert_eq!(agreement.mean_absolute_difference, Some(2.5));
}

#[tokio::test]
async fn a_version_that_a_rule_names_cannot_be_deleted() {
    let server = three_versions().await;
    let rule = v1::Traffic { shadow: shadow(3).shadow, ..canary(2, 0.1, v1::CanarySplit::Key) };
    divide(&server, rule).await;
    let delete = |version| v1::DeleteVersionRequest { task: TASK.into(), version, ..Default::default() };
    for version in [2, 3] {
        let refused = server.heads().delete_version(delete(version)).await.expect_err("a rule names it");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("traffic rule"), "{}", refused.message());
    }
    divide(&server, shadow(3)).await;
    server.heads().delete_version(delete(2)).await.unwrap();
}

#[tokio::test]
async fn a_rule_that_cannot_work_is_refused_and_changes_nothing() {
    let server = three_versions().await;
    let other_embedding =
        HeadParts { task_embedding: Some(vec![0.25; HIDDEN].into()), ..constant(&["no", "yes"], 0).parts().clone() };
    serve(&server, TASK, &Head::new(HeadKind::Classification, HIDDEN, other_embedding).unwrap()).await;
    serve(&server, TASK, &head(HeadKind::MultiLabel, &["no", "yes"], 9)).await;
    let generation = divide(&server, shadow(2)).await;
    let by_key = |version, share| canary(version, share, v1::CanarySplit::Key);
    let unknown_split = v1::Traffic { canary: Some(v1::Canary { version: 2, share: 0.5, split: 9 }), shadow: None };
    let too_much = v1::Traffic { shadow: Some(v1::Shadow { version: 2, share: Some(1.5) }), canary: None };
    for (traffic, code, field) in [
        (by_key(2, -0.1), Code::InvalidArgument, "traffic.canary.share"),
        (by_key(2, f64::NAN), Code::InvalidArgument, "traffic.canary.share"),
        (by_key(0, 0.5), Code::InvalidArgument, "traffic.canary.version"),
        (unknown_split, Code::InvalidArgument, "traffic.canary.split"),
        (too_much, Code::InvalidArgument, "traffic.shadow.share"),
        (by_key(9, 0.5), Code::NotFound, ""),
        (by_key(5, 0.5), Code::FailedPrecondition, ""),
        (shadow(4), Code::FailedPrecondition, ""),
    ] {
        let refused = server.heads().set_traffic(set(traffic)).await.expect_err(field);
        assert_eq!(refused.code(), code, "{traffic:?}: {}", refused.message());
        assert_eq!(fields(&refused).first().map_or("", String::as_str), field, "{traffic:?}");
    }
    let stale = v1::SetTrafficRequest { expected_generation: Some(generation - 1), ..set(by_key(2, 0.5)) };
    assert_eq!(server.heads().set_traffic(stale).await.expect_err("stale").code(), Code::Aborted);
    let listed = versions(&server).await;
    assert_eq!((listed.traffic, listed.generation), (Some(shadow(2)), generation));
    let options = v1::ClassifyOptions { traffic_key: "k".repeat(257), ..v1::ClassifyOptions::default() };
    let request = v1::ClassifyRequest { options: Some(options), ..ask(TASK, vec![input("fine")]) };
    let refused = server.classifier().classify(request).await.expect_err("a key has a limit");
    assert_eq!(fields(&refused), ["options.traffic_key"]);
}

#[tokio::test]
async fn the_command_line_divides_and_tells() {
    let server = three_versions().await;
    let words = ["heads", "traffic", TASK, "--canary", "2", "--share", "1", "--split", "key", "--shadow", "3"];
    let run = headwater(&server, &words, "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    assert_eq!((&run.lines()[0]["canary"]["split"], &run.lines()[0]["shadow"]["version"]), (&"key".into(), &3.into()));
    let run = headwater(&server, &["classify", TASK, "fine", "--traffic-key", "user-1"], "").await;
    assert_eq!(run.lines()[0]["version"], 2);
    let table = headwater(&server, &["heads", "versions", TASK, "--output", "table"], "").await.output;
    assert!(table.contains("version 2 answers 100.0 % of the keys, version 3 judges all calls unseen"), "{table}");
    assert!(table.contains("the shadow agreed on 0 of 1 inputs"), "{table}");
    let lines = headwater(&server, &["heads", "versions", TASK], "").await.lines();
    assert_eq!(lines[0]["agreement"]["judged"], 1);
    assert_eq!(headwater(&server, &["heads", "traffic", TASK, "--clear"], "").await.status, DONE);
    assert_eq!(version_that_answers(&server, TASK).await, Ok(1));
}
