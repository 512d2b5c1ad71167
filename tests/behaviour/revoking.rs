//! A token that is revoked ends what it has begun: streams that wait, fits, evaluations, installs; nothing comes of them.

use std::time::Duration;

use api::v1;
use tests::{Gate, TestServer};
use tonic::{Code, Response, Status, Streaming};

use crate::asking::input;
use crate::credentials::{token, with};
use crate::evaluating::rows;
use crate::{fitting, installing, installing_bundles};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose encoder stands still, and a token that it knows.
struct Held {
    server: TestServer,
    operator: String,
    secret: String,
    id: String,
}

impl Held {
    async fn start() -> Self {
        let (server, operator) = TestServer::start_with_credentials().await;
        let (secret, id) = token(&server, &operator, "default", &[v1::Scope::Infer, v1::Scope::Heads]).await;
        server.gate.close();
        Self { server, operator, secret, id }
    }

    async fn until_held(&self) {
        let gate: Gate = self.server.gate.clone();
        tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    }

    async fn revoke(&self) {
        let request = with(&self.operator, v1::RevokeTokenRequest { id: self.id.clone() });
        self.server.tenants().revoke_token(request).await.unwrap();
    }

    /// Revokes the token; how the stream ends, while the encoder still stands.
    async fn end_of<T>(&self, begun: Result<Response<Streaming<T>>, Status>) -> Code {
        let mut stream = begun.unwrap().into_inner();
        self.revoke().await;
        let ending = async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Code::Ok,
                    Err(status) => return status.code(),
                }
            }
        };
        tokio::time::timeout(PATIENCE, ending).await.expect("it ends in time")
    }

    /// Whether the task has a version.
    async fn has_version(&self, task: &str) -> bool {
        let request = v1::ListVersionsRequest { task: task.to_owned() };
        let listed = self.server.heads().list_versions(with(&self.operator, request)).await;
        listed.is_ok_and(|reply| !reply.into_inner().versions.is_empty())
    }
}

#[tokio::test]
async fn a_stream_over_many_tasks_ends_while_it_waits_for_the_encoder() {
    let held = Held::start().await;
    let tasks = ["mood", "topics"].map(|task| v1::TaskReference { task: task.to_owned(), version: String::new() });
    let request = v1::ClassifyTasksStreamRequest {
        input: Some(input("fine")),
        tasks: tasks.to_vec(),
        ..v1::ClassifyTasksStreamRequest::default()
    };
    let begun = held.server.classifier().classify_tasks_stream(with(&held.secret, request)).await;
    held.until_held().await;
    assert_eq!(held.end_of(begun).await, Code::Unauthenticated);
}

#[tokio::test]
async fn streams_that_nobody_sends_anything_on_end_too() {
    let held = Held::start().await;
    let request = v1::WatchTasksRequest::default();
    let watching = held.server.catalog().watch_tasks(with(&held.secret, request)).await;
    let (_open, rows) = tokio::sync::mpsc::channel::<v1::ClassifyStreamRequest>(1);
    let rows = with(&held.secret, tokio_stream::wrappers::ReceiverStream::new(rows));
    let classifying = held.server.classifier().classify_stream(rows).await;
    assert_eq!(held.end_of(watching).await, Code::Unauthenticated);
    assert_eq!(held.end_of(classifying).await, Code::Unauthenticated);
}

#[tokio::test]
async fn a_fit_ends_installs_nothing_and_leaves_its_place() {
    let held = Held::start().await;
    let messages = || {
        let plan = fitting::plan("fitted/task", v1::TaskKind::Classification);
        tokio_stream::iter(fitting::messages(plan, fitting::letters()))
    };
    let begun = held.server.heads().fit_head(with(&held.secret, messages())).await;
    held.until_held().await;
    assert_eq!(held.end_of(begun).await, Code::Unauthenticated);
    held.server.gate.open();
    assert!(!held.has_version("fitted/task").await);
    let next = async {
        loop {
            let mut heads = held.server.heads();
            let mut events = heads.fit_head(with(&held.operator, messages())).await.unwrap().into_inner();
            loop {
                match events.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return,
                    // The server may not know yet that the one before has ended.
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{}", status.message());
                        break;
                    }
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("the next fit has the place");
    assert!(held.has_version("fitted/task").await);
}

#[tokio::test]
async fn an_evaluation_ends() {
    let held = Held::start().await;
    let messages = rows::messages(rows::plan("mood"), rows::mood_rows(20));
    let begun = held.server.heads().evaluate_head(with(&held.secret, tokio_stream::iter(messages))).await;
    held.until_held().await;
    assert_eq!(held.end_of(begun).await, Code::Unauthenticated);
}

#[tokio::test]
async fn a_bundle_on_trial_is_not_installed() {
    let held = Held::start().await;
    let heads = vec![installing_bundles::labelled(&held.server, "bundled/task", 1)];
    let messages = installing_bundles::messages(installing_bundles::header(&heads), &heads);
    let begun = held.server.heads().install_bundle(with(&held.secret, tokio_stream::iter(messages))).await;
    held.until_held().await;
    assert_eq!(held.end_of(begun).await, Code::Unauthenticated);
    held.server.gate.open();
    assert!(!held.has_version("bundled/task").await);
}

#[tokio::test]
async fn a_head_that_arrives_when_its_token_has_ended_is_not_installed() {
    let held = Held::start().await;
    held.server.gate.open();
    let (_, folder) = installing_bundles::labelled(&held.server, "late/task", 1);
    let mut messages = installing::messages(v1::InstallHeader::default(), &folder).into_iter();
    let (parts, waiting) = tokio::sync::mpsc::channel(64);
    parts.send(messages.next().unwrap()).await.unwrap();
    let upload = with(&held.secret, tokio_stream::wrappers::ReceiverStream::new(waiting));
    let mut heads = held.server.heads();
    let installing = tokio::spawn(async move { heads.install_head(upload).await });
    // Once the first part is taken the call is under way.
    let under_way = async {
        while parts.capacity() < parts.max_capacity() || held.server.metric("calls_in_flight").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, under_way).await.expect("the upload begins");
    held.revoke().await;
    for message in messages {
        parts.send(message).await.unwrap();
    }
    drop(parts);
    assert_eq!(installing.await.unwrap().unwrap_err().code(), Code::Unauthenticated);
    assert!(!held.has_version("late/task").await);
}
