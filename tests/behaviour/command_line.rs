//! The command line against a real server: rows in order, refusals with their exit status, heads that travel.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser;
use cli::{Arguments, DONE, REFUSED, SOME_FAILED, Streams, UNREACHABLE, USAGE};
use serde_json::Value;
use tests::TestServer;

/// What one run wrote, and how it ended.
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Run {
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs `headwater` against `server` with this standard input.
pub(crate) async fn headwater(server: &TestServer, arguments: &[&str], input: &str) -> Run {
    let address = server.address.to_string();
    headwater_at(&[arguments, &["--addr", &address]].concat(), input).await
}

/// The same against whatever these arguments name.
pub(crate) async fn headwater_at(arguments: &[&str], input: &str) -> Run {
    let (output, errors) = (Shared::default(), Shared::default());
    let streams = Streams {
        input: Box::new(io::Cursor::new(input.to_owned())),
        output: Box::new(output.clone()),
        output_is_terminal: false,
        errors: Box::new(errors.clone()),
    };
    let arguments = Arguments::try_parse_from([&["headwater"], arguments].concat()).unwrap();
    let status = cli::run(arguments, streams).await;
    Run { status, output: output.text(), errors: errors.text() }
}

/// A writer that the test can read; the run holds the other end.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_file_has_the_answers_of_its_rows_asked_alone_in_their_order() {
    let server = TestServer::start().await;
    let texts: Vec<String> = (0..400).map(|row| format!("{}end", "word ".repeat(row % 37))).collect();
    let input: String = texts.iter().map(|text| format!("{{\"text\": \"{text}\", \"label\": 1}}\n")).collect();
    let run = headwater(&server, &["classify", "mood", "--logits", "--input", "-"], &input).await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    let together = run.lines();
    assert_eq!(together.len(), texts.len());
    for row in (0..texts.len()).step_by(57) {
        let alone = headwater(&server, &["classify", "mood", "--logits", &texts[row]], "").await;
        assert_eq!(alone.lines()[0]["labels"], together[row]["labels"], "row {row}");
    }
}

#[tokio::test]
async fn a_row_that_fails_has_its_line_and_the_status_says_so() {
    let server = TestServer::start().await;
    let long = "x".repeat(70_000);
    let input = format!(
        "{{\"text\": \"fine\"}}\n\nnot json\n{{\"text\": \"\"}}\n{{\"text\": \"{long}\"}}\n{{\"choices\": [\"a\"]}}\n{{\"text\": \"last\"}}"
    );
    let run = headwater(&server, &["classify", "mood", "--input", "-"], &input).await;
    assert_eq!(run.status, SOME_FAILED);
    let lines = run.lines();
    assert_eq!(lines.len(), 7);
    let reasons =
        ["empty", "not a JSON object", "input.text", "input.text in bytes: 70000, the limit is 65536", "input."];
    for (line, reason) in lines[1..6].iter().zip(reasons) {
        assert_eq!(line["error"]["code"], "INVALID_ARGUMENT", "{line}");
        assert!(line["error"]["message"].as_str().unwrap().contains(reason), "{line} has no {reason:?}");
    }
    for line in [&lines[0], &lines[6]] {
        assert_eq!((&line["task"], &line["version"], &line["mode"]), (&"mood".into(), &1.into(), &"exact".into()));
    }
}

#[tokio::test]
async fn every_kind_answers_in_its_own_shape() {
    let server = TestServer::start().await;
    let ask = async |task: &str, row: &str| {
        let run = headwater(&server, &["classify", task, "--logits", "--input", "-"], row).await;
        assert_eq!(run.status, DONE, "{task}: {}", run.output);
        run.lines().remove(0)
    };
    let mood = ask("mood", r#"{"text": "a", "text_pair": "b"}"#).await;
    let labels = mood["labels"].as_array().unwrap();
    assert_eq!(labels.len(), 3);
    assert!(labels.iter().all(|label| label["logit"].is_number() && label["index"].is_number()));
    assert!(labels.windows(2).all(|pair| pair[0]["score"].as_f64() >= pair[1]["score"].as_f64()));
    let topics = ask("topics", r#"{"text": "a"}"#).await;
    assert!(topics["labels"][0]["above_threshold"].is_boolean());
    assert!(ask("length", r#"{"text": "a"}"#).await["value"].is_number());
    let ending = ask("ending", r#"{"text": "a", "choices": ["b", "c", "d"]}"#).await;
    assert_eq!(ending["choices"].as_array().unwrap().len(), 3);
    assert!(ending["choices"][0]["logit"].is_number());
    let names = ask("names", r#"{"tokens": ["New", "York", "is", "big"]}"#).await;
    assert!(names["spans"].is_array());
    let words: Vec<_> = names["token_logits"].as_array().unwrap().iter().map(|token| token["word"].as_u64()).collect();
    assert_eq!(words.iter().flatten().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(
        names["token_logits"].as_array().unwrap().iter().all(|token| token["logits"].as_array().unwrap().len() == 3)
    );
}

#[tokio::test]
async fn options_reach_the_head() {
    let server = TestServer::start().await;
    let labels = async |more: &[&str]| {
        let run = headwater(&server, &[&["classify", "mood", "a", "--logits"], more].concat(), "").await;
        assert_eq!(run.status, DONE, "{}", run.errors);
        run.lines().remove(0)
    };
    let (plain, off) = (labels(&[]).await, labels(&["--task-embedding", "off"]).await);
    assert_eq!((&plain["mode"], &off["mode"]), (&"exact".into(), &"shared".into()));
    assert_ne!(plain["labels"][0]["logit"], off["labels"][0]["logit"]);
    assert_eq!(labels(&["--top-k", "1"]).await["labels"].as_array().unwrap().len(), 1);
    assert_eq!(labels(&["--version", "1"]).await["labels"], plain["labels"]);
}

#[tokio::test]
async fn the_exit_status_says_who_was_at_fault() {
    let server = TestServer::start().await;
    let cases: [(&[&str], i32, &str); 6] = [
        (&["classify", "nothing", "a"], REFUSED, "NOT_FOUND"),
        (&["classify", "mood", "a", "--version", "9"], REFUSED, "NOT_FOUND"),
        (&["classify", "../x", "a"], REFUSED, "INVALID_ARGUMENT"),
        (&["heads", "rollback", "mood"], REFUSED, "FAILED_PRECONDITION"),
        (&["classify", "mood", "--input", "/no/such/file"], USAGE, "cannot read"),
        (&["heads", "install", "/no/such/folder"], USAGE, "cannot read"),
    ];
    for (arguments, status, reason) in cases {
        let run = headwater(&server, arguments, "").await;
        assert_eq!((run.status, run.output.as_str()), (status, ""), "{arguments:?}");
        assert!(run.errors.contains(reason), "{arguments:?}: {}", run.errors);
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(headwater_at(&["tasks", "--addr", &nobody], "").await.status, UNREACHABLE);
}

#[tokio::test]
async fn a_task_that_does_not_exist_is_refused_once_for_a_whole_file() {
    let server = TestServer::start().await;
    let rows = "{\"text\": \"a\"}\n".repeat(50);
    let run = headwater(&server, &["classify", "nothing", "--input", "-"], &rows).await;
    assert_eq!((run.status, run.output.as_str()), (REFUSED, ""));
    assert_eq!(run.errors.lines().count(), 1, "{}", run.errors);
}

#[tokio::test]
async fn time_that_is_up_is_told_as_such() {
    let server = TestServer::start().await;
    server.gate.close();
    let run = headwater(&server, &["classify", "mood", "a", "--timeout", "0.05"], "").await;
    server.gate.open();
    assert_eq!(run.status, REFUSED);
    assert!(run.errors.contains("DEADLINE_EXCEEDED"), "{}", run.errors);
}

#[tokio::test]
async fn an_exported_head_answers_the_same_under_another_name() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    let path = saved.to_str().unwrap();
    let run = headwater(&server, &["heads", "export", "mood", path], "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    let run = headwater(&server, &["heads", "install", path, "--task", "mood/again"], "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    assert_eq!((&run.lines()[0]["version"], &run.lines()[0]["live"]), (&1.into(), &true.into()));
    let answer = async |task: &str| {
        headwater(&server, &["classify", task, "some text", "--logits"], "").await.lines()[0]["labels"].clone()
    };
    assert_eq!(answer("mood").await, answer("mood/again").await);

    let run = headwater(&server, &["heads", "install", path, "--task", "mood/again"], "").await;
    assert_eq!(run.lines()[0]["already_installed"], true);
    let run = headwater(&server, &["heads", "install", path, "--task", "mood/again", "--version", "4"], "").await;
    assert_eq!(run.lines()[0]["live"], false);
    let run = headwater(&server, &["heads", "alias", "mood/again", "live", "4"], "").await;
    assert_eq!((&run.lines()[0]["version"], &run.lines()[0]["previous_version"]), (&4.into(), &1.into()));
    assert_eq!(headwater(&server, &["heads", "delete", "mood/again", "4"], "").await.status, REFUSED);
    assert_eq!(headwater(&server, &["heads", "delete", "mood/again", "1"], "").await.status, DONE);
    let run = headwater(&server, &["heads", "versions", "mood/again"], "").await;
    let versions: Vec<_> = run.lines().iter().map(|line| line["version"].clone()).collect();
    assert_eq!(versions, [4]);
}

#[tokio::test]
async fn an_export_that_fails_leaves_nothing_and_one_that_works_overwrites_nothing() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    let path = saved.to_str().unwrap();
    let names = || std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(headwater(&server, &["heads", "export", "nothing", path], "").await.status, REFUSED);
    assert!(names().is_empty());
    assert_eq!(headwater(&server, &["heads", "export", "mood", path], "").await.status, DONE);
    assert_eq!(names(), ["saved"]);
    let before = std::fs::read(saved.join("head.toml")).unwrap();
    let run = headwater(&server, &["heads", "export", "length", path], "").await;
    assert_eq!(run.status, USAGE, "{}", run.errors);
    assert_eq!(std::fs::read(saved.join("head.toml")).unwrap(), before);
    assert_eq!(names(), ["saved"]);
}

#[tokio::test]
async fn tasks_and_vectors_and_tokens_come_as_lines() {
    let server = TestServer::start().await;
    let run = headwater(&server, &["tasks", "--kind", "regression", "--kind", "reward"], "").await;
    let tasks: Vec<_> = run.lines().iter().map(|line| line["task"].clone()).collect();
    assert_eq!(tasks, ["help", "length"]);
    assert_eq!(headwater(&server, &["task", "mood"], "").await.lines()[0]["labels"][2], "angry");
    let run = headwater(&server, &["embed", "a", "b"], "").await;
    assert!(run.lines().iter().all(|line| line["vector"].as_array().unwrap().len() == tests::HIDDEN));
    let run = headwater(&server, &["tokenize", "two words"], "").await;
    assert_eq!(run.lines()[0]["rows"][0].as_array().unwrap().len(), 4);
    let run = headwater(&server, &["health", "--wait", "30"], "").await;
    assert_eq!((run.status, run.output.as_str()), (DONE, "{\"status\":\"SERVING\"}\n"));
}

#[tokio::test]
async fn a_load_asks_every_row_once_and_tells_how_fast_they_were_answered() {
    let server = TestServer::start().await;
    let rows = "{\"text\": \"two words\"}\n".repeat(40);
    let load = |input: &str| {
        let input = input.to_owned();
        let server = &server;
        async move {
            let words = ["load", "--input", "-", "--concurrency", "4", "--task", "mood", "--task", "length"];
            headwater(server, &words, &input).await
        }
    };
    let run = load(&rows).await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    let found = run.lines().remove(0);
    assert_eq!((&found["calls"], &found["failed"], &found["tasks"]), (&40.into(), &0.into(), &2.into()));
    assert_eq!(found["tokens"], 160, "two words are four tokens");
    assert!(found["tokens_per_second"].as_f64().unwrap() > 0.0 && found["p50_ms"].as_f64() <= found["p99_ms"].as_f64());
    let run = load("{\"text\": \"fine\"}\n{\"text\": \"\"}\n").await;
    let found = run.lines().remove(0);
    assert_eq!(
        (run.status, &found["failed"], &found["failure"]["code"]),
        (SOME_FAILED, &1.into(), &"INVALID_ARGUMENT".into())
    );
    assert_eq!(load("no row\n").await.status, USAGE);
}
