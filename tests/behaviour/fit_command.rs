//! `headwater fit`: files as the data sets write them, a report, and exit statuses that say what became of it.

use cli::{DONE, REFUSED, SOME_FAILED, USAGE};
use tests::TestServer;

use crate::command_line::headwater;

/// One row a letter, with this answer.
fn rows(answer: impl Fn(u32) -> String) -> String {
    ('a'..='z').zip(0..).map(|(letter, at)| format!("{{\"text\": \"{letter}\", {}}}\n", answer(at))).collect()
}

#[tokio::test]
async fn a_file_becomes_a_version_and_the_report_says_all_of_it() {
    let server = TestServer::start().await;
    let rows = rows(|at| format!("\"label\": {}", at / 13));
    let arguments = ["fit", "half", "--input", "-", "--kind", "classification", "--label", "early", "--label", "late"];
    let run = headwater(&server, &arguments, &rows).await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    let report = run.lines().remove(0);
    assert_eq!((&report["task"], &report["version"], &report["live"]), (&"half".into(), &1.into(), &true.into()));
    assert_eq!((&report["train_rows"], &report["skipped_rows"]), (&26.into(), &0.into()));
    assert!(report["metrics"]["accuracy"].as_f64().unwrap() > 0.85, "{report}");
    let answered = headwater(&server, &["classify", "half", "y"], "").await;
    assert_eq!(answered.lines()[0]["labels"][0]["label"], "late");
    // With another seed it is another version, however little time has passed between the two.
    let again = [&arguments[..], &["--seed", "2", "--output", "table", "--live"]].concat();
    let shown = headwater(&server, &again, &rows).await;
    assert_eq!(shown.status, DONE, "{}", shown.errors);
    for words in ["version 2, live", "26 to fit on, 0 skipped", "converged", "accuracy", "(cross-validation)"] {
        assert!(shown.output.contains(words), "{words:?} is not in\n{}", shown.output);
    }
}

#[tokio::test]
async fn a_second_file_judges() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let train = file("train.jsonl", &rows(|at| format!("\"label\": {at}.0")));
    let validation = file("validation.jsonl", "{\"text\": \"c\", \"label\": 2}\n{\"text\": \"v\", \"label\": 21}\n");
    let arguments = ["fit", "place", "--kind", "regression", "--input", &train, "--validation"];
    let run = headwater(&server, &[&arguments[..], &[&validation]].concat(), "").await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    let report = run.lines().remove(0);
    assert_eq!((&report["train_rows"], &report["validation_rows"]), (&26.into(), &2.into()));
    assert!(report["metrics"]["pearson"].as_f64().unwrap() > 0.99, "{report}");
    let bad = file("bad.jsonl", "{\"text\": \"c\", \"label\": 2}\n\n{\"text\": \"\", \"label\": 2}\n");
    let skipping = [&arguments[..], &[&bad, "--bad-rows", "skip"]].concat();
    let run = headwater(&server, &skipping, "").await;
    assert_eq!((run.status, run.errors.as_str()), (SOME_FAILED, ""));
    let report = run.lines().remove(0);
    let mut places: Vec<_> =
        report["bad_rows"].as_array().unwrap().iter().map(|bad| bad["place"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, [format!("line 2 of {bad}"), format!("line 3 of {bad}")]);
    assert_eq!((&report["skipped_rows"], &report["validation_rows"]), (&2.into(), &1.into()));
    let refusing = file("refusing.jsonl", "{\"text\": \"c\", \"label\": 2}\n{\"text\": \"\", \"label\": 2}\n");
    let run = headwater(&server, &[&arguments[..], &[&refusing]].concat(), "").await;
    assert_eq!(run.status, REFUSED);
    assert!(run.errors.contains(&format!("line 2 of {refusing}: input.text")), "{}", run.errors);
}

#[tokio::test]
async fn thresholds_and_a_temperature_are_fitted_when_asked_for() {
    let server = TestServer::start().await;
    let rows = rows(|at| format!("\"labels\": [\"letter\"{}]", if at > 12 { ", \"late\"" } else { "" }));
    let arguments = ["fit", "traits", "--kind", "multi_label", "--input", "-", "--thresholds", "--temperature"];
    let run = headwater(&server, &arguments, &rows).await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    let report = run.lines().remove(0);
    assert_eq!(report["thresholds"].as_array().unwrap().len(), 2, "{report}");
    assert!(report["temperature"].is_number() && report["metrics"]["micro_f1"].is_number(), "{report}");
    let shown = headwater(&server, &[&arguments[..], &["--output", "table"]].concat(), &rows).await;
    for words in ["thresholds", "temperature", "macro_f1"] {
        assert!(shown.output.contains(words), "{words:?} is not in\n{}", shown.output);
    }
    let refused = ["fit", "mood", "--input", "-", "--thresholds"];
    let refused = headwater(&server, &refused, "{\"text\": \"a\", \"label\": 1}").await;
    assert_eq!(refused.status, REFUSED);
    assert!(refused.errors.contains("plan.fit_thresholds"), "{}", refused.errors);
}

#[tokio::test]
async fn what_cannot_be_fitted_says_so_with_its_status() {
    let server = TestServer::start().await;
    let rows = rows(|at| format!("\"label\": {}", at / 13));
    let cases: [(&[&str], &str, i32, &str); 5] = [
        (&["fit", "half", "--input", "-"], &rows, USAGE, "--kind says what it answers with"),
        (&["fit", "half", "--input", "/nowhere.jsonl", "--kind", "regression"], "", USAGE, "/nowhere.jsonl"),
        (&["fit", "half", "--input", "-", "--kind", "regression"], "{\"label\": 1", USAGE, "line 1 of -"),
        (&["fit", "names", "--input", "-"], "{\"tokens\": [\"a\"], \"labels\": [0]}", REFUSED, "plan.kind"),
        (&["fit", "mood", "--input", "-"], "{\"text\": \"a\", \"label\": 3}", REFUSED, "line 1 of -: index"),
    ];
    for (arguments, input, status, words) in cases {
        let run = headwater(&server, arguments, input).await;
        assert_eq!((run.status, run.output.as_str()), (status, ""), "{arguments:?}: {}", run.errors);
        assert!(run.errors.contains(words), "{words:?} is not in {}", run.errors);
    }
    let listed = headwater(&server, &["heads", "versions", "mood"], "").await;
    assert_eq!(listed.output.matches("head_digest").count(), 1, "{}", listed.output);
}
