//! The command line's other ways to ask: zero-shot, score, compare, and long texts in windows.

use api::v1;
use cli::{DONE, REFUSED, SOME_FAILED};
use engine::{Head, HeadKind, HeadParts};
use tests::{HIDDEN, TestServer, head};

use crate::command_line::headwater;
use crate::installing::{folder, install, messages};
use crate::zero_shot::with_nli;

#[tokio::test]
async fn zero_shot_prints_labels_of_texts_and_of_the_rows_of_a_file() {
    let server = with_nli(TestServer::start().await).await;
    let words = ["zero-shot", "nli", "a fine day", "another", "--label", "sport", "--label", "money", "--logits"];
    let run = headwater(&server, &words, "").await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    let lines = run.lines();
    assert_eq!(lines.len(), 2);
    let labels = lines[0]["labels"].as_array().unwrap();
    assert_eq!(labels.len(), 2);
    assert!(labels.iter().all(|label| label["entailment_logit"].is_number()));
    assert_eq!(
        (&lines[0]["task"], &lines[0]["version"], &lines[0]["mode"]),
        (&"nli".into(), &1.into(), &"exact".into())
    );
    assert_eq!(lines[0]["usage"]["rows"], 2);
    assert!(lines[0]["confidence"]["margin"].is_number(), "{}", lines[0]);

    let file = "{\"text\": \"a fine day\"}\n{\"text\": \"\"}\n{\"text\": \"x\", \"candidate_labels\": [\"a\", \"b\", \"c\"]}\n";
    let words = ["zero-shot", "nli", "--label", "sport", "--label", "money", "--logits", "--input", "-"];
    let run = headwater(&server, &words, file).await;
    assert_eq!(run.status, SOME_FAILED);
    let of_file = run.lines();
    assert_eq!(of_file[0]["labels"], lines[0]["labels"]);
    assert!(of_file[1]["error"]["message"].as_str().unwrap().contains("inputs[0].text"), "{}", of_file[1]);
    assert_eq!(of_file[2]["labels"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_template_and_multi_label_reach_the_head() {
    let server = with_nli(TestServer::start().await).await;
    let scores = async |more: &[&str]| {
        let words = [&["zero-shot", "nli", "a fine day", "--label", "sport", "--label", "money"], more].concat();
        let run = headwater(&server, &words, "").await;
        assert_eq!(run.status, DONE, "{}", run.errors);
        let labels = run.lines()[0]["labels"].as_array().unwrap().clone();
        labels.iter().map(|label| label["score"].as_f64().unwrap()).sum::<f64>()
    };
    assert!((scores(&[]).await - 1.0).abs() < 1e-6);
    let each = scores(&["--multi-label"]).await;
    assert!((each - 1.0).abs() > 1e-3, "{each}");
    assert!((each - scores(&["--multi-label", "--template", "about {} and more"]).await).abs() > 1e-4);
    let run = headwater(&server, &["zero-shot", "mood", "x", "--label", "a"], "").await;
    assert_eq!(run.status, REFUSED);
    assert!(run.errors.contains("entailment"), "{}", run.errors);
}

#[tokio::test]
async fn score_prints_a_reward_for_every_answer() {
    let server = TestServer::start().await;
    let run = headwater(&server, &["score", "help", "--prompt", "How?", "like this", "no"], "").await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    let lines = run.lines();
    assert_eq!((lines.len(), &lines[0]["task"]), (2, &"help".into()));
    let file = "{\"prompt\": \"How?\", \"answer\": \"like this\"}\n{\"text\": \"How?\", \"text_pair\": \"no\"}\n";
    let of_file = headwater(&server, &["score", "help", "--input", "-"], file).await.lines();
    for (alone, together) in of_file.iter().zip(&lines) {
        assert!((alone["value"].as_f64().unwrap() - together["value"].as_f64().unwrap()).abs() < 1e-5);
    }
    let template = headwater(&server, &["score", "help", "--template", "Say how?", "like this"], "").await;
    assert_eq!(template.status, DONE, "{}", template.errors);
    assert_eq!(headwater(&server, &["score", "mood", "--prompt", "How?", "x"], "").await.status, REFUSED);
}

#[tokio::test]
async fn compare_prints_a_ranking_and_who_is_preferred_to_whom() {
    let server = TestServer::start().await;
    let plain = head(HeadKind::Reward, &[], 6);
    let parts = HeadParts { prompt: Some("To {} one says".to_owned()), ..plain.parts().clone() };
    let folder = folder(&server, "templated", &Head::new(HeadKind::Reward, HIDDEN, parts).unwrap());
    install(&server, messages(v1::InstallHeader::default(), &folder)).await.unwrap();
    let run = headwater(&server, &["compare", "templated", "--prompt", "hello", "good day", "no", "what"], "").await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    let line = run.lines().remove(0);
    let ranking = line["ranking"].as_array().unwrap();
    assert!(ranking.windows(2).all(|pair| pair[0]["reward"].as_f64() >= pair[1]["reward"].as_f64()));
    assert_eq!((ranking.len(), line["preferences"].as_array().unwrap().len()), (3, 3));
    assert_eq!(line["preferences"][1][1], 0.5);
    assert!(line["confidence"]["entropy"].is_number(), "{line}");
    let words = ["compare", "help", "--prompt", "To hello one says", "good day", "no", "what"];
    assert_eq!(headwater(&server, &words, "").await.lines()[0]["ranking"], line["ranking"], "the head's own template");
    let file = "{\"text\": \"hello\", \"choices\": [\"good day\", \"no\", \"what\"]}\n{\"prompt\": \"hello\", \"answers\": [\"one\"]}\n";
    let run = headwater(&server, &["compare", "templated", "--input", "-"], file).await;
    assert_eq!(run.status, SOME_FAILED);
    assert_eq!(run.lines()[0]["ranking"], line["ranking"]);
    assert!(run.lines()[1]["error"]["message"].as_str().unwrap().contains("answers"));
}

#[tokio::test]
async fn a_long_text_is_read_in_windows_when_asked() {
    let server = TestServer::start().await;
    let long = "word ".repeat(150);
    let usage = async |more: &[&str]| {
        let run = headwater(&server, &[&["classify", "mood", &long], more].concat(), "").await;
        assert_eq!(run.status, DONE, "{}", run.errors);
        run.lines()[0]["usage"].clone()
    };
    let cut = usage(&[]).await;
    assert_eq!((&cut["rows"], cut["cuts"].as_array().unwrap().len()), (&1.into(), 1));
    let windows = usage(&["--truncation", "windows", "--aggregation", "max"]).await;
    assert_eq!((&windows["rows"], windows.get("cuts")), (&3.into(), None));
}

#[tokio::test]
async fn a_table_shows_each_of_them_to_people() {
    let server = with_nli(TestServer::start().await).await;
    let cases: [(&[&str], &[&str]); 3] = [
        (&["zero-shot", "nli", "a fine day", "--label", "sport", "--label", "money"], &["LABEL", "sport", "money"]),
        (&["score", "help", "--prompt", "How?", "like this"], &["REWARD", "like this"]),
        (&["compare", "help", "--prompt", "How?", "like this", "no"], &["PREFERENCE", "like this", "no"]),
    ];
    for (words, shown) in cases {
        let run = headwater(&server, &[words, &["--output", "table"]].concat(), "").await;
        assert_eq!(run.status, DONE, "{}", run.errors);
        assert!(shown.iter().all(|word| run.output.contains(word)), "{}", run.output);
    }
}
