//! Two versions on the same rows, and versions made of what was fitted.

use api::v1;
use engine::HeadKind;
use tests::{TestServer, head};

use super::rows::{evaluate, indexed, mood_rows, plan, texts};
use super::{answers, metric, refusal};
use crate::asking::{ask, input};
use crate::installing::{folder, install, messages};

async fn install_version(server: &TestServer, task: &str, head: engine::Head) -> u64 {
    let folder = folder(server, task, &head);
    install(server, messages(v1::InstallHeader::default(), &folder)).await.unwrap().version
}

async fn task(server: &TestServer, task: &str, version: &str) -> v1::Task {
    let request = v1::GetTaskRequest { task: task.to_owned(), version: version.to_owned() };
    server.catalog().get_task(request).await.unwrap().into_inner().task.unwrap()
}

#[tokio::test]
async fn two_versions_are_held_against_each_other_row_by_row() {
    let server = TestServer::start().await;
    let second = head(HeadKind::Classification, &["glad", "sad", "angry"], 8);
    assert_eq!(install_version(&server, "mood", second).await, 2);
    let texts = texts(60);
    let (one, other) = (answers(&server, &texts, "1").await, answers(&server, &texts, "2").await);
    let truths: Vec<u32> = (0..60).map(|place| place % 3).collect();
    let right = |answers: &[u32], place: usize| answers[place] == truths[place];
    let only = |a: &[u32], b: &[u32]| (0..60).filter(|place| right(a, *place) && !right(b, *place)).count() as u64;
    let apart: Vec<usize> = (0..60).filter(|place| one[*place] != other[*place]).collect();
    assert!(apart.len() > 3, "the test needs versions that differ");

    let plan = v1::EvaluationPlan { compare_with: "2".into(), max_disagreements: Some(3), ..plan("mood") };
    let report = evaluate(&server, plan, mood_rows(60)).await.unwrap().report;
    let comparison = report.comparison.unwrap();
    assert_eq!((comparison.test.as_str(), comparison.disagreement_total), ("mcnemar_exact", apart.len() as u64));
    let wanted = judging_p(only(&one, &other), only(&other, &one));
    assert!((comparison.p_value - wanted).abs() < 1e-12, "{} is not {wanted}", comparison.p_value);
    let (judged, compared) = (report.judged.unwrap(), report.compared.unwrap());
    assert_eq!((judged.version, compared.version), (1, 2));
    let difference = comparison.difference.unwrap();
    assert_eq!(difference.name, "accuracy");
    assert!((difference.value - (metric(&compared, "accuracy") - metric(&judged, "accuracy"))).abs() < 1e-12);
    assert!(difference.low.unwrap() <= difference.value && difference.value <= difference.high.unwrap());
    let labels = ["glad", "sad", "angry"];
    let name = |place: u32| labels[place as usize];
    for (found, place) in comparison.disagreements.iter().zip(&apart) {
        let named = (name(truths[*place]), name(one[*place]), name(other[*place]));
        assert_eq!(found.line, *place as u64 + 1);
        assert_eq!((found.expected.as_str(), found.judged.as_str(), found.compared.as_str()), named);
    }
    assert_eq!(comparison.disagreements.len(), 3);
}

/// The two-sided binomial probability, term by term.
fn judging_p(one: u64, other: u64) -> f64 {
    let n = one + other;
    let choose = |k: u64| (1..=k).map(|step| (n - k + step) as f64 / step as f64).product::<f64>();
    let tail: f64 = (0..=one.min(other)).map(|k| choose(k) / 2.0_f64.powi(n as i32)).sum();
    (2.0 * tail).min(1.0)
}

#[tokio::test]
async fn versions_of_other_labels_or_kinds_are_not_compared() {
    let server = TestServer::start().await;
    install_version(&server, "mood", head(HeadKind::Classification, &["glad", "sad", "calm"], 8)).await;
    let plan = v1::EvaluationPlan { compare_with: "2".into(), ..plan("mood") };
    let (_, fields, message) = refusal(evaluate(&server, plan, mood_rows(3)).await);
    assert_eq!(fields, ["plan.compare_with"]);
    assert!(message.contains("other labels"), "{message}");
}

#[tokio::test]
async fn numbers_are_compared_by_the_paired_bootstrap_and_listed_by_distance() {
    let server = TestServer::start().await;
    install_version(&server, "length", head(HeadKind::Regression, &[], 11)).await;
    let row = |(text, place): (&String, u32)| v1::LabelledRow {
        answer: Some(v1::labelled_row::Answer::Value(f64::from(place % 5))),
        ..indexed(text, 0)
    };
    let rows = texts(40).iter().zip(0..).map(row).collect();
    let plan = v1::EvaluationPlan { compare_with: "2".into(), resamples: Some(0), ..plan("length") };
    let report = evaluate(&server, plan, rows).await.unwrap().report;
    let comparison = report.comparison.unwrap();
    assert_eq!(comparison.test, "paired_bootstrap");
    assert!(comparison.p_value > 0.0 && comparison.p_value <= 1.0);
    assert_eq!(comparison.difference.unwrap().low, None, "no intervals were asked for");
    let distance = |found: &v1::Disagreement| {
        let number = |text: &str| text.parse::<f32>().unwrap();
        (number(&found.judged) - number(&found.compared)).abs()
    };
    let distances: Vec<f32> = comparison.disagreements.iter().map(distance).collect();
    assert_eq!(distances.len(), 40);
    assert!(distances.is_sorted_by(|a, b| a >= b), "{distances:?}");
}

#[tokio::test]
async fn a_fitted_temperature_is_kept_as_a_version_that_answers_by_number_alone() {
    let server = TestServer::start().await;
    let fit = v1::EvaluationPlan { fit_temperature: true, ..plan("mood") };
    let report = evaluate(&server, fit.clone(), mood_rows(60)).await.unwrap().report;
    assert!(report.temperature.is_some() && report.stored_version.is_none());
    let judged = report.judged.unwrap();
    assert!(metric(&judged, "log_loss_fitted") < metric(&judged, "log_loss"));
    assert!(judged.metrics.iter().all(|metric| metric.name != "accuracy_fitted"), "a temperature changes no answer");

    let keep = v1::EvaluationPlan { store: true, ..fit };
    let stored = evaluate(&server, keep.clone(), mood_rows(60)).await.unwrap().report;
    assert_eq!((stored.stored_version, stored.temperature), (Some(2), report.temperature));
    assert_eq!(evaluate(&server, keep, mood_rows(60)).await.unwrap().report.stored_version, Some(2), "the same again");
    let server = server.restart().await;
    let (live, kept) = (task(&server, "mood", "").await, task(&server, "mood", "2").await);
    assert_eq!((live.version, live.temperature, kept.temperature), (1, None, report.temperature));
    let options = Some(v1::ClassifyOptions { logits: true, ..v1::ClassifyOptions::default() });
    let labels = async |version: &str| {
        let request = v1::ClassifyRequest {
            version: version.into(),
            options: options.clone(),
            ..ask("mood", vec![input("x y")])
        };
        let reply = server.classifier().classify(request).await.unwrap().into_inner();
        let Some(v1::prediction::Result::Classification(result)) = reply.predictions[0].result.clone() else {
            panic!()
        };
        result.labels
    };
    let (before, after) = (labels("1").await, labels("2").await);
    assert!(before.iter().zip(&after).all(|(before, after)| before.logit == after.logit), "the weights are the same");
    assert!(before.iter().zip(&after).any(|(before, after)| before.score != after.score));
    let again = v1::EvaluationPlan { version: "2".into(), ..plan("mood") };
    let again = evaluate(&server, again, mood_rows(60)).await.unwrap().report.judged.unwrap();
    assert!((metric(&again, "log_loss") - metric(&judged, "log_loss_fitted")).abs() < 1e-9);
}

/// Rows of a multi-label task; the last label never holds.
fn topic_rows() -> Vec<v1::LabelledRow> {
    let row = |(text, place): (&String, u32)| {
        let indices = (0..2).filter(|label| place % (label + 2) == 0).collect();
        let answer = Some(v1::labelled_row::Answer::Indices(v1::LabelIndices { indices }));
        v1::LabelledRow { answer, ..indexed(text, 0) }
    };
    texts(60).iter().zip(0..).map(row).collect()
}

#[tokio::test]
async fn fitted_thresholds_are_kept_and_reach_what_was_promised() {
    let server = TestServer::start().await;
    let fit = v1::EvaluationPlan { fit_thresholds: true, fit_temperature: true, store: true, ..plan("topics") };
    let report = evaluate(&server, fit, topic_rows()).await.unwrap().report;
    assert_eq!(report.thresholds.len(), 3);
    assert!(
        report.warnings.iter().any(|warning| warning.contains("keep their thresholds: war")),
        "{:?}",
        report.warnings
    );
    let judged = report.judged.unwrap();
    let version = report.stored_version.unwrap().to_string();
    let kept = task(&server, "topics", &version).await;
    assert_eq!((kept.thresholds, kept.temperature), (report.thresholds, report.temperature));
    let again = v1::EvaluationPlan { version, ..plan("topics") };
    let again = evaluate(&server, again, topic_rows()).await.unwrap().report.judged.unwrap();
    assert_eq!(metric(&again, "macro_f1"), metric(&judged, "macro_f1_fitted"));
    assert!(metric(&again, "macro_f1") > metric(&judged, "macro_f1"));
}

#[tokio::test]
async fn a_temperature_alone_moves_thresholds_so_that_answers_stay() {
    let server = TestServer::start().await;
    let parts = engine::HeadParts {
        thresholds: vec![0.2, 0.5, 0.7],
        ..head(HeadKind::MultiLabel, &["sport", "money", "war"], 2).parts().clone()
    };
    let version =
        install_version(&server, "topics", engine::Head::new(HeadKind::MultiLabel, tests::HIDDEN, parts).unwrap())
            .await;
    let fit = v1::EvaluationPlan { version: version.to_string(), fit_temperature: true, store: true, ..plan("topics") };
    let report = evaluate(&server, fit, topic_rows()).await.unwrap().report;
    assert!(report.thresholds.is_empty(), "none were asked for");
    let compare = v1::EvaluationPlan {
        version: version.to_string(),
        compare_with: report.stored_version.unwrap().to_string(),
        ..plan("topics")
    };
    let comparison = evaluate(&server, compare, topic_rows()).await.unwrap().report.comparison.unwrap();
    assert_eq!((comparison.disagreement_total, comparison.p_value), (0, 1.0));
}
