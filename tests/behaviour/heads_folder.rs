//! A watched folder: what lies in it is what is served, bad heads in it harm nothing, and nothing else is touched.

use std::fs;
use std::path::Path;
use std::time::Duration;

use api::v1;
use api::v1::set_alias_request::Change;
use engine::HeadKind;
use registry::{Digest, HeadFolder};
use tempfile::TempDir;
use tests::{TestServer, head, write_bundle};
use tonic::Code;

use crate::command_line::headwater;
use crate::installing::version_that_answers;

pub(crate) fn head_folder(task: &str, seed: u16, encoder: Digest) -> HeadFolder {
    let head = head(HeadKind::Classification, &["no", "yes"], seed);
    HeadFolder::of_head(&task.parse().unwrap(), &head, encoder).unwrap()
}

/// A data directory with these heads in a folder to watch.
pub(crate) fn watched(heads: &[(&str, u16)]) -> (TempDir, Digest) {
    let data = TempDir::new().unwrap();
    let encoder = write_bundle(&data.path().join("other"), &[]);
    fs::create_dir(data.path().join("watched")).unwrap();
    fs::write(data.path().join("watched/README"), "heads").unwrap();
    for (task, seed) in heads {
        head_folder(task, *seed, encoder).write(&data.path().join("watched").join(task)).unwrap();
    }
    (data, encoder)
}

async fn listed(server: &TestServer) -> v1::ListWatchedHeadsResponse {
    server.heads().list_watched_heads(v1::ListWatchedHeadsRequest {}).await.unwrap().into_inner()
}

/// Returns once the folder's listing is as `wanted`.
async fn until(server: &TestServer, wanted: impl Fn(&v1::ListWatchedHeadsResponse) -> bool) {
    let last = std::cell::RefCell::new(v1::ListWatchedHeadsResponse::default());
    let reaching = async {
        loop {
            let now = listed(server).await;
            if wanted(&now) {
                return;
            }
            last.replace(now);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reaching).await.unwrap_or_else(|_| panic!("{:?}", last.borrow()));
}

fn state(listing: &v1::ListWatchedHeadsResponse, folder: &str) -> Option<(v1::WatchedHeadState, u64)> {
    let head = listing.heads.iter().find(|head| head.folder == folder)?;
    Some((head.state(), head.version))
}

async fn until_served(server: &TestServer, folder: &str, version: u64) {
    until(server, |now| state(now, folder) == Some((v1::WatchedHeadState::Served, version))).await;
}

async fn until_refused(server: &TestServer, folder: &str) {
    until(server, |now| state(now, folder) == Some((v1::WatchedHeadState::Refused, 0))).await;
}

async fn set_alias(server: &TestServer, task: &str, alias: &str, change: Change) {
    let (task, alias) = (task.to_owned(), alias.to_owned());
    let request =
        v1::SetAliasRequest { task, alias, change: Some(change), expected_generation: None, expected_version: None };
    server.heads().set_alias(request).await.unwrap();
}

#[tokio::test]
async fn what_lies_in_the_folder_is_served_from_the_start_and_follows_its_changes() {
    let (data, encoder) = watched(&[("a/x", 1), ("b", 2)]);
    let server = TestServer::start_in_folder(data).await;
    assert_eq!(version_that_answers(&server, "a/x").await, Ok(1), "before the server says that it serves");
    let dir = server.folder().join("watched");
    head_folder("a/x", 3, encoder).write(&dir.join("a/x")).unwrap();
    head_folder("c", 4, encoder).write(&dir.join("deep/down/anywhere")).unwrap();
    until_served(&server, "a/x", 2).await;
    until_served(&server, "deep/down/anywhere", 1).await;
    assert_eq!(version_that_answers(&server, "a/x").await, Ok(2));
    assert_eq!(version_that_answers(&server, "c").await, Ok(1));
    head_folder("a/x", 1, encoder).write(&dir.join("a/x")).unwrap();
    until_served(&server, "a/x", 1).await;
    fs::remove_dir_all(dir.join("a")).unwrap();
    until(&server, |now| state(now, "a/x").is_none()).await;
    server.until_gone("a/x").await;
    for (task, version) in [("b", 1), ("c", 1), ("mood", 1)] {
        assert_eq!(version_that_answers(&server, task).await, Ok(version), "{task} is not touched");
    }
}

#[tokio::test]
async fn what_changed_while_the_server_was_away_is_made_up_for() {
    let (data, encoder) = watched(&[("a", 1), ("b", 2)]);
    let server = TestServer::start_in_folder(data).await;
    let dir = server.folder().join("watched");
    head_folder("a", 3, encoder).write(&dir.join("a")).unwrap();
    until_served(&server, "a", 2).await;
    let rollback = v1::RollbackRequest { task: "a".into(), ..v1::RollbackRequest::default() };
    server.heads().rollback(rollback).await.unwrap();
    let undone = async {
        while version_that_answers(&server, "a").await != Ok(2) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), undone).await.expect("the folder is what counts");
    fs::remove_dir_all(dir.join("b")).unwrap();
    let server = server.restart().await;
    assert_eq!(version_that_answers(&server, "b").await, Err(Code::NotFound));
    assert_eq!(version_that_answers(&server, "a").await, Ok(2));
}

#[tokio::test]
async fn a_task_that_came_another_way_is_left_alone_until_it_is_handed_over() {
    let (data, _) = watched(&[("mood", 9)]);
    let server = TestServer::start_in_folder(data).await;
    until_refused(&server, "mood").await;
    assert_eq!(version_that_answers(&server, "mood").await, Ok(1));
    set_alias(&server, "mood", "watched", Change::Version(1)).await;
    until_served(&server, "mood", 2).await;
    set_alias(&server, "mood", "watched", Change::Remove(true)).await;
    until_refused(&server, "mood").await;
    fs::remove_dir_all(server.folder().join("watched/mood")).unwrap();
    until(&server, |now| now.heads.is_empty()).await;
    assert_eq!(version_that_answers(&server, "mood").await, Ok(2), "it is nobody's but the callers' now");
}

#[tokio::test]
async fn a_bad_head_is_reported_while_the_old_one_serves_and_a_half_copied_one_becomes_whole() {
    let (data, encoder) = watched(&[("a", 1), ("b", 2)]);
    let server = TestServer::start_in_folder(data).await;
    let dir = server.folder().join("watched/a");
    let next = head_folder("a", 3, encoder);
    fs::write(dir.join("head.toml"), &next.head_toml).unwrap();
    fs::remove_dir_all(server.folder().join("watched/b")).unwrap();
    until_refused(&server, "a").await;
    assert_eq!(version_that_answers(&server, "a").await, Ok(1));
    assert_eq!(server.metric("watched_heads{state=\"refused\"}").await, 1);
    let run = headwater(&server, &["heads", "watched"], "").await;
    assert_eq!((run.status, &run.lines()[0]["state"], &run.lines()[0]["task"]), (1, &"refused".into(), &"a".into()));
    assert!(run.lines()[0]["reason"].as_str().unwrap().contains("weights"), "{}", run.output);
    fs::write(dir.join("head.toml"), "nothing at all").unwrap();
    fs::create_dir(server.folder().join("watched/half")).unwrap();
    fs::write(server.folder().join("watched/half/weights.safetensors"), "half").unwrap();
    until_refused(&server, "half").await;
    assert_eq!(version_that_answers(&server, "a").await, Ok(1), "no folder is known to be its own, so it stays");
    fs::remove_dir_all(server.folder().join("watched/half")).unwrap();
    next.write(&dir).unwrap();
    until_served(&server, "a", 2).await;
    assert_eq!(version_that_answers(&server, "a").await, Ok(2));
    server.until_gone("b").await;
}

#[tokio::test]
async fn a_folder_that_is_empty_or_away_withdraws_nothing() {
    let (data, encoder) = watched(&[("a", 1)]);
    let server = TestServer::start_in_folder(data).await;
    let (dir, aside) = (server.folder().join("watched"), server.folder().join("aside"));
    fs::rename(&dir, &aside).unwrap();
    until(&server, |now| !now.problem.is_empty()).await;
    fs::create_dir(&dir).unwrap();
    until(&server, |now| now.problem.contains("empty")).await;
    assert_eq!(version_that_answers(&server, "a").await, Ok(1));
    assert_eq!(server.metric("watched_folder_readable").await, 0);
    head_folder("z", 5, encoder).write(Path::new(&dir.join("z"))).unwrap();
    until_served(&server, "z", 1).await;
    server.until_gone("a").await;
    let watches_none = TestServer::start().await;
    let refused = watches_none.heads().list_watched_heads(v1::ListWatchedHeadsRequest {}).await;
    assert_eq!(refused.expect_err("it watches none").code(), Code::FailedPrecondition);
}
