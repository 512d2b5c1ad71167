//! Watching the tasks: everything first, then every change, from where an earlier watch ended, until the server goes.

use api::v1;
use api::v1::catalog_service_client::CatalogServiceClient;
use api::v1::watch_tasks_response::Event;
use server::Ended;
use tests::TestServer;
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};

use crate::command_line::headwater;
use crate::installing::install_head;

type Events = Streaming<v1::WatchTasksResponse>;

async fn watch(server: &TestServer, glob: &str, from_generation: Option<u64>) -> Events {
    let selector = Some(v1::TaskSelector { glob: glob.into(), ..v1::TaskSelector::default() });
    let request = v1::WatchTasksRequest { selector, from_generation };
    server.catalog().watch_tasks(request).await.unwrap().into_inner()
}

/// The next event in short, and where to resume after it.
async fn next(events: &mut Events) -> (String, u64) {
    let response = events.message().await.unwrap().unwrap();
    let event = match response.event.unwrap() {
        Event::Snapshot(snapshot) => format!("{} {}", snapshot.reason().as_str_name(), snapshot.tasks),
        Event::Served(task) => format!("{} {:?}", task.name, task.versions),
        Event::Withdrawn(task) => format!("no {task}"),
        Event::UpToDate(_) => "up to date".to_owned(),
    };
    (event, response.resume_generation)
}

async fn delete(server: &TestServer, task: &str, version: u64) -> u64 {
    let request = v1::DeleteVersionRequest { task: task.into(), version, expected_generation: None };
    server.heads().delete_version(request).await.unwrap().into_inner().generation
}

#[tokio::test]
async fn a_watch_begins_with_everything_and_goes_on_with_every_change() {
    let server = TestServer::start().await;
    let mut events = watch(&server, "*n*", None).await;
    assert_eq!(next(&mut events).await, ("SNAPSHOT_REASON_BEGINNING 3".into(), 0));
    for task in ["ending [1]", "length [1]", "names [1]"] {
        assert_eq!(next(&mut events).await, (task.into(), 0));
    }
    let (up_to_date, generation) = next(&mut events).await;
    assert_eq!(up_to_date, "up to date");
    let first = install_head(&server, "new", 9).await.generation;
    assert!(first > generation);
    assert_eq!(next(&mut events).await, ("new [1]".into(), first));
    install_head(&server, "other", 9).await;
    let second = install_head(&server, "new", 10).await.generation;
    assert_eq!(next(&mut events).await, ("new [1, 2]".into(), second), "a task of another name is not told");
    delete(&server, "new", 2).await;
    assert_eq!(next(&mut events).await.0, "new [1]");
    let gone = delete(&server, "new", 1).await;
    assert_eq!(next(&mut events).await, ("no new".into(), gone));
}

#[tokio::test]
async fn a_watch_resumes_where_another_ended_and_says_where_that_is_not_known() {
    let server = TestServer::start().await;
    let told = install_head(&server, "new", 9).await.generation;
    install_head(&server, "new", 10).await;
    let last = install_head(&server, "newer", 9).await.generation;
    let mut events = watch(&server, "", Some(told)).await;
    assert_eq!(next(&mut events).await, ("up to date".into(), told));
    assert_eq!(next(&mut events).await, ("new [1, 2]".into(), told), "half of it is no place to resume");
    assert_eq!(next(&mut events).await, ("newer [1]".into(), last));
    for unknown in [last + 1, 0] {
        let mut events = watch(&server, "new*", Some(unknown)).await;
        assert_eq!(next(&mut events).await.0, "SNAPSHOT_REASON_NOT_REMEMBERED 2");
    }
    drop(events);
    let server = server.restart().await;
    let mut events = watch(&server, "new*", Some(last)).await;
    assert_eq!(next(&mut events).await.0, "SNAPSHOT_REASON_NOT_REMEMBERED 2", "another encoder may serve now");
}

#[tokio::test]
async fn a_task_that_is_selected_no_longer_is_withdrawn() {
    let server = TestServer::start().await;
    install_head(&server, "new", 9).await;
    let tag = async |tags: &[&str]| {
        let tags = Some(v1::TextList { values: tags.iter().map(|tag| (*tag).to_owned()).collect() });
        let request = v1::UpdateMetadataRequest { task: "new".into(), tags, ..v1::UpdateMetadataRequest::default() };
        server.heads().update_metadata(request).await.unwrap();
    };
    let selector = Some(v1::TaskSelector { tags: vec!["hot".into()], ..v1::TaskSelector::default() });
    let request = v1::WatchTasksRequest { selector, from_generation: None };
    let mut events = server.catalog().watch_tasks(request).await.unwrap().into_inner();
    assert_eq!(next(&mut events).await.0, "SNAPSHOT_REASON_BEGINNING 0");
    assert_eq!(next(&mut events).await.0, "up to date");
    tag(&["hot"]).await;
    assert_eq!(next(&mut events).await.0, "new [1]");
    tag(&[]).await;
    assert_eq!(next(&mut events).await.0, "no new");
}

#[tokio::test]
async fn watches_end_with_the_server_and_hold_nothing_up() {
    let server = TestServer::start().await;
    let mut events = watch(&server, "mood", None).await;
    for _ in 0..3 {
        next(&mut events).await;
    }
    assert_eq!(server.stop().await.unwrap(), Ended::Drained);
    assert_eq!(events.message().await.expect_err("the stream ends").code(), Code::Unavailable);
}

#[tokio::test]
async fn no_more_than_so_many_watch_and_one_that_leaves_makes_room() {
    let server = TestServer::start().await;
    let mut watches = Vec::new();
    for _ in 0..256 {
        watches.push(server.catalog().watch_tasks(v1::WatchTasksRequest::default()).await.unwrap());
    }
    // A connection has a limit of its own on its streams.
    let another = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let mut another = CatalogServiceClient::new(another);
    let refused = another.watch_tasks(v1::WatchTasksRequest::default()).await.expect_err("256 watch");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(watches);
    let there_is_room = async {
        while another.watch_tasks(v1::WatchTasksRequest::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), there_is_room).await.unwrap();
}

#[tokio::test]
async fn the_command_line_shows_changes_as_lines() {
    let server = TestServer::start().await;
    let told = install_head(&server, "new", 9).await.generation;
    let last = install_head(&server, "new", 10).await.generation;
    let from = told.to_string();
    let timed = ["tasks", "new", "--watch", "--from", &from, "--timeout", "1"];
    let run = headwater(&server, &timed, "").await;
    let lines = run.lines();
    assert_eq!(lines.len(), 2, "{}", run.output);
    assert_eq!((&lines[0]["event"], &lines[0]["resume_generation"]), (&"up_to_date".into(), &told.into()));
    assert_eq!((&lines[1]["event"], &lines[1]["resume_generation"]), (&"served".into(), &last.into()));
    assert_eq!((&lines[1]["task"]["task"], &lines[1]["task"]["versions"][1]), (&"new".into(), &2.into()));
}
