//! `headwater evaluate`: one task as a report, all tasks of a folder as a table and a page.

use std::fs;
use std::path::Path;

use cli::{DONE, REFUSED, SOME_FAILED, USAGE};
use tests::TestServer;

use crate::command_line::headwater;

/// Rows whose labels run through 0, 1 and 2.
fn mood_lines(count: usize) -> String {
    let line = |place: usize| {
        format!("{{\"text\": \"word{place} {}end\", \"label\": {}}}\n", "more ".repeat(place % 7), place % 3)
    };
    (0..count).map(line).collect()
}

/// A folder with rows of three tasks, one of them bad, and the list of tasks one level up.
fn write_data(folder: &Path) {
    let rows = folder.join("validation");
    fs::create_dir(&rows).unwrap();
    fs::write(rows.join("mood.jsonl"), mood_lines(40) + "{\"text\": \"\", \"label\": 1}\n").unwrap();
    let numbers: String = (0..40)
        .map(|place| format!("{{\"text\": \"{}\", \"label\": {}.5}}\n", "w ".repeat(place + 1), place % 5))
        .collect();
    fs::write(rows.join("length.jsonl"), numbers).unwrap();
    fs::write(rows.join("names.jsonl"), "{\"tokens\": [\"Ada\", \"left\"], \"labels\": [1]}\n").unwrap();
    // The same labels in another order than the head's.
    let tasks = r#"{"mood": {"kind": "classification", "labels": ["angry", "sad", "glad"], "note": ""}}"#;
    fs::write(folder.join("tasks.json"), tasks).unwrap();
}

#[tokio::test]
async fn a_task_is_judged_as_json_for_programs_and_as_tables_for_people() {
    let server = TestServer::start().await;
    let rows = mood_lines(50);
    let run = headwater(&server, &["evaluate", "mood", "--input", "-", "--fit-temperature"], &rows).await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    let report = run.lines().remove(0);
    assert_eq!(
        (&report["task"], &report["kind"], &report["rows"]),
        (&"mood".into(), &"classification".into(), &50.into())
    );
    let accuracy = &report["metrics"]["accuracy"];
    assert!(
        accuracy["low"].as_f64() <= accuracy["value"].as_f64()
            && accuracy["value"].as_f64() <= accuracy["high"].as_f64()
    );
    assert_eq!(report["labels"].as_array().unwrap().len(), 3);
    assert!(report["temperature"].as_f64().unwrap() > 0.0);
    let table = headwater(&server, &["evaluate", "mood", "--input", "-", "--output", "table"], &rows).await;
    assert_eq!(table.status, DONE, "{}", table.errors);
    let shown = format!("{:.3}", accuracy["value"].as_f64().unwrap());
    for part in
        ["mood version 1: 50 rows", "95 % INTERVAL", "expected calibration error", "PRECISION", "right label", &shown]
    {
        assert!(table.output.contains(part), "{part:?} is not in:\n{}", table.output);
    }
}

#[tokio::test]
async fn versions_are_compared_and_what_was_fitted_is_kept() {
    let server = TestServer::start().await;
    let rows = mood_lines(50);
    let run = headwater(&server, &["evaluate", "mood", "--input", "-", "--fit-temperature", "--store"], &rows).await;
    assert_eq!(run.lines()[0]["stored_version"], 2, "{}", run.errors);
    let words = ["evaluate", "mood", "--input", "-", "--version", "1", "--compare-with", "2"];
    let run = headwater(&server, &words, &rows).await;
    let comparison = &run.lines()[0]["comparison"];
    assert_eq!((&comparison["test"], &comparison["disagreement_total"]), (&"mcnemar_exact".into(), &0.into()));
    let table = headwater(&server, &[&words[..], &["--output", "table"]].concat(), &rows).await;
    assert!(table.output.contains("From version 1 to 2: accuracy changes by +0.000"), "{}", table.output);
}

#[tokio::test]
async fn bad_rows_stop_the_evaluation_by_line_or_are_listed() {
    let server = TestServer::start().await;
    let rows = format!("{}\n{{\"text\": \"x\"}}\nnot json\n{{\"text\": \"x\", \"label\": 7}}\n", mood_lines(3));
    let run = headwater(&server, &["evaluate", "mood", "--input", "-"], &rows).await;
    assert_eq!((run.status, run.output.as_str()), (USAGE, ""));
    assert!(run.errors.contains("line 5: label: the right answer is missing"), "{}", run.errors);
    let run = headwater(&server, &["evaluate", "mood", "--input", "-", "--bad-rows", "skip"], &rows).await;
    assert_eq!(run.status, SOME_FAILED, "{}", run.errors);
    let report = run.lines().remove(0);
    let lines: Vec<_> = report["bad_rows"].as_array().unwrap().iter().map(|bad| bad["line"].clone()).collect();
    assert_eq!((&report["rows"], lines), (&3.into(), vec![5.into(), 6.into(), 7.into()]));
    let refused = headwater(&server, &["evaluate", "nothing", "--input", "-"], &rows).await;
    assert_eq!(refused.status, REFUSED);
}

#[tokio::test]
async fn all_tasks_of_a_folder_are_judged_whatever_becomes_of_one() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let (data, out) = (folder.path().join("validation"), folder.path().join("out/deep"));
    let words = ["evaluate", "--all", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let run = headwater(&server, &words, "").await;
    assert_eq!((run.status, run.errors.as_str()), (SOME_FAILED, ""), "one task failed");
    let status: Vec<_> = run.lines().iter().map(|line| format!("{} {}", line["task"], line["status"])).collect();
    let expected = [
        "\"ending\" \"no_rows\"",
        "\"help\" \"no_rows\"",
        "\"length\" \"judged\"",
        "\"mood\" \"judged\"",
        "\"names\" \"failed\"",
        "\"topics\" \"no_rows\"",
    ];
    assert_eq!(status, expected);
    assert!(
        run.lines()[4]["error"].as_str().unwrap().contains("first line 1, indices: 1 labels for 2 words"),
        "{}",
        run.output
    );

    let markdown = fs::read_to_string(out.join("evaluation.md")).unwrap();
    assert!(markdown.contains("| `mood` | classification | 40 | accuracy |"), "{markdown}");
    assert!(
        markdown.contains("- `topics`: no rows in the folder")
            && markdown.contains("2 tasks judged, 3 without rows, 1 failed.")
    );
    assert!(markdown.contains("- `mood`: skipped line 41 (input.text: "), "{markdown}");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(out.join("evaluation.json")).unwrap()).unwrap();
    assert_eq!(json["tasks"].as_array().unwrap().len(), 6);
    assert_eq!(json["means"]["accuracy"]["tasks"], 1);
    let html = fs::read_to_string(out.join("evaluation.html")).unwrap();
    assert_eq!(html.matches("<svg").count(), 3, "bars for two figures, and one calibration curve");
    for foreign in ["<script", "http://", "https://", "src=", "@import"] {
        assert!(!html.contains(foreign), "{foreign}");
    }

    // The file counts in the order of tasks.json: position 0 is `angry`, which is the head's last label.
    let supports = |report: &serde_json::Value| -> Vec<u64> {
        report["labels"].as_array().unwrap().iter().map(|label| label["support"].as_u64().unwrap()).collect()
    };
    assert_eq!(supports(&run.lines()[3]), [13, 13, 14]);
    let alone = headwater(
        &server,
        &["evaluate", "mood", "--input", data.join("mood.jsonl").to_str().unwrap(), "--bad-rows", "skip"],
        "",
    )
    .await;
    assert_eq!(supports(&alone.lines()[0]), [14, 13, 13]);
}

#[tokio::test]
async fn a_pattern_and_a_number_of_rows_narrow_it_down() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let data = folder.path().join("validation");
    let data = data.to_str().unwrap();
    let words = ["evaluate", "m*", "--all", "--data", data, "--rows", "12", "--resamples", "50", "--output", "table"];
    let run = headwater(&server, &words, "").await;
    // The last row of the file is always among those that are spread over it.
    assert_eq!((run.status, run.errors.as_str()), (SOME_FAILED, ""));
    assert!(run.output.contains("mood: skipped line 41"), "{}", run.output);
    assert!(run.output.contains("1 task judged, on at most 12 rows each."), "{}", run.output);
    let nothing = headwater(&server, &["evaluate", "--all", "--data", folder.path().to_str().unwrap()], "").await;
    assert_eq!(nothing.status, USAGE);
    assert!(nothing.errors.contains("holds no rows of a task"), "{}", nothing.errors);
}
