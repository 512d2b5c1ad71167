//! Heads judged on labelled rows: figures that follow from the answers, bad rows by line, versions against each other,
//! what was fitted kept as a version, and an end when the caller leaves.

pub(crate) mod rows;
mod versions;

use api::v1;
use api::v1::evaluate_head_response::Event;
use tests::TestServer;
use tonic::{Code, Status};

use crate::asking::{ask, fields, input};
use rows::{Evaluation, evaluate, indexed, mood_rows, plan, texts};

fn metric(report: &v1::VersionReport, name: &str) -> f64 {
    report.metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}")).value
}

fn refusal(evaluation: Result<Evaluation, Status>) -> (Code, Vec<String>, String) {
    let status = evaluation.expect_err("this is refused");
    (status.code(), fields(&status), status.message().to_owned())
}

/// The place of the label that each text is answered with.
async fn answers(server: &TestServer, texts: &[String], version: &str) -> Vec<u32> {
    let inputs = texts.iter().map(|text| input(text)).collect();
    let request = v1::ClassifyRequest { version: version.to_owned(), ..ask("mood", inputs) };
    let reply = server.classifier().classify(request).await.unwrap().into_inner();
    let best = |prediction: v1::Prediction| match prediction.result {
        Some(v1::prediction::Result::Classification(result)) => result.labels[0].index,
        other => panic!("{other:?}"),
    };
    reply.predictions.into_iter().map(best).collect()
}

#[tokio::test]
async fn figures_follow_from_what_the_head_answers() {
    let server = TestServer::start().await;
    let texts = texts(40);
    let answered = answers(&server, &texts, "").await;
    // Every fourth truth is another label than the answer.
    let truth = |(place, answer): (usize, &u32)| if place % 4 == 0 { (answer + 1) % 3 } else { *answer };
    let truths: Vec<u32> = answered.iter().enumerate().map(truth).collect();
    let rows = texts.iter().zip(&truths).map(|(text, truth)| indexed(text, *truth)).collect();
    let evaluation = evaluate(&server, plan("mood"), rows).await.unwrap();
    let report = evaluation.report.judged.unwrap();
    assert_eq!((report.version, evaluation.report.rows, evaluation.report.skipped_rows), (1, 40, 0));
    assert_eq!(report.metrics[0].name, "accuracy");
    assert_eq!(report.metrics[0].value, 0.75);
    assert!(report.metrics[0].low.unwrap() < 0.75 && report.metrics[0].high.unwrap() > 0.75);
    for (label, found) in report.labels.iter().enumerate() {
        let due = truths.iter().filter(|truth| **truth as usize == label).count() as u64;
        assert_eq!(found.support, due, "{}", found.label);
        for (answer, count) in report.confusion[label].counts.iter().enumerate() {
            let pairs = truths.iter().zip(&answered);
            let wanted = pairs.filter(|(truth, given)| (**truth as usize, **given as usize) == (label, answer)).count();
            assert_eq!(*count, wanted as u64);
        }
    }
    assert_eq!(report.calibration.iter().map(|bin| bin.answers).sum::<u64>(), 40);
    assert!(report.metrics.iter().all(|metric| !metric.name.ends_with("_fitted")));
}

#[tokio::test]
async fn the_same_plan_on_the_same_rows_gives_the_same_figures() {
    let server = TestServer::start().await;
    let report = async |seed, rows| {
        let plan = v1::EvaluationPlan { seed, ..plan("mood") };
        let report = evaluate(&server, plan, rows).await.unwrap().report;
        v1::EvaluationReport { elapsed_millis: 0, ..report }
    };
    let rows = mood_rows(60);
    let first = report(5, rows.clone()).await;
    assert_eq!(report(5, rows.clone()).await, first);
    assert_ne!(report(6, rows.clone()).await.judged, first.judged, "other resamples give other intervals");
    let numbered = rows.iter().map(|row| v1::LabelledRow { line: 9, ..row.clone() }).collect();
    assert_eq!(report(5, numbered).await.data_digest, first.data_digest, "lines are not content");
    assert_ne!(report(5, rows.into_iter().rev().collect()).await.data_digest, first.data_digest);
    assert!(first.data_digest.starts_with("sha256:") && first.data_digest.len() == 71);
}

#[tokio::test]
async fn every_kind_is_judged_by_its_own_figures() {
    let server = TestServer::start().await;
    let row =
        |input, answer| v1::LabelledRow { input: Some(input), answer: Some(answer), ..v1::LabelledRow::default() };
    let choices = |text: &str| v1::Input { choices: ["a", "bc", "d e"].map(String::from).to_vec(), ..input(text) };
    let words = v1::Input { tokens: ["Ada", "met", "Bob"].map(String::from).to_vec(), ..v1::Input::default() };
    let names = |names: &[&str]| v1::LabelNames { names: names.iter().map(|name| (*name).to_owned()).collect() };
    use v1::labelled_row::Answer;
    let cases = [
        ("mood", row(input("x"), Answer::Label("sad".into())), "accuracy"),
        ("topics", row(input("x"), Answer::Labels(names(&["war", "sport"]))), "micro_f1"),
        ("topics", row(input("x"), Answer::Indices(v1::LabelIndices { indices: vec![] })), "micro_f1"),
        ("length", row(input("x"), Answer::Value(1.5)), "mean_absolute_error"),
        ("ending", row(choices("x"), Answer::Index(2)), "accuracy"),
        ("help", row(choices("x"), Answer::Index(0)), "accuracy"),
        ("names", row(words, Answer::Labels(names(&["B-PER", "O", "B-PER"]))), "span_f1"),
    ];
    for (task, row, figure) in cases {
        let evaluation =
            evaluate(&server, plan(task), vec![row]).await.unwrap_or_else(|status| panic!("{task}: {status}"));
        let judged = evaluation.report.judged.unwrap();
        assert!(metric(&judged, figure).is_finite(), "{task}");
        assert!(evaluation.report.warnings[0].contains("rows say little"), "{task}");
    }
}

#[tokio::test]
async fn a_bad_row_ends_the_call_or_is_listed_by_its_line() {
    let server = TestServer::start().await;
    let rows = || {
        let mut rows = mood_rows(6);
        rows[1].answer = Some(v1::labelled_row::Answer::Label("bored".into()));
        rows[2].input = Some(input(""));
        rows[3].answer = None;
        rows[4] = v1::LabelledRow { line: 70, ..indexed("too far", 3) };
        rows
    };
    let (code, fields, message) = refusal(evaluate(&server, plan("mood"), rows()).await);
    assert_eq!((code, fields), (Code::InvalidArgument, vec!["rows.label".to_owned()]));
    assert!(message.contains("line 2: \"bored\" is not a label"), "{message}");
    let skipping = v1::EvaluationPlan { bad_rows: v1::BadRows::Skip.into(), ..plan("mood") };
    let evaluation = evaluate(&server, skipping.clone(), rows()).await.unwrap();
    assert_eq!((evaluation.report.rows, evaluation.report.skipped_rows), (2, 4));
    let mut bad: Vec<_> = evaluation.bad_rows.iter().map(|bad| (bad.line, bad.field.as_str())).collect();
    bad.sort_unstable();
    assert_eq!(bad, [(2, "label"), (3, "input.text"), (4, "answer"), (70, "index")]);
    let only_bad = rows().into_iter().skip(1).take(4).collect();
    assert_eq!(refusal(evaluate(&server, skipping, only_bad).await).1, ["rows"]);
}

#[tokio::test]
async fn a_row_without_words_or_for_fitting_is_bad() {
    let server = TestServer::start().await;
    let mut words = indexed("Ada met Bob", 0);
    words.answer = Some(v1::labelled_row::Answer::Indices(v1::LabelIndices { indices: vec![1, 0, 1] }));
    let mut short = words.clone();
    short.input = Some(v1::Input { tokens: vec!["Ada".into()], ..v1::Input::default() });
    let mut train = indexed("x", 0);
    train.set_use(v1::RowUse::Train);
    let mut number = indexed("x", 0);
    number.answer = Some(v1::labelled_row::Answer::Value(f64::NAN));
    for (task, row, field) in [
        ("names", words, "rows.input.tokens"),
        ("names", short, "rows.indices"),
        ("mood", train, "rows.use"),
        ("length", number.clone(), "rows.value"),
        ("mood", number, "rows.value"),
    ] {
        let (code, fields, message) = refusal(evaluate(&server, plan(task), vec![row]).await);
        assert_eq!((code, fields), (Code::InvalidArgument, vec![field.to_owned()]), "{message}");
    }
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_is_refused_by_field() {
    let server = TestServer::start().await;
    let plan = |task: &str| v1::EvaluationPlan { task: task.to_owned(), ..v1::EvaluationPlan::default() };
    let cases = [
        (plan("../x"), Code::InvalidArgument, "plan.task"),
        (plan("nothing"), Code::NotFound, ""),
        (v1::EvaluationPlan { version: "9".into(), ..plan("mood") }, Code::NotFound, ""),
        (v1::EvaluationPlan { resamples: Some(10_001), ..plan("mood") }, Code::InvalidArgument, "plan.resamples"),
        (v1::EvaluationPlan { coverage: Some(1.0), ..plan("mood") }, Code::InvalidArgument, "plan.coverage"),
        (v1::EvaluationPlan { coverage: Some(f64::NAN), ..plan("mood") }, Code::InvalidArgument, "plan.coverage"),
        (v1::EvaluationPlan { mode: 9, ..plan("mood") }, Code::InvalidArgument, "plan.mode"),
        (v1::EvaluationPlan { bad_rows: 9, ..plan("mood") }, Code::InvalidArgument, "plan.bad_rows"),
        (v1::EvaluationPlan { store: true, ..plan("mood") }, Code::InvalidArgument, "plan.store"),
        (v1::EvaluationPlan { fit_temperature: true, ..plan("length") }, Code::InvalidArgument, "plan.fit_temperature"),
        (v1::EvaluationPlan { fit_thresholds: true, ..plan("mood") }, Code::InvalidArgument, "plan.fit_thresholds"),
        (
            v1::EvaluationPlan { max_disagreements: Some(10_001), ..plan("mood") },
            Code::InvalidArgument,
            "plan.max_disagreements",
        ),
    ];
    for (plan, code, field) in cases {
        let (found, fields, message) = refusal(evaluate(&server, plan, mood_rows(2)).await);
        assert_eq!((found, fields.first().map_or("", String::as_str)), (code, field), "{message}");
    }
    let row = v1::LabelledRows { rows: mood_rows(257) };
    let too_many = vec![rows::of_plan(plan("mood")), rows::of_rows(row)];
    assert_eq!(refusal(rows::send(&server, too_many).await).1, ["rows"]);
    let without_plan = vec![rows::of_rows(v1::LabelledRows { rows: mood_rows(1) })];
    assert_eq!(refusal(rows::send(&server, without_plan).await).1, ["plan"]);
    let twice = vec![rows::of_plan(plan("mood")), rows::of_plan(plan("mood"))];
    assert_eq!(refusal(rows::send(&server, twice).await).1, ["plan"]);
}

#[tokio::test]
async fn few_rows_are_in_flight_and_none_follow_when_the_caller_leaves() {
    let server = TestServer::start().await;
    server.gate.close();
    let messages = rows::messages(plan("mood"), mood_rows(200));
    let events = server.heads().evaluate_head(tokio_stream::iter(messages)).await.unwrap();
    server.until_metric("rows_in_flight", 16).await;
    assert_eq!(server.metric("rows_in_flight").await, 16);
    drop(events);
    // The rows that wait go with the caller; those in the model's hands are finished.
    let gate = server.gate.clone();
    let gone = async {
        while server.metric("rows_in_flight").await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.expect("a caller who left is noticed");
    gate.open();
    server.classifier().classify(ask("mood", vec![input("after")])).await.unwrap();
    assert!(server.rows_seen() <= 18, "{} rows were read", server.rows_seen());
}

#[tokio::test]
async fn a_server_that_drains_ends_the_evaluation_with_a_reason() {
    let mut server = TestServer::start().await;
    server.gate.close();
    let messages = rows::messages(plan("mood"), mood_rows(50));
    let mut events = server.heads().evaluate_head(tokio_stream::iter(messages)).await.unwrap().into_inner();
    server.until_metric("rows_in_flight", 16).await;
    server.ask_to_stop();
    let ended = loop {
        match events.message().await {
            Ok(Some(message)) => assert!(matches!(message.event, Some(Event::Progress(_)))),
            Ok(None) => panic!("no reason"),
            Err(status) => break status,
        }
    };
    server.gate.open();
    assert_eq!(ended.code(), Code::Unavailable);
    drop(events);
    assert_eq!(server.ended().await.unwrap(), server::Ended::Drained);
}

#[tokio::test]
async fn a_fifth_evaluation_at_the_same_time_is_refused_until_one_ends() {
    let server = TestServer::start().await;
    server.gate.close();
    let mut running = Vec::new();
    for _ in 0..4 {
        let messages = rows::messages(plan("mood"), mood_rows(1));
        running.push(server.heads().evaluate_head(tokio_stream::iter(messages)).await.unwrap());
    }
    assert_eq!(refusal(evaluate(&server, plan("mood"), mood_rows(1)).await).0, Code::ResourceExhausted);
    server.gate.open();
    for reply in running {
        let mut events = reply.into_inner();
        while events.message().await.unwrap().is_some() {}
    }
    evaluate(&server, plan("mood"), mood_rows(1)).await.unwrap();
}
