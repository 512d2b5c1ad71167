//! A task keeps the versions that its rule and its names hold, and an alias moves only from where the caller thinks it is.

use api::v1;
use api::v1::set_alias_request::Change;
use cli::DONE;
use tests::TestServer;
use tonic::Code;
use tonic_types::StatusExt;

use crate::asking::fields;
use crate::command_line::headwater;
use crate::installing::{install_head, version_that_answers};

const TASK: &str = "kept/task";

async fn versions(server: &TestServer) -> (Vec<u64>, Option<v1::Retention>) {
    let request = v1::ListVersionsRequest { task: TASK.into() };
    let listed = server.heads().list_versions(request).await.unwrap().into_inner();
    (listed.versions.iter().rev().map(|version| version.version).collect(), listed.retention)
}

fn keep_last(number: u32) -> v1::SetRetentionRequest {
    let rule = v1::Retention { keep_last: Some(number), keep_for_seconds: None };
    v1::SetRetentionRequest { task: TASK.into(), retention: Some(rule), ..v1::SetRetentionRequest::default() }
}

fn move_to(version: u64, expected_version: Option<u64>) -> v1::SetAliasRequest {
    let change = Some(Change::Version(version));
    v1::SetAliasRequest { task: TASK.into(), change, expected_version, ..v1::SetAliasRequest::default() }
}

/// A server whose task has five versions, the first of which is live.
async fn with_five() -> TestServer {
    let server = TestServer::start().await;
    for seed in 1..=5 {
        install_head(&server, TASK, seed).await;
    }
    server
}

#[tokio::test]
async fn a_rule_gives_up_at_once_and_with_every_change_and_is_shown() {
    let server = with_five().await;
    let reply = server.heads().set_retention(keep_last(2)).await.unwrap().into_inner();
    assert_eq!(reply.deleted_versions, [2, 3]);
    assert_eq!(versions(&server).await, (vec![1, 4, 5], reply.retention));
    let request = v1::GetTaskRequest { task: TASK.into(), ..v1::GetTaskRequest::default() };
    let task = server.catalog().get_task(request).await.unwrap().into_inner().task.unwrap();
    assert_eq!((task.retention, task.versions), (reply.retention, vec![1, 4, 5]));
    assert_eq!(version_that_answers(&server, TASK).await, Ok(1));
    server.heads().set_alias(move_to(5, None)).await.unwrap();
    install_head(&server, TASK, 6).await;
    assert_eq!(versions(&server).await.0, [1, 5, 6], "a rollback still finds the first");
    let server = server.restart().await;
    assert_eq!(versions(&server).await, (vec![1, 5, 6], reply.retention));
    let none = v1::SetRetentionRequest { retention: None, ..keep_last(1) };
    let reply = server.heads().set_retention(none).await.unwrap().into_inner();
    assert_eq!((reply.retention, reply.deleted_versions), (None, vec![]));
}

#[tokio::test]
async fn a_rule_that_means_nothing_or_comes_too_late_is_refused() {
    let server = with_five().await;
    let refused = server.heads().set_retention(keep_last(0)).await.expect_err("0 keeps nothing");
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["retention.keep_last".to_owned()]));
    let stale = v1::SetRetentionRequest { expected_generation: Some(1), ..keep_last(1) };
    assert_eq!(server.heads().set_retention(stale).await.expect_err("it has changed").code(), Code::Aborted);
    let unknown = v1::SetRetentionRequest { task: "nothing".into(), ..keep_last(1) };
    assert_eq!(server.heads().set_retention(unknown).await.expect_err("no such task").code(), Code::NotFound);
    assert_eq!(versions(&server).await.0, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_alias_that_has_moved_is_aborted_with_what_it_names_now() {
    let server = with_five().await;
    let named_now = async |status: tonic::Status| {
        assert_eq!(status.code(), Code::Aborted, "{}", status.message());
        status.get_error_details().error_info().unwrap().metadata["version"].clone()
    };
    server.heads().set_alias(move_to(2, Some(1))).await.unwrap();
    let lost = server.heads().set_alias(move_to(3, Some(1))).await.expect_err("somebody was faster");
    assert_eq!(named_now(lost).await, "2");
    let unknown = v1::SetAliasRequest { task: "nothing".into(), ..move_to(1, Some(1)) };
    assert_eq!(server.heads().set_alias(unknown).await.expect_err("no such task").code(), Code::NotFound);
    let absent = v1::SetAliasRequest { alias: "next".into(), ..move_to(3, Some(1)) };
    assert_eq!(named_now(server.heads().set_alias(absent.clone()).await.expect_err("there is none")).await, "0");
    let fresh = v1::SetAliasRequest { expected_version: Some(0), ..absent };
    server.heads().set_alias(fresh.clone()).await.unwrap();
    assert_eq!(named_now(server.heads().set_alias(fresh).await.expect_err("it is there")).await, "3");
    let roll_back = |expected_version| v1::RollbackRequest {
        task: TASK.into(),
        expected_version: Some(expected_version),
        ..v1::RollbackRequest::default()
    };
    assert_eq!(named_now(server.heads().rollback(roll_back(1)).await.expect_err("it names 2")).await, "2");
    assert_eq!(server.heads().rollback(roll_back(2)).await.unwrap().into_inner().version, 1);
}

#[tokio::test]
async fn of_many_who_move_an_alias_from_the_same_version_one_wins() {
    let server = with_five().await;
    let mut moves = tokio::task::JoinSet::new();
    for version in 2..=5 {
        let mut client = server.heads();
        moves.spawn(async move {
            client.set_alias(move_to(version, Some(1))).await.map(|_| version).map_err(|status| status.code())
        });
    }
    let ended = moves.join_all().await;
    let won: Vec<_> = ended.iter().filter_map(|ended| ended.as_ref().ok()).collect();
    assert_eq!(won.len(), 1, "{ended:?}");
    assert!(ended.iter().all(|ended| matches!(ended, Ok(_) | Err(Code::Aborted))), "{ended:?}");
    assert_eq!(version_that_answers(&server, TASK).await.as_ref(), Ok(won[0]));
}

#[tokio::test]
async fn the_command_line_sets_a_rule_and_moves_an_alias_by_comparison() {
    let server = with_five().await;
    let run = headwater(&server, &["heads", "retention", TASK, "--keep-last", "2", "--keep-for", "1s"], "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    assert_eq!(run.lines()[0]["retention"]["keep_for_seconds"], 1);
    let log = headwater(&server, &["audit"], "").await;
    let newest = &log.lines()[0];
    assert!(log.status == DONE && newest.to_string().contains("the last 2, 1 s"), "{newest}");
    let run = headwater(&server, &["heads", "versions", TASK], "").await;
    assert_eq!(run.lines()[0]["retention"]["keep_last"], 2);
    let lost = headwater(&server, &["heads", "alias", TASK, "live", "5", "--expect-version", "4"], "").await;
    assert!(lost.status == cli::REFUSED && lost.errors.contains("names version 1, not version 4"), "{}", lost.errors);
    let run = headwater(&server, &["heads", "alias", TASK, "live", "5", "--expect-version", "1"], "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    let run = headwater(&server, &["heads", "retention", TASK, "--keep-all"], "").await;
    assert_eq!((run.status, &run.lines()[0]["retention"]), (DONE, &serde_json::Value::Null));
}
