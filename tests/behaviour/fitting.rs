//! FitHead: labelled rows become a version that answers, and nothing becomes of a fit that does not end well.

use std::time::Duration;

use api::v1;
use api::v1::fit_head_request::Part;
use api::v1::fit_head_response::Event;
use api::v1::labelled_row::Answer;
use tests::TestServer;
use tonic::{Code, Status, Streaming};

use crate::asking::{ask, fields, input};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a fit said: its report, the rows it skipped, and the stages it went through.
pub(crate) struct Told {
    pub(crate) report: v1::FitReport,
    pub(crate) bad_rows: Vec<v1::BadRow>,
    pub(crate) stages: Vec<v1::Stage>,
}

pub(crate) fn plan(task: &str, kind: v1::TaskKind) -> v1::FitPlan {
    v1::FitPlan { task: task.to_owned(), kind: kind.into(), ..v1::FitPlan::default() }
}

pub(crate) fn row(input: v1::Input, answer: Answer) -> v1::LabelledRow {
    v1::LabelledRow { input: Some(input), answer: Some(answer), ..v1::LabelledRow::default() }
}

/// Rows whose one letter tells their label: early letters and late ones have different vectors.
pub(crate) fn letters() -> Vec<v1::LabelledRow> {
    let label = |letter: char| Answer::Label(if letter < 'n' { "early" } else { "late" }.to_owned());
    ('a'..='z').map(|letter| row(input(&letter.to_string()), label(letter))).collect()
}

pub(crate) fn messages(plan: v1::FitPlan, rows: Vec<v1::LabelledRow>) -> Vec<v1::FitHeadRequest> {
    let message = |part| v1::FitHeadRequest { part: Some(part) };
    let rows = rows.chunks(10).map(|rows| message(Part::Rows(v1::LabelledRows { rows: rows.to_vec() })));
    std::iter::once(message(Part::Plan(plan))).chain(rows).collect()
}

async fn begin(
    server: &TestServer,
    messages: Vec<v1::FitHeadRequest>,
) -> Result<Streaming<v1::FitHeadResponse>, Status> {
    server.heads().fit_head(tokio_stream::iter(messages)).await.map(tonic::Response::into_inner)
}

async fn told(mut events: Streaming<v1::FitHeadResponse>) -> Result<Told, Status> {
    let (mut report, mut bad_rows, mut stages) = (None, Vec::new(), Vec::new());
    while let Some(response) = events.message().await? {
        assert!(report.is_none(), "the report is the last message");
        match response.event.unwrap() {
            Event::Progress(progress) => stages.push(progress.stage()),
            Event::BadRow(bad) => bad_rows.push(bad),
            Event::Report(last) => report = Some(last),
        }
    }
    let report = report.ok_or_else(|| Status::internal("no report"))?;
    Ok(Told { report, bad_rows, stages })
}

pub(crate) async fn fit(server: &TestServer, plan: v1::FitPlan, rows: Vec<v1::LabelledRow>) -> Result<Told, Status> {
    let fitting = async { told(begin(server, messages(plan, rows)).await?).await };
    tokio::time::timeout(PATIENCE, fitting).await.unwrap()
}

async fn best_label(server: &TestServer, task: &str, text: &str) -> (String, u64) {
    let reply = server.classifier().classify(ask(task, vec![input(text)])).await.unwrap().into_inner();
    let result = reply.predictions[0].result.clone();
    let Some(v1::prediction::Result::Classification(result)) = result else { panic!("{result:?}") };
    (result.labels[0].label.clone(), reply.served_by.unwrap().version)
}

async fn versions(server: &TestServer, task: &str) -> Vec<v1::HeadVersion> {
    let request = v1::ListVersionsRequest { task: task.to_owned() };
    let listed = server.heads().list_versions(request).await;
    listed.map(|reply| reply.into_inner().versions).unwrap_or_default()
}

pub(crate) async fn head_toml(server: &TestServer, task: &str, version: u64) -> toml::Table {
    let request = v1::ExportHeadRequest {
        task: task.to_owned(),
        version: version.to_string(),
        ..v1::ExportHeadRequest::default()
    };
    let mut parts = server.heads().export_head(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        if let Some(v1::export_head_response::Part::Chunk(chunk)) = part.part
            && chunk.name == "head.toml"
        {
            bytes.extend(chunk.data);
        }
    }
    String::from_utf8(bytes).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_task_that_did_not_exist_is_fitted_and_answers_also_after_a_restart() {
    let server = TestServer::start().await;
    let plan =
        v1::FitPlan { description: "Early or late?".into(), seed: 3, ..plan("half", v1::TaskKind::Classification) };
    let Told { report, bad_rows, .. } = fit(&server, plan, letters()).await.unwrap();
    assert_eq!((report.version, report.live, report.converged), (Some(1), true, true), "{report:?}");
    assert_eq!((report.train_rows, report.validation_rows, report.skipped_rows), (26, 0, 0));
    assert!(bad_rows.is_empty() && report.data_digest.starts_with("sha256:"));
    let accuracy = report.metrics.iter().find(|metric| metric.name == "accuracy").unwrap().value;
    assert!(accuracy > 0.85, "{:?}", report.metrics);
    assert_eq!(best_label(&server, "half", "b").await, ("early".to_owned(), 1));
    assert_eq!(best_label(&server, "half", "y").await, ("late".to_owned(), 1));
    let server = server.restart().await;
    assert_eq!(best_label(&server, "half", "b").await.0, "early");
    let listed = &versions(&server, "half").await[0];
    assert_eq!((&listed.head_digest, &listed.metrics), (&report.head_digest, &report.metrics));
    let manifest = head_toml(&server, "half", 1).await;
    let fit = manifest["fit"].as_table().unwrap();
    assert_eq!(fit["data_digest"].as_str(), Some(report.data_digest.as_str()));
    assert_eq!((fit["train_rows"].as_integer(), fit["seed"].as_str()), (Some(26), Some("3")));
    assert_eq!(fit["l2_strength"].as_float(), Some(report.l2_strength));
    assert_eq!(manifest["about"]["description"].as_str(), Some("Early or late?"));
}

#[tokio::test]
async fn a_further_version_answers_by_number_until_it_is_made_live() {
    let server = TestServer::start().await;
    let of_mood = || v1::FitPlan { l2_strengths: vec![0.01], ..plan("mood", v1::TaskKind::Unspecified) };
    let rows = |offset: usize| -> Vec<v1::LabelledRow> {
        let labels = ["glad", "sad", "angry"];
        ('a'..='z')
            .zip(0..)
            .map(|(letter, at)| row(input(&letter.to_string()), Answer::Label(labels[(at / 9 + offset) % 3].into())))
            .collect()
    };
    let Told { report, .. } = fit(&server, of_mood(), rows(0)).await.unwrap();
    assert_eq!((report.version, report.live), (Some(2), false));
    assert!(report.metrics.is_empty(), "one strength is not held against anything: {:?}", report.metrics);
    assert_eq!(best_label(&server, "mood", "a").await.1, 1);
    let live = v1::FitPlan { make_live: true, ..of_mood() };
    let Told { report, .. } = fit(&server, live, rows(1)).await.unwrap();
    assert_eq!((report.version, report.live), (Some(3), true));
    assert_eq!(best_label(&server, "mood", "a").await, ("sad".to_owned(), 3));
    let digests: Vec<_> = versions(&server, "mood").await.into_iter().map(|version| version.head_digest).collect();
    assert_eq!(digests[0], report.head_digest);
}

#[tokio::test]
async fn a_dry_run_reports_and_installs_nothing() {
    let server = TestServer::start().await;
    let dry = v1::FitPlan { dry_run: true, ..plan("half", v1::TaskKind::Classification) };
    let Told { report, .. } = fit(&server, dry, letters()).await.unwrap();
    assert_eq!((report.version, report.live), (None, false));
    assert!(report.head_digest.starts_with("sha256:") && !report.metrics.is_empty());
    assert!(versions(&server, "half").await.is_empty());
}

#[tokio::test]
async fn the_same_plan_on_the_same_rows_gives_the_same_weights() {
    let server = TestServer::start().await;
    let temperature = || v1::FitPlan { fit_temperature: true, ..plan("half", v1::TaskKind::Classification) };
    let one = fit(&server, temperature(), letters()).await.unwrap().report;
    let other = fit(&server, temperature(), letters()).await.unwrap().report;
    assert_eq!((&one.data_digest, &one.metrics), (&other.data_digest, &other.metrics));
    // Fits that took equally many milliseconds are one version.
    let version = |report: &v1::FitReport| report.version.unwrap();
    let (one, other) = (version(&one), version(&other));
    let (one, other) = (head_toml(&server, "half", one).await, head_toml(&server, "half", other).await);
    assert_eq!(one["weights_sha256"], other["weights_sha256"]);
    assert!(one["temperature"].as_float().unwrap() > 0.0);
    assert_eq!(one["temperature"], other["temperature"]);
}

#[tokio::test]
async fn validation_rows_judge_and_are_not_learnt() {
    let server = TestServer::start().await;
    let mut rows = letters();
    let wrong = |letter: &str, label: &str| v1::LabelledRow {
        r#use: v1::RowUse::Validation.into(),
        ..row(input(letter), Answer::Label(label.to_owned()))
    };
    rows.extend([wrong("bb", "early"), wrong("cc", "early"), wrong("a", "late"), wrong("z", "early")]);
    let Told { report, .. } = fit(&server, plan("half", v1::TaskKind::Classification), rows).await.unwrap();
    assert_eq!((report.train_rows, report.validation_rows), (26, 4));
    let accuracy = report.metrics.iter().find(|metric| metric.name == "accuracy").unwrap().value;
    assert!(accuracy <= 0.5, "two of four are labelled wrong: {accuracy}");
    assert_eq!(best_label(&server, "half", "a").await.0, "early");
}

#[tokio::test]
async fn every_kind_that_can_be_fitted_is() {
    let server = TestServer::start().await;
    let place = |letter: char| f64::from(letter as u32 - 'a' as u32);
    let regression = ('a'..='z').map(|letter| row(input(&letter.to_string()), Answer::Value(place(letter)))).collect();
    let Told { report, .. } = fit(&server, plan("place", v1::TaskKind::Regression), regression).await.unwrap();
    let pearson = report.metrics.iter().find(|metric| metric.name == "pearson").unwrap().value;
    assert!(pearson > 0.99, "{report:?}");

    let held = |letter: char| {
        let mut names = vec!["letter".to_owned()];
        names.extend((letter > 'm').then(|| "late".to_owned()));
        Answer::Labels(v1::LabelNames { names })
    };
    let labels = ('a'..='z').map(|letter| row(input(&letter.to_string()), held(letter))).collect();
    let Told { report, .. } = fit(&server, plan("traits", v1::TaskKind::MultiLabel), labels).await.unwrap();
    assert_eq!((report.version, report.live), (Some(1), true));

    let question = |letters: [char; 3]| {
        let choices = letters.map(String::from).to_vec();
        let right = letters.iter().zip(0..).max().unwrap().1;
        row(v1::Input { text: "last".into(), choices, ..v1::Input::default() }, Answer::Index(right))
    };
    let all: Vec<char> = ('a'..='z').collect();
    let questions = (0..20).map(|at| question([all[at], all[(at * 7 + 3) % 26], all[(at * 11 + 5) % 26]])).collect();
    let Told { report, .. } = fit(&server, plan("last", v1::TaskKind::MultipleChoice), questions).await.unwrap();
    let accuracy = report.metrics.iter().find(|metric| metric.name == "accuracy").unwrap().value;
    assert!(accuracy > 0.85, "{report:?}");
    let reply = server
        .classifier()
        .classify(ask(
            "last",
            vec![v1::Input {
                text: "last".into(),
                choices: ["b", "y", "k"].map(String::from).to_vec(),
                ..v1::Input::default()
            }],
        ))
        .await
        .unwrap()
        .into_inner();
    let result = reply.predictions[0].result.clone();
    let Some(v1::prediction::Result::Choices(choices)) = result else { panic!("{result:?}") };
    assert_eq!(choices.choices[0].index, 1);

    for kind in [v1::TaskKind::TokenClassification, v1::TaskKind::Reward] {
        let refused = fit(&server, plan("other", kind), letters()).await.err().unwrap();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["plan.kind".to_owned()]));
    }
}

#[tokio::test]
async fn bad_rows_are_refused_or_listed_by_line_and_skipped() {
    let server = TestServer::start().await;
    let mut rows = letters();
    let bad = [
        v1::LabelledRow { answer: None, line: 101, ..row(input("a"), Answer::Index(0)) },
        v1::LabelledRow { line: 102, ..row(input("a"), Answer::Value(1.0)) },
        v1::LabelledRow { line: 103, ..row(input(""), Answer::Label("early".into())) },
        v1::LabelledRow { line: 104, ..row(input(&"x".repeat(70_000)), Answer::Label("early".into())) },
        v1::LabelledRow { line: 105, ..row(input("a"), Answer::Index(1)) },
        v1::LabelledRow { line: 106, input: None, ..row(input("a"), Answer::Index(1)) },
    ];
    rows.extend(bad.clone());
    let skipping = || v1::FitPlan { bad_rows: v1::BadRows::Skip.into(), ..plan("half", v1::TaskKind::Classification) };
    let Told { report, mut bad_rows, .. } = fit(&server, skipping(), rows).await.unwrap();
    bad_rows.sort_by_key(|bad| bad.line);
    let found: Vec<_> = bad_rows.iter().map(|bad| (bad.line, bad.field.as_str())).collect();
    let expected =
        [(101, "answer"), (102, "value"), (103, "input.text"), (104, "input.text"), (105, "index"), (106, "input")];
    assert_eq!(found, expected);
    assert!(bad_rows.iter().all(|bad| !bad.reason.is_empty()));
    assert_eq!((report.train_rows, report.skipped_rows, report.version), (26, 6, Some(1)));
    for (bad, field) in bad.into_iter().zip(["answer", "value", "input.text", "input.text", "index", "input"]) {
        let line = bad.line;
        let rows = letters().into_iter().chain([bad]).collect();
        let refused = fit(&server, plan("other", v1::TaskKind::Classification), rows).await.err().unwrap();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
        assert!(refused.message().starts_with(&format!("row {line}: ")), "{}", refused.message());
    }
    assert!(versions(&server, "other").await.is_empty());
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_is_refused_by_field() {
    let server = TestServer::start().await;
    let good = || plan("half", v1::TaskKind::Classification);
    let plans = [
        (v1::FitPlan { task: "../x".into(), ..good() }, "plan.task"),
        (plan("half", v1::TaskKind::Unspecified), "plan.kind"),
        (plan("mood", v1::TaskKind::Regression), "plan.kind"),
        (v1::FitPlan { labels: vec!["a".into(), "a".into()], ..good() }, "plan.labels"),
        (v1::FitPlan { labels: vec!["a".into()], ..plan("half", v1::TaskKind::Regression) }, "plan.labels"),
        (v1::FitPlan { l2_strengths: vec![0.1, -1.0], ..good() }, "plan.l2_strengths"),
        (v1::FitPlan { folds: 1, ..good() }, "plan.folds"),
        (v1::FitPlan { folds: 21, ..good() }, "plan.folds"),
        (v1::FitPlan { class_weights: 9, ..good() }, "plan.class_weights"),
        (v1::FitPlan { bad_rows: 9, ..good() }, "plan.bad_rows"),
        (v1::FitPlan { description: "\u{1b}[31m".into(), ..good() }, "plan.description"),
    ];
    for (plan, field) in plans {
        let refused = fit(&server, plan, letters()).await.err().unwrap();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let without = messages(good(), letters()).split_off(1);
    let refused = told(begin(&server, without).await.unwrap()).await.err().unwrap();
    assert_eq!(fields(&refused), ["plan"]);
    let same = letters().into_iter().map(|row| v1::LabelledRow { answer: Some(Answer::Label("x".into())), ..row });
    for rows in [vec![], same.collect()] {
        let refused = fit(&server, good(), rows).await.err().unwrap();
        assert_eq!(fields(&refused), ["rows"]);
    }
}

#[tokio::test]
async fn a_fit_that_needs_more_memory_than_it_may_is_refused() {
    let server = TestServer::start().await;
    let labels = (0..9_000).map(|label| format!("label {label}")).collect();
    let wide = v1::FitPlan { labels, ..plan("wide", v1::TaskKind::Classification) };
    let rows = vec![row(input("a"), Answer::Index(0)), row(input("b"), Answer::Index(1))];
    let refused = fit(&server, wide, rows).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("fit-memory-bytes") && refused.message().contains("1048576"), "{refused:?}");
}

#[tokio::test]
async fn closing_the_call_cancels_the_fit_and_makes_room_for_the_next() {
    let server = TestServer::start().await;
    server.gate.close();
    let events = begin(&server, messages(plan("half", v1::TaskKind::Classification), letters())).await.unwrap();
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    let second = fit(&server, plan("other", v1::TaskKind::Classification), letters()).await.err().unwrap();
    assert_eq!(second.code(), Code::ResourceExhausted, "there is one fit at a time");
    drop(events);
    server.gate.open();
    let again = async {
        loop {
            match fit(&server, plan("other", v1::TaskKind::Classification), letters()).await {
                Ok(told) => return told,
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
            }
        }
    };
    let Told { report, .. } = tokio::time::timeout(PATIENCE, again).await.unwrap();
    assert_eq!(report.version, Some(1));
    assert!(versions(&server, "half").await.is_empty(), "nothing came of the fit that was left");
}

#[tokio::test]
async fn a_server_that_drains_ends_a_fit() {
    let mut server = TestServer::start().await;
    server.gate.close();
    let events = begin(&server, messages(plan("half", v1::TaskKind::Classification), letters())).await.unwrap();
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    server.ask_to_stop();
    let ended = tokio::time::timeout(PATIENCE, told(events)).await.unwrap().err().unwrap();
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    server.gate.open();
    server.ended().await.unwrap();
}

#[tokio::test]
async fn vectors_that_are_known_are_not_computed_again() {
    let limits = engine::Limits { cache_bytes: 1 << 20, ..engine::testing::small_limits() };
    let server = TestServer::start_with(limits).await;
    let dry = || v1::FitPlan { dry_run: true, ..plan("half", v1::TaskKind::Classification) };
    let Told { stages, .. } = fit(&server, dry(), letters()).await.unwrap();
    assert_eq!(stages.first(), Some(&v1::Stage::Receiving));
    let seen = server.rows_seen();
    fit(&server, dry(), letters()).await.unwrap();
    assert_eq!(server.rows_seen(), seen, "rows and the trial row are in the cache");
}

#[tokio::test]
async fn a_task_embedding_is_learned_in_steps_and_the_head_says_so() {
    let server = TestServer::start().await;
    let learning = v1::FitPlan { task_embedding: true, ..plan("half", v1::TaskKind::Classification) };
    let Told { report, .. } = fit(&server, learning, letters()).await.unwrap();
    assert_eq!((report.version, best_label(&server, "half", "b").await.0.as_str()), (Some(1), "early"));
    let manifest = head_toml(&server, "half", 1).await;
    let steps = manifest["fit"]["embedding_steps"].as_integer().unwrap();
    let left_out = report.warnings.iter().any(|warning| warning.contains("no task embedding"));
    assert_eq!((steps == 0, manifest["task_embedding"].as_str() == Some("off")), (left_out, left_out), "{report:?}");
}
