//! The starter judged through a real server: rows of every kind that it has, from the command line.

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use clap::Parser;
use deberta::Kernels;
use serde_json::Value;
use tests::TestServer;

use crate::serving::starter;

/// Rows of our own, a file a task. What the starter makes of them is beyond doubt but for the last row of each.
const ROWS: [(&str, &[&str]); 5] = [
    (
        "sms_spam",
        &[
            r#"{"text": "WINNER!! Claim your free prize now, call 0900 123 456", "label": 1}"#,
            r#"{"text": "Are we still meeting at six? I will bring the books", "label": "ham"}"#,
            r#"{"text": "See you at home, love", "label": "spam"}"#,
        ],
    ),
    (
        "sick__relatedness",
        &[
            r#"{"text": "Two dogs are running", "text_pair": "A pair of dogs is running", "label": 4.6}"#,
            r#"{"text": "A man is playing a guitar", "text_pair": "A man is playing a guitar on a stage", "label": 4.0}"#,
            r#"{"text": "A man is playing a guitar", "text_pair": "A woman is cutting an onion", "label": 1.0}"#,
        ],
    ),
    (
        "go_emotions__simplified",
        &[
            r#"{"text": "Thank you so much, that is really kind of you!", "labels": ["gratitude"]}"#,
            r#"{"text": "Thanks a lot!", "labels": [15, 26]}"#,
        ],
    ),
    (
        "codah__codah",
        &[
            r#"{"text": "The boy was thirsty, so he", "choices": ["drank a glass of water", "ate the moon"], "label": 0}"#,
            r#"{"text": "The boy was thirsty, so he", "choices": ["drank a glass of water", "ate the moon"], "label": 1}"#,
        ],
    ),
    (
        "conll2003__ner_tags",
        &[
            r#"{"tokens": ["Angela", "Merkel", "was", "in", "Berlin"], "labels": ["B-PER", "I-PER", "O", "O", "B-LOC"]}"#,
            r#"{"tokens": ["Angela", "Merkel", "was", "in", "Berlin"], "labels": [0, 0, 0, 0, 5]}"#,
        ],
    ),
];

async fn headwater(server: &TestServer, words: &[&str]) -> (i32, String) {
    let output = Output::default();
    let streams = cli::Streams {
        input: Box::new(io::empty()),
        output: Box::new(output.clone()),
        output_is_terminal: false,
        errors: Box::new(output.clone()),
    };
    let address = server.address.to_string();
    let arguments = cli::Arguments::try_parse_from([&["headwater", "--addr", &address], words].concat()).unwrap();
    let status = cli::run(arguments, streams).await;
    let written = output.0.lock().unwrap().clone();
    (status, String::from_utf8(written).unwrap())
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_starter_is_judged_on_rows_of_every_kind_that_it_has() {
    let server = starter(Kernels::Libtorch).await;
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("rows"), folder.path().join("out"));
    fs::create_dir(&data).unwrap();
    for (task, lines) in ROWS {
        fs::write(data.join(format!("{task}.jsonl")), lines.join("\n")).unwrap();
    }
    let words = ["evaluate", "--all", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let (status, output) = headwater(&server, &words).await;
    assert_eq!(status, cli::DONE, "{output}");
    let reports: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), 30);
    let report = |task: &str| reports.iter().find(|report| report["task"] == task).unwrap();
    let figure = |task: &str, name: &str| report(task)["metrics"][name]["value"].as_f64().unwrap();
    assert_eq!(figure("sms_spam", "accuracy"), 2.0 / 3.0);
    assert!(figure("sick/relatedness", "pearson") > 0.9);
    assert_eq!(figure("codah/codah", "accuracy"), 0.5);
    // Both entities are found twice, of which three are due.
    assert_eq!(figure("conll2003/ner_tags", "span_f1"), 6.0 / 7.0);
    assert_eq!(figure("conll2003/ner_tags", "span_f1_strict"), 6.0 / 7.0);
    let gratitude = &report("go_emotions/simplified")["labels"][15];
    assert_eq!((&gratitude["label"], &gratitude["f1"]), (&"gratitude".into(), &1.0.into()));
    assert_eq!(report("trec")["status"], "no_rows");
    let html = fs::read_to_string(out.join("evaluation.html")).unwrap();
    assert!(html.contains(">conll2003/ner_tags</a>"), "{html}");
}
