//! One line of output for each line of input, in order, whatever becomes of each row on its way.

use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::headwater;
use crate::rule_server::RuleServer;

fn lines(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn answers_that_come_in_another_order_are_put_back() {
    let address = RuleServer::default().start().await;
    let input: String = (0..1_000).map(|row| format!("{{\"text\": \"{}\"}}\n", "x".repeat(row % 97))).collect();
    let run = headwater(&["classify", "a/b", "--input", "-", "--addr", &address], &input).await;
    assert_eq!((run.status, run.errors.as_str()), (0, ""));
    let values: Vec<u64> = lines(&run.output).iter().map(|line| line["value"].as_f64().unwrap() as u64).collect();
    let expected: Vec<u64> = (0..1_000).map(|row| row % 97).collect();
    assert_eq!(values, expected);
}

#[tokio::test]
async fn a_row_that_fails_has_a_line_of_its_own_and_the_others_go_on() {
    let address = RuleServer::default().start().await;
    let input = "{\"text\": \"one\"}\n\nnot json\n{\"text\": \"bad\"}\n{\"text\": \"three\"}";
    let run = headwater(&["classify", "a/b", "--input", "-", "--addr", &address], input).await;
    assert_eq!(run.status, 1);
    let lines = lines(&run.output);
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0]["value"], 3.0);
    for (line, reason) in [(1, "empty"), (2, "not a JSON object"), (3, "input.text is bad")] {
        assert_eq!(lines[line]["error"]["code"], "INVALID_ARGUMENT");
        assert!(lines[line]["error"]["message"].as_str().unwrap().contains(reason));
    }
    assert_eq!(lines[4]["value"], 5.0);
}

#[tokio::test]
async fn a_row_that_the_server_is_too_busy_for_is_sent_again() {
    let address = RuleServer::default().start().await;
    let input = "{\"text\": \"busy\"}\n{\"text\": \"a\"}\n{\"text\": \"busy\"}\n";
    let run = headwater(&["classify", "a/b", "--input", "-", "--addr", &address], input).await;
    assert_eq!(run.status, 0);
    let values: Vec<f64> = lines(&run.output).iter().map(|line| line["value"].as_f64().unwrap()).collect();
    assert_eq!(values, [4.0, 1.0, 4.0]);
}

#[tokio::test]
async fn rows_in_flight_are_bounded_however_long_the_file_is() {
    let server = RuleServer::default();
    let most_waiting = server.most_waiting.clone();
    let address = server.start().await;
    let input = "{\"text\": \"a\"}\n".repeat(20_000);
    let run = headwater(&["classify", "patient", "--input", "-", "--addr", &address], &input).await;
    assert_eq!((run.status, run.output.lines().count()), (0, 20_000));
    assert!((8..=256).contains(&most_waiting.load(Ordering::Relaxed)));
}

#[tokio::test]
async fn calls_of_their_own_keep_the_order_too() {
    let address = RuleServer::default().start().await;
    let input = "{\"text\": \"slow text\"}\n{\"text\": \"a\"}\n{}{}\n{\"text\": \"slow\"}\n";
    let run = headwater(&["embed", "--input", "-", "--addr", &address], input).await;
    assert_eq!(run.status, 1);
    let lines = lines(&run.output);
    assert_eq!([&lines[0]["vector"][0], &lines[1]["vector"][0], &lines[3]["vector"][0]], [9.0, 1.0, 4.0]);
    assert_eq!(lines[2]["error"]["code"], "INVALID_ARGUMENT");
}
