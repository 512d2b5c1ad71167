//! The command line over many tasks at once, and heads that get other settings.

use cli::{DONE, REFUSED, SOME_FAILED, USAGE};
use tests::TestServer;

use crate::command_line::headwater;

#[tokio::test]
async fn many_tasks_have_a_line_each_and_the_ones_that_fail_say_so() {
    let server = TestServer::start().await;
    let run = headwater(&server, &["classify", "--tasks", "*", "a fine day"], "").await;
    assert_eq!((run.status, run.errors.as_str()), (SOME_FAILED, ""));
    let lines = run.lines();
    let tasks: Vec<_> = lines.iter().map(|line| line["task"].as_str().unwrap()).collect();
    assert_eq!(tasks, ["ending", "help", "length", "mood", "names", "topics"]);
    assert_eq!(lines[0]["error"]["code"], "INVALID_ARGUMENT");
    assert!(lines[3]["labels"].is_array() && lines[3]["confidence"]["margin"].is_number());
    let choices = ["--choice", "one", "--choice", "another"];
    let run = headwater(&server, &[&["classify", "--tasks", "*", "a fine day"], &choices[..]].concat(), "").await;
    assert_eq!((run.status, run.lines().len()), (DONE, 6));
}

#[tokio::test]
async fn names_versions_and_conditions_select_tasks() {
    let server = TestServer::start().await;
    let names = async |arguments: &[&str]| {
        let run = headwater(&server, &[&["classify"], arguments, &["one text", "another"]].concat(), "").await;
        assert_eq!(run.errors, "", "{arguments:?}");
        let name = |line: &serde_json::Value| {
            (line["input"].as_u64().unwrap(), line["task"].as_str().unwrap().to_owned(), line["mode"].clone())
        };
        run.lines().iter().map(name).collect::<Vec<_>>()
    };
    let both = |task: &str, mode: &str| [0, 1].map(|input| (input, task.to_owned(), mode.into()));
    assert_eq!(names(&["--tasks", "mood@1"]).await, both("mood", "exact"));
    assert_eq!(names(&["--kind", "regression", "--task-embedding", "off"]).await, both("length", "shared"));
    assert_eq!(names(&["--label", "war"]).await, both("topics", "exact"));
    let run = headwater(&server, &["classify", "--tasks", "a*,b*", "text"], "").await;
    assert_eq!(run.status, USAGE, "{}", run.errors);
    let run = headwater(&server, &["classify", "--tasks", "mood"], "").await;
    assert!(run.status == USAGE && run.errors.contains("a text is needed"), "{}", run.errors);
    let run = headwater(&server, &["classify", "mood"], "").await;
    assert!(run.status == USAGE && run.errors.contains("a text is needed"), "{}", run.errors);
}

#[tokio::test]
async fn a_file_has_a_line_for_each_row_with_all_its_tasks() {
    let server = TestServer::start().await;
    let rows = "{\"text\": \"first\"}\n{\"text\": \"\"}\n{\"text\": \"last\"}\n";
    let run = headwater(&server, &["classify", "--tasks", "mood,topics,missing", "--input", "-"], rows).await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    let lines = run.lines();
    assert_eq!(lines.len(), 3);
    for line in [&lines[0], &lines[2]] {
        assert_eq!((&line["mode"], &line["rows"]), (&"exact".into(), &2.into()));
        let tasks: Vec<_> =
            line["tasks"].as_array().unwrap().iter().map(|task| task["error"]["code"].clone()).collect();
        assert_eq!(tasks, [serde_json::Value::Null, serde_json::Value::Null, "NOT_FOUND".into()]);
    }
    assert!(lines[1]["tasks"].as_array().unwrap().iter().all(|task| task["error"].is_object()));
}

#[tokio::test]
async fn a_table_has_one_row_a_task_and_says_what_the_mode_means() {
    let server = TestServer::start().await;
    let run =
        headwater(&server, &["classify", "--tasks", "mood,topics,missing", "a day", "--output", "table"], "").await;
    let lines: Vec<&str> = run.output.lines().collect();
    assert!(lines[0].trim_start().starts_with("TASK"), "{}", run.output);
    assert!(lines[1].contains("mood") && lines[3].contains("NOT_FOUND"), "{}", run.output);
    assert!(run.output.contains("3 tasks, 2 rows") && run.output.contains("exact: each task"), "{}", run.output);
}

#[tokio::test]
async fn settings_from_the_command_line_make_a_version_that_abstains() {
    let server = TestServer::start().await;
    let options = ["--temperature", "8", "--abstain-below", "0.95", "--tags", "a, b", "--live"];
    let run = headwater(&server, &[&["heads", "update", "mood"], &options[..]].concat(), "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    let line = &run.lines()[0];
    assert_eq!((&line["version"], &line["new_version"], &line["live"]), (&2.into(), &true.into(), &true.into()));
    let answer = headwater(&server, &["classify", "mood", "a day"], "").await.lines().remove(0);
    assert_eq!((&answer["version"], &answer["confidence"]["abstain"]), (&2.into(), &true.into()));
    let table = headwater(&server, &["classify", "mood", "a day", "--output", "table"], "").await.output;
    assert!(table.contains("(abstain"), "{table}");
    let task = headwater(&server, &["task", "mood"], "").await.lines().remove(0);
    assert_eq!(task["abstain_below"].to_string(), "0.95");
    assert_eq!(task["tags"], serde_json::json!(["a", "b"]));
    let refused = headwater(&server, &["heads", "update", "mood", "--thresholds", "0.1,0.2,0.3"], "").await;
    assert!(refused.status == REFUSED && refused.errors.contains("thresholds"), "{}", refused.errors);
}
