//! ClassifyTasks and its stream: many tasks over one text, each with its own outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use api::v1;
use api::v1::prediction::Result as Answer;
use api::v1::task_outcome::Outcome;
use engine::testing::small_limits;
use tests::TestServer;
use tonic::{Code, Request};

use crate::asking::{ask, fields, input};

fn reference(task: &str) -> v1::TaskReference {
    v1::TaskReference { task: task.to_owned(), version: String::new() }
}

fn about(text: &str, tasks: &[&str]) -> v1::ClassifyTasksRequest {
    let tasks = tasks.iter().map(|task| reference(task)).collect();
    v1::ClassifyTasksRequest { input: Some(input(text)), tasks, ..v1::ClassifyTasksRequest::default() }
}

fn matching(text: &str, glob: &str) -> v1::ClassifyTasksRequest {
    let selector = v1::TaskSelector { glob: glob.to_owned(), ..v1::TaskSelector::default() };
    v1::ClassifyTasksRequest { selector: Some(selector), ..about(text, &[]) }
}

fn streamed(request: v1::ClassifyTasksRequest) -> v1::ClassifyTasksStreamRequest {
    let v1::ClassifyTasksRequest { input, tasks, selector, options } = request;
    v1::ClassifyTasksStreamRequest { input, tasks, selector, options }
}

async fn outcomes(server: &TestServer, request: v1::ClassifyTasksRequest) -> v1::ClassifyTasksResponse {
    server.classifier().classify_tasks(request).await.unwrap().into_inner()
}

/// The task's code, and the name of the field its refusal is about.
fn code(outcome: &v1::TaskOutcome) -> (&str, Code) {
    match outcome.outcome.as_ref().unwrap() {
        Outcome::Prediction(_) => (&outcome.task, Code::Ok),
        Outcome::Error(status) => (&outcome.task, Code::from_i32(status.code)),
    }
}

#[tokio::test]
async fn each_task_succeeds_or_fails_alone_and_named_ones_come_first() {
    let server = TestServer::start().await;
    let mut request = about("a fine day", &["topics", "missing", "../x", "topics", "ending"]);
    request.tasks.push(v1::TaskReference { version: "9".to_owned(), ..reference("mood") });
    request.selector = Some(v1::TaskSelector { labels: vec!["sad".to_owned()], ..v1::TaskSelector::default() });
    let reply = outcomes(&server, request).await;
    let codes: Vec<_> = reply.outcomes.iter().map(code).collect();
    let expected = [
        ("topics", Code::Ok),
        ("missing", Code::NotFound),
        ("../x", Code::InvalidArgument),
        ("ending", Code::InvalidArgument),
        ("mood", Code::NotFound),
        ("mood", Code::Ok),
    ];
    assert_eq!(codes, expected);
    assert_eq!(reply.mode(), v1::Mode::Exact);
    assert!(reply.mode_meaning.starts_with("exact: "), "{}", reply.mode_meaning);
    let Some(Outcome::Error(malformed)) = &reply.outcomes[2].outcome else { panic!("{reply:?}") };
    assert!(malformed.message.contains("tasks[2].task"), "{}", malformed.message);
    let Some(Outcome::Error(lacking)) = &reply.outcomes[3].outcome else { panic!("{reply:?}") };
    assert!(lacking.message.contains("input.choices"), "{}", lacking.message);
    assert!(!lacking.details.is_empty());
}

#[tokio::test]
async fn both_modes_answer_like_calls_to_each_task_alone() {
    let server = TestServer::start().await;
    let logits = |prediction: &v1::Prediction| -> BTreeMap<u32, f32> {
        match prediction.result.as_ref().unwrap() {
            Answer::Classification(result) => result.labels.iter().map(|l| (l.index, l.logit.unwrap())).collect(),
            Answer::MultiLabel(result) => result.labels.iter().map(|l| (l.index, l.logit.unwrap())).collect(),
            Answer::Choices(result) => result.choices.iter().map(|c| (c.index, c.logit.unwrap())).collect(),
            Answer::Value(result) => BTreeMap::from([(0, result.value)]),
            Answer::Spans(result) => {
                (0..).zip(result.tokens.iter().flat_map(|token| token.logits.iter().copied())).collect()
            }
        }
    };
    for (mode, rows) in [(v1::Mode::Exact, 4), (v1::Mode::Shared, 1)] {
        let options = v1::ClassifyOptions { logits: true, mode: mode.into(), ..v1::ClassifyOptions::default() };
        let mut request = matching("a fine day", "*");
        request.options = Some(options.clone());
        let reply = outcomes(&server, request).await;
        assert_eq!((reply.mode(), reply.rows, reply.outcomes.len()), (mode, rows, 6));
        let mut answered = 0;
        for outcome in &reply.outcomes {
            let mut alone = ask(&outcome.task, vec![input("a fine day")]);
            alone.options = Some(options.clone());
            match (&outcome.outcome, server.classifier().classify(alone).await) {
                (Some(Outcome::Prediction(together)), Ok(alone)) => {
                    let alone = alone.into_inner();
                    assert_eq!(logits(together), logits(&alone.predictions[0]), "{}", outcome.task);
                    assert_eq!(outcome.served_by, alone.served_by);
                    assert_eq!(together.usage, alone.predictions[0].usage);
                    answered += 1;
                }
                (Some(Outcome::Error(together)), Err(alone)) => assert_eq!(together.code, alone.code() as i32),
                (together, alone) => panic!("{together:?} {alone:?}"),
            }
        }
        assert_eq!(answered, 4, "two tasks need choices");
    }
}

#[tokio::test]
async fn fields_that_a_kind_has_no_use_for_are_ignored_here() {
    let server = TestServer::start().await;
    let mut request = matching("a fine day", "*");
    let full = request.input.as_mut().unwrap();
    full.choices = ["one", "another"].map(String::from).to_vec();
    full.tokens = ["New", "York"].map(String::from).to_vec();
    full.text_pair = Some("and another".to_owned());
    let reply = outcomes(&server, request).await;
    assert!(reply.outcomes.iter().all(|outcome| code(outcome).1 == Code::Ok), "{reply:?}");
}

#[tokio::test]
async fn a_question_without_tasks_or_over_a_limit_is_refused_and_a_selector_that_finds_none_is_not() {
    let server = TestServer::start_with(engine::Limits { max_tasks: 3, ..small_limits() }).await;
    let refused = async |request| server.classifier().classify_tasks(request).await.unwrap_err();
    let nothing = refused(about("x", &[])).await;
    assert_eq!((nothing.code(), fields(&nothing)), (Code::InvalidArgument, vec!["tasks".to_owned()]));
    let no_input = refused(v1::ClassifyTasksRequest { input: None, ..about("x", &["mood"]) }).await;
    assert_eq!(fields(&no_input), ["input"]);
    let long = refused(about(&"x".repeat(70_000), &["mood"])).await;
    assert_eq!(fields(&long), ["input.text"]);
    for (request, field) in [(about("x", &["a", "b", "c", "d"]), "tasks"), (matching("x", "*"), "selector")] {
        let many = refused(request).await;
        assert_eq!(fields(&many), [field]);
        assert!(many.message().contains("the limit is 3"), "{many:?}");
    }
    let none = outcomes(&server, matching("x", "nothing/*")).await;
    assert_eq!((none.outcomes.len(), none.rows), (0, 0));
}

#[tokio::test]
async fn a_stream_sends_every_outcome_once_and_says_how_many() {
    let server = TestServer::start().await;
    let mut request = matching("a fine day", "*");
    request.tasks = vec![reference("missing"), reference("not a name")];
    let once = outcomes(&server, request.clone()).await;
    let mut stream = server.classifier().classify_tasks_stream(streamed(request)).await.unwrap().into_inner();
    let mut received = BTreeMap::new();
    while let Some(message) = stream.message().await.unwrap() {
        assert_eq!(message.total, 8);
        assert!(message.timings.is_some());
        let outcome = message.outcome.unwrap();
        assert!(received.insert(outcome.task.clone(), outcome).is_none(), "an outcome came twice");
    }
    assert_eq!(received.len(), 8);
    assert!(once.outcomes.iter().all(|outcome| received[&outcome.task] == *outcome));
}

#[tokio::test]
async fn what_is_known_at_once_does_not_wait_for_the_encoder() {
    let server = TestServer::start().await;
    server.gate.close();
    let request = streamed(about("a fine day", &["mood", "missing"]));
    let mut stream = server.classifier().classify_tasks_stream(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().outcome.unwrap();
    assert_eq!(code(&first), ("missing", Code::NotFound));
    server.gate.open();
    let second = stream.message().await.unwrap().unwrap().outcome.unwrap();
    assert_eq!(code(&second), ("mood", Code::Ok));
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_deadline_ends_both_forms_of_the_call() {
    let server = TestServer::start().await;
    server.gate.close();
    let patience = Duration::from_millis(50);
    let mut request = Request::new(about("a fine day", &["mood", "length"]));
    request.set_timeout(patience);
    let late = server.classifier().classify_tasks(request).await.unwrap_err();
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
    let mut request = Request::new(streamed(about("a fine day", &["mood", "length"])));
    request.set_timeout(patience);
    let late = match server.classifier().classify_tasks_stream(request).await {
        Err(late) => late,
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
    };
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
    server.gate.open();
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_rows_out_of_the_queue() {
    let server = TestServer::start().await;
    server.gate.close();
    let mut classifier = server.classifier();
    let held = tokio::spawn(async move { classifier.classify(ask("mood", vec![input("first")])).await });
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    let before = server.rows_seen();
    let request = streamed(about("second", &["mood", "topics", "length"]));
    let stream = server.classifier().classify_tasks_stream(request).await.unwrap();
    server.until_metric("rows_in_flight", 4).await;
    drop(stream);
    // The permit comes back when the work has ended, and with it the rows have lost their callers.
    while server.metric("rows_in_flight").await > 1 {
        tokio::task::yield_now().await;
    }
    server.gate.open();
    held.await.unwrap().unwrap();
    server.classifier().classify(ask("mood", vec![input("third")])).await.unwrap();
    assert_eq!(server.rows_seen(), before + 2, "the first row and the third");
}
