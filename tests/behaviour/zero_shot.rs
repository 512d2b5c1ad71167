//! Texts held against labels that the caller makes up, in one call as alone, and what is refused of it.

use api::v1;
use engine::testing::small_limits;
use engine::{Head, HeadKind, HeadParts, Limits, Trust};
use tests::{HIDDEN, TestServer, head};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::asking::fields;
use crate::installing::{folder, install, messages};
use crate::updating::with_statistics;

const NLI: [&str; 3] = ["entailment", "neutral", "contradiction"];

pub(crate) async fn with_nli(server: TestServer) -> TestServer {
    install_labels(&server, "nli", &NLI).await;
    server
}

async fn install_labels(server: &TestServer, task: &str, labels: &[&str]) {
    let folder = folder(server, task, &head(HeadKind::Classification, labels, 11));
    install(server, messages(v1::InstallHeader::default(), &folder)).await.unwrap();
}

fn input(text: &str) -> v1::ZeroShotInput {
    v1::ZeroShotInput { text: text.to_owned(), candidate_labels: Vec::new() }
}

fn ask(inputs: Vec<v1::ZeroShotInput>, labels: &[&str]) -> v1::ZeroShotRequest {
    v1::ZeroShotRequest {
        task: "nli".to_owned(),
        inputs,
        candidate_labels: labels.iter().map(|&label| label.to_owned()).collect(),
        ..v1::ZeroShotRequest::default()
    }
}

async fn answered(server: &TestServer, request: v1::ZeroShotRequest) -> v1::ZeroShotResponse {
    server.classifier().zero_shot(request).await.unwrap().into_inner()
}

async fn refusal(server: &TestServer, request: v1::ZeroShotRequest) -> Status {
    let status = server.classifier().zero_shot(request).await.expect_err("the call is refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
    status
}

#[tokio::test]
async fn labels_share_one_certainty_or_are_each_judged_alone() {
    let server = with_nli(TestServer::start().await).await;
    let options = Some(v1::ClassifyOptions { logits: true, ..v1::ClassifyOptions::default() });
    let request = v1::ZeroShotRequest { options, ..ask(vec![input("a fine day")], &["sport", "money", "war"]) };
    let one = answered(&server, request.clone()).await;
    let labels = &one.predictions[0].labels;
    assert!(labels.is_sorted_by(|a, b| a.score >= b.score));
    let powers: f32 = labels.iter().map(|label| label.entailment_logit.unwrap().exp()).sum();
    for label in labels {
        assert!((label.score - label.entailment_logit.unwrap().exp() / powers).abs() < 1e-6);
    }
    let each = answered(&server, v1::ZeroShotRequest { multi_label: true, ..request }).await;
    for label in &each.predictions[0].labels {
        let difference = label.contradiction_logit.unwrap() - label.entailment_logit.unwrap();
        assert!((label.score - 1.0 / (1.0 + difference.exp())).abs() < 1e-6);
    }
    let served_by = one.served_by.unwrap();
    assert_eq!((served_by.task.as_str(), served_by.version, served_by.mode()), ("nli", 1, v1::Mode::Exact));
    assert_eq!(one.predictions[0].usage.as_ref().unwrap().rows, 3);
}

#[tokio::test]
async fn a_logit_is_that_of_the_pair_of_text_and_hypothesis() {
    let server = with_nli(TestServer::start().await).await;
    let options = || Some(v1::ClassifyOptions { logits: true, ..v1::ClassifyOptions::default() });
    let request = v1::ZeroShotRequest {
        hypothesis_template: "it is about {} today".to_owned(),
        options: options(),
        ..ask(vec![input("a fine day")], &["sport"])
    };
    let label = answered(&server, request).await.predictions[0].labels[0].clone();
    let pair = v1::Input { text_pair: Some("it is about sport today".into()), ..crate::asking::input("a fine day") };
    let request = v1::ClassifyRequest { options: options(), ..crate::asking::ask("nli", vec![pair]) };
    let reply = server.classifier().classify(request).await.unwrap().into_inner();
    let Some(v1::prediction::Result::Classification(result)) = reply.predictions[0].result.clone() else {
        panic!("{reply:?}")
    };
    let logit = |name: &str| result.labels.iter().find(|label| label.label == name).unwrap().logit;
    assert_eq!((label.entailment_logit, label.contradiction_logit), (logit("entailment"), logit("contradiction")));
}

/// What Classify says of the text beside a hypothesis: the probability of entailment, and how far the pair lies.
async fn of_pair(server: &TestServer, task: &str, hypothesis: &str) -> (f32, f32) {
    let pair = v1::Input { text_pair: Some(hypothesis.into()), ..crate::asking::input("a fine day") };
    let request = crate::asking::ask(task, vec![pair]);
    let prediction = server.classifier().classify(request).await.unwrap().into_inner().predictions.remove(0);
    let Some(v1::prediction::Result::Classification(result)) = prediction.result else { panic!("{prediction:?}") };
    let entailed = result.labels.iter().find(|label| label.label == "entailment").unwrap().score;
    (entailed, prediction.confidence.unwrap().ood_score.unwrap())
}

#[tokio::test]
async fn a_reply_says_how_sure_the_choice_is_and_how_far_the_text_lies() {
    let server = with_nli(TestServer::start().await).await;
    let plain = head(HeadKind::Classification, &NLI, 11);
    let trust = Trust { abstain_below: Some(1.0), ..Trust::default() };
    let parts = HeadParts { temperature: Some(2.0), trust, ..plain.parts().clone() };
    let trusting = with_statistics(&Head::new(HeadKind::Classification, HIDDEN, parts).unwrap());
    install(&server, messages(v1::InstallHeader::default(), &folder(&server, "sure", &trusting))).await.unwrap();
    let words = ["sport", "money", "war"];
    let request = v1::ZeroShotRequest { task: "sure".to_owned(), ..ask(vec![input("a fine day")], &words) };
    let one = answered(&server, request.clone()).await.predictions.remove(0);
    let (sure, scores) = (one.confidence.unwrap(), one.labels.iter().map(|label| label.score).collect::<Vec<_>>());
    assert!((sure.margin.unwrap() - (scores[0] - scores[1])).abs() < 1e-6);
    assert!((sure.entropy.unwrap() + scores.iter().map(|p| p * p.ln()).sum::<f32>()).abs() < 1e-6);
    let best = format!("This example is {}.", one.labels[0].label);
    assert!((sure.calibrated.unwrap() - of_pair(&server, "sure", &best).await.0).abs() < 1e-6);
    let mut distance = 0.0;
    for word in words {
        distance += of_pair(&server, "sure", &format!("This example is {word}.")).await.1 / 3.0;
    }
    assert!((sure.ood_score.unwrap() - distance).abs() < 1e-4);
    assert_eq!(sure.abstain, None, "the threshold is for the head's own labels");

    // Scores that are no shares of one certainty have neither margin nor entropy.
    let alone = v1::ZeroShotRequest { candidate_labels: vec!["sport".to_owned()], ..request.clone() };
    for request in [v1::ZeroShotRequest { multi_label: true, ..request.clone() }, alone] {
        let sure = answered(&server, request).await.predictions[0].confidence.unwrap();
        assert_eq!((sure.margin, sure.entropy, sure.abstain), (None, None, None));
        assert!(sure.calibrated.is_some() && sure.ood_score.is_some());
    }
    // `top_k` shortens the list and changes nothing of this.
    let options = Some(v1::ClassifyOptions { top_k: Some(1), ..v1::ClassifyOptions::default() });
    let short = answered(&server, v1::ZeroShotRequest { options, ..request.clone() }).await;
    assert_eq!((short.predictions[0].labels.len(), short.predictions[0].confidence), (1, Some(sure)));
    let plain = answered(&server, v1::ZeroShotRequest { task: "nli".to_owned(), ..request }).await;
    let plain = plain.predictions[0].confidence.unwrap();
    assert_eq!((plain.calibrated, plain.ood_score), (None, None));
    assert!(plain.margin.is_some());
}

#[tokio::test]
async fn hundreds_of_candidates_in_one_call_answer_as_each_alone_would() {
    let server = with_nli(TestServer::start().await).await;
    let own: Vec<String> = (0..256).map(|n| format!("topic number {n}")).collect();
    let options = Some(v1::ClassifyOptions { logits: true, ..v1::ClassifyOptions::default() });
    let inputs = vec![
        v1::ZeroShotInput { text: "a fine day".into(), candidate_labels: own.clone() },
        input("another day"),
        v1::ZeroShotInput { text: "a third".into(), candidate_labels: own[..2].to_vec() },
    ];
    let before = server.rows_seen();
    let request = v1::ZeroShotRequest { options, multi_label: true, ..ask(inputs, &["sport", "money"]) };
    let reply = answered(&server, request.clone()).await;
    let rows = reply.predictions.iter().map(|prediction| prediction.usage.as_ref().unwrap().rows);
    assert_eq!(rows.collect::<Vec<_>>(), [256, 2, 2]);
    // Some labels are the same row to a tokenizer of a thousand words.
    assert!((200..=260).contains(&(server.rows_seen() - before)));
    let counts: Vec<_> = reply.predictions.iter().map(|prediction| prediction.labels.len()).collect();
    assert_eq!(counts, [256, 2, 2]);
    let mut indices: Vec<_> = reply.predictions[0].labels.iter().map(|label| label.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..256).collect::<Vec<_>>());
    for label in reply.predictions[0].labels.iter().step_by(41) {
        assert_eq!(label.label, own[label.index as usize]);
        let alone = v1::ZeroShotRequest {
            inputs: vec![input("a fine day")],
            candidate_labels: vec![label.label.clone()],
            ..request.clone()
        };
        let alone = answered(&server, alone).await.predictions[0].labels[0].clone();
        assert!((alone.entailment_logit.unwrap() - label.entailment_logit.unwrap()).abs() < 1e-5);
        assert!((alone.score - label.score).abs() < 1e-5);
    }
}

#[tokio::test]
async fn only_the_text_is_cut_and_what_is_left_of_it_is_said() {
    let server = with_nli(TestServer::start().await).await;
    let long = "word ".repeat(100);
    let usage = answered(&server, ask(vec![input(&long)], &["x", "y"])).await.predictions[0].usage.clone().unwrap();
    assert_eq!((usage.rows, usage.tokens), (2, 128));
    let cuts: Vec<_> = usage.cuts.iter().map(|cut| (cut.row, cut.field.as_str(), cut.uncut_tokens)).collect();
    assert_eq!(cuts, [(0, "text", 107), (1, "text", 107)]);
    // Four words of the hypothesis and three special tokens stay.
    assert_eq!(usage.cuts[0].kept_bytes, 57 * 5 - 1);
    let template = format!("{}{{}}", "word ".repeat(60));
    let request = v1::ZeroShotRequest { hypothesis_template: template, ..ask(vec![input(&long)], &["x", "y"]) };
    let status = refusal(&server, request).await;
    assert_eq!(fields(&status), ["candidate_labels[0]"], "{}", status.message());
    assert!(status.message().contains("61, the limit is 60"), "{}", status.message());
}

#[tokio::test]
async fn top_k_returns_the_best_labels() {
    let server = with_nli(TestServer::start().await).await;
    let labels = ["a", "b", "c", "d"];
    let all = answered(&server, ask(vec![input("a fine day")], &labels)).await.predictions.remove(0).labels;
    let options = Some(v1::ClassifyOptions { top_k: Some(2), ..v1::ClassifyOptions::default() });
    let request = v1::ZeroShotRequest { options, ..ask(vec![input("a fine day")], &labels) };
    assert_eq!(answered(&server, request).await.predictions.remove(0).labels, all[..2]);
}

#[tokio::test]
async fn what_cannot_be_asked_is_named() {
    let server = with_nli(TestServer::start().await).await;
    let fine = || ask(vec![input("fine")], &["a", "b"]);
    let own = |labels: &[&str]| v1::ZeroShotInput {
        text: "x".into(),
        candidate_labels: labels.iter().map(|&label| label.to_owned()).collect(),
    };
    let (long, refuse) = ("word ".repeat(100), v1::Truncation::Refuse.into());
    let refuse = Some(v1::ClassifyOptions { truncation: refuse, ..v1::ClassifyOptions::default() });
    let template = |template: &str| v1::ZeroShotRequest { hypothesis_template: template.into(), ..fine() };
    let cases = [
        (v1::ZeroShotRequest { task: "mood".into(), ..fine() }, "task"),
        (v1::ZeroShotRequest { task: "help".into(), ..fine() }, "task"),
        (ask(Vec::new(), &["a"]), "inputs"),
        (ask(vec![input("x"), input("")], &["a"]), "inputs[1].text"),
        (ask(vec![input("x")], &[]), "candidate_labels"),
        (ask(vec![input("x")], &["a", ""]), "candidate_labels[1]"),
        (ask(vec![input("x")], &["a", "b", "a"]), "candidate_labels[2]"),
        (ask(vec![input("x"), own(&["a", "a"])], &["a"]), "inputs[1].candidate_labels[1]"),
        (ask(vec![own(&["a", "b"])], &["c", "c"]), "candidate_labels[1]"),
        (v1::ZeroShotRequest { options: refuse, ..ask(vec![input("x"), input(&long)], &["a"]) }, "inputs[1].text"),
        (template("no place"), "hypothesis_template"),
        (template("{} and {}"), "hypothesis_template"),
    ];
    for (request, field) in cases {
        let status = refusal(&server, request).await;
        assert_eq!(fields(&status), [field], "{}", status.message());
    }
}

#[tokio::test]
async fn each_limit_is_named_with_what_was_found() {
    let limits = Limits { max_in_flight_rows: 300, max_candidate_labels: 200, ..small_limits() };
    let server = with_nli(TestServer::start_with(limits).await).await;
    let labels = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
    let many = |inputs: usize, n: usize| v1::ZeroShotRequest {
        candidate_labels: labels(n),
        ..ask(vec![input("x"); inputs], &[])
    };
    let long = ask(vec![input("x")], &[&"x".repeat(257)]);
    let cases = [
        (many(1, 201), "candidate_labels", "200", "201"),
        (many(2, 151), "inputs", "300", "302"),
        (many(257, 1), "inputs", "256", "257"),
        (long, "candidate_labels[0]", "256", "257"),
    ];
    for (request, field, limit, actual) in cases {
        let status = refusal(&server, request).await;
        assert_eq!(fields(&status), [field], "{}", status.message());
        let details = status.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!((metadata["limit"].as_str(), metadata["actual"].as_str()), (limit, actual));
    }
    assert_eq!(answered(&server, many(2, 150)).await.predictions.len(), 2, "exactly at the limit");
}

#[tokio::test]
async fn the_catalogue_says_of_each_task_whether_it_can_be_asked() {
    let server = with_nli(TestServer::start().await).await;
    install_labels(&server, "spelled/otherwise", &["no", "ENTAILS", "maybe"]).await;
    let request = v1::ListTasksRequest::default();
    let tasks = server.catalog().list_tasks(request).await.unwrap().into_inner().tasks;
    let said: Vec<_> = tasks.iter().filter(|task| task.zero_shot).map(|task| task.name.as_str()).collect();
    assert_eq!(said, ["nli", "spelled/otherwise"]);
    for task in &tasks {
        let request = v1::ZeroShotRequest { task: task.name.clone(), ..ask(vec![input("x")], &["a", "b"]) };
        assert_eq!(server.classifier().zero_shot(request).await.is_ok(), task.zero_shot, "{}", task.name);
    }
}
