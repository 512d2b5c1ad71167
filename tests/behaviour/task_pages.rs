//! The command line on the catalogue: a task's page with calls to copy, and tasks that are found.

use cli::{DONE, REFUSED};
use engine::{About, HeadKind, Input};
use tests::{TestServer, head};

use crate::command_line::headwater;
use crate::finding::{described, serve};

/// The call in Rust that the page of the task below shows; compiled here, so that it is one.
const CALL: &str = include_str!("../fixtures/pages/call.rs.txt");

#[expect(dead_code, clippy::print_stdout, reason = "what is shown has to compile; its server is not there to answer")]
async fn the_call_of_the_page() -> Result<(), Box<dyn std::error::Error>> {
    include!("../fixtures/pages/call.rs.txt")
}

async fn server_with_a_card() -> TestServer {
    let server = TestServer::start().await;
    let about = About {
        description: "Does it follow?".into(),
        caution: "Short texts alone.".into(),
        tags: vec!["nli".into()],
        samples: vec![Input {
            text: Some("It's \"late\"".into()),
            text_pair: Some("It is dark".into()),
            ..Input::default()
        }],
        ..About::default()
    };
    serve(&server, "own/nli", &described(&head(HeadKind::Classification, &["no", "yes"], 9), about)).await;
    server
}

#[tokio::test]
async fn a_page_shows_card_sample_and_calls_that_are_what_they_seem() {
    let server = server_with_a_card().await;
    let run = headwater(&server, &["task", "own/nli"], "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    let page = run.lines().remove(0);
    assert_eq!((&page["description"], &page["caution"]), (&"Does it follow?".into(), &"Short texts alone.".into()));
    assert_eq!(page["samples"][0]["text_pair"], "It is dark");
    let address = server.address.to_string();
    let calls = &page["calls"];
    let rust = calls["rust"].as_str().unwrap().replace(&address, "127.0.0.1:50051");
    assert_eq!(format!("{{\n{rust}\nOk(())\n}}\n"), CALL);
    assert_eq!(
        calls["headwater"].as_str().unwrap().replace(&address, "ADDRESS"),
        r#"headwater classify --addr ADDRESS own/nli '--pair=It is dark' 'It'\''s "late"'"#
    );
    for (language, part) in [("grpcurl", "-plaintext"), ("python", "Request(task=\"own/nli\", inputs=[{")] {
        let call = calls[language].as_str().unwrap();
        assert!(call.contains(part) && call.contains(&address), "{language}: {call}");
    }
    let table = headwater(&server, &["task", "own/nli", "--output", "table"], "").await;
    for part in ["Sample input: It's \"late\" | It is dark", "grpcurl:", "Python", "Rust", "Short texts alone."] {
        assert!(table.output.contains(part), "no {part:?} in {}", table.output);
    }
}

#[tokio::test]
async fn the_sample_of_a_page_is_answered_as_it_is_shown() {
    let server = server_with_a_card().await;
    let page = headwater(&server, &["task", "own/nli"], "").await.lines().remove(0);
    let row = page["samples"][0].to_string();
    let run = headwater(&server, &["classify", "own/nli", "--input", "-"], &row).await;
    assert_eq!(run.status, DONE, "{}", run.output);
    let direct = ["classify", "own/nli", "--pair=It is dark", "It's \"late\""];
    assert_eq!(headwater(&server, &direct, "").await.lines()[0]["labels"], run.lines()[0]["labels"]);
}

#[tokio::test]
async fn tasks_are_found_from_the_command_line() {
    let server = server_with_a_card().await;
    let found = async |arguments: &[&str]| {
        let run = headwater(&server, &[&["tasks"], arguments].concat(), "").await;
        assert_eq!(run.status, DONE, "{arguments:?}: {}", run.errors);
        run
    };
    let search =
        found(&["search", "nli", "follow", "--tag", "nli", "--kind", "classification", "--label", "yes"]).await;
    let first = &search.lines()[0];
    assert_eq!((&first["task"]["task"], &first["reasons"][0]["field"]), (&"own/nli".into(), &"name".into()));
    let similar = found(&["similar", "own/nli", "--by", "head", "--limit", "3"]).await;
    assert_eq!(similar.lines().len(), 3);
    let table = found(&["search", "sport", "--output", "table"]).await.output;
    assert!(table.contains("sport in label") && table.contains("1 of 1 found"), "{table}");
    let table = found(&["suggest", "some text", "--output", "table"]).await.output;
    assert!(table.contains("6 have none"), "{table}");
    let known = found(&["glue/m*", "--known", "--kind", "classification"]).await;
    assert!(known.lines().iter().any(|task| task["task"] == "glue/mnli" && task["served"] == false));
    assert_eq!(found(&["own/*"]).await.lines().len(), 1, "a pattern still lists");
    let refused = headwater(&server, &["tasks", "similar", "length"], "").await;
    assert_eq!(refused.status, REFUSED);
    assert!(refused.errors.contains("no labels"), "{}", refused.errors);
}
