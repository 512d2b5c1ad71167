//! What a fit says of its head is what an evaluation says, and thresholds of labels come from rows held out.

use std::collections::BTreeMap;

use api::v1;
use api::v1::labelled_row::Answer;
use tests::TestServer;
use tonic::Code;

use crate::asking::{ask, fields, input};
use crate::evaluating::rows::{evaluate, plan as evaluation};
use crate::fitting::{Told, fit, head_toml, plan, row};

fn letter(place: u32) -> char {
    char::from_u32('a' as u32 + place % 26).unwrap()
}

fn names(names: &[&str]) -> Answer {
    Answer::Labels(v1::LabelNames { names: names.iter().map(|name| (*name).to_owned()).collect() })
}

/// A letter with its answer; what `off` says is wrong.
fn labelled(kind: v1::TaskKind, place: u32, off: bool) -> v1::LabelledRow {
    let is_late = (place > 12) != off;
    let text = input(&letter(place).to_string());
    match kind {
        v1::TaskKind::Classification => row(text, Answer::Label(if is_late { "late" } else { "early" }.to_owned())),
        v1::TaskKind::MultiLabel => row(text, names(if is_late { &["late", "letter"] } else { &["letter"] })),
        v1::TaskKind::Regression => row(text, Answer::Value(f64::from(place) + if off { 9.0 } else { 0.0 })),
        v1::TaskKind::MultipleChoice
        | v1::TaskKind::TokenClassification
        | v1::TaskKind::Reward
        | v1::TaskKind::Unspecified => {
            let letters = [place, place * 7 + 3, place * 11 + 5].map(|place| place % 26);
            let right = letters.iter().zip(0..).max().unwrap().1;
            let choices = letters.map(|place| letter(place).to_string()).to_vec();
            row(v1::Input { choices, ..input("last") }, Answer::Index(if off { (right + 1) % 3 } else { right }))
        }
    }
}

fn by_name(metrics: &[v1::Metric]) -> BTreeMap<&str, f64> {
    metrics.iter().map(|metric| (metric.name.as_str(), metric.value)).collect()
}

#[tokio::test]
async fn figures_on_validation_rows_are_those_of_an_evaluation_of_the_head() {
    let server = TestServer::start().await;
    let kinds = [
        (v1::TaskKind::Classification, "accuracy"),
        (v1::TaskKind::MultiLabel, "micro_f1"),
        (v1::TaskKind::Regression, "pearson"),
        (v1::TaskKind::MultipleChoice, "accuracy"),
    ];
    for (kind, main) in kinds {
        let judging: Vec<_> = (0..20).map(|place| labelled(kind, place, place % 4 == 0)).collect();
        let held = |row: &v1::LabelledRow| v1::LabelledRow { r#use: v1::RowUse::Validation.into(), ..row.clone() };
        let rows = (0..26).map(|place| labelled(kind, place, false)).chain(judging.iter().map(held)).collect();
        let fitting = v1::FitPlan {
            fit_temperature: kind != v1::TaskKind::Regression,
            fit_thresholds: kind == v1::TaskKind::MultiLabel,
            ..plan(kind.as_str_name(), kind)
        };
        let Told { report, .. } = fit(&server, fitting, rows).await.unwrap();
        let fitted = by_name(&report.metrics);
        let evaluated = evaluate(&server, evaluation(kind.as_str_name()), judging).await.unwrap().report;
        let judged = evaluated.judged.unwrap();
        let found = by_name(&judged.metrics);
        assert!(found[main] < 1.0, "rows that are off make it a figure worth comparing: {found:?}");
        for (name, value) in &found {
            let of_fit = fitted.get(format!("{name}_fitted").as_str()).or_else(|| fitted.get(name)).unwrap();
            assert!((of_fit - value).abs() < 1e-4, "{kind:?} {name}: {of_fit} {value}");
        }
        let alone: Vec<_> = fitted.keys().filter(|name| !name.ends_with("_fitted")).collect();
        assert_eq!(alone.len(), found.len(), "{fitted:?} {found:?}");
    }
}

#[tokio::test]
async fn the_manifest_keeps_the_figures_of_its_fit() {
    let server = TestServer::start().await;
    let rows = (0..26).map(|place| labelled(v1::TaskKind::Classification, place, place == 3)).collect();
    let Told { report, .. } = fit(&server, plan("half", v1::TaskKind::Classification), rows).await.unwrap();
    let server = server.restart().await;
    let manifest = head_toml(&server, "half", 1).await;
    let figures = manifest["fit"]["figures"].as_table().unwrap();
    let kept: BTreeMap<&str, f64> =
        figures.iter().map(|(name, value)| (name.as_str(), value.as_float().unwrap())).collect();
    assert_eq!(kept, by_name(&report.metrics));
    for name in ["accuracy", "macro_f1", "micro_f1", "matthews"] {
        assert!(kept.contains_key(name), "{kept:?}");
    }
}

#[tokio::test]
async fn each_label_has_the_threshold_that_rows_held_out_ask_for() {
    let server = TestServer::start().await;
    let labels = ["letter", "late", "never"].map(String::from).to_vec();
    let plan_of = || v1::FitPlan {
        labels: labels.clone(),
        fit_thresholds: true,
        // One strength: there is nothing to choose, and folds are held out for the thresholds alone.
        l2_strengths: vec![0.03],
        ..plan("traits", v1::TaskKind::MultiLabel)
    };
    let rows = || (0..52).map(|place| labelled(v1::TaskKind::MultiLabel, place % 26, place % 9 == 2)).collect();
    let Told { report, .. } = fit(&server, plan_of(), rows()).await.unwrap();
    assert_eq!((report.thresholds.len(), report.thresholds[2]), (3, 0.5), "{report:?}");
    assert!(report.thresholds[1] > 0.0 && report.thresholds[1] != 0.5, "{report:?}");
    assert!(report.warnings.iter().any(|warning| warning.contains("never") && warning.contains("0.5")), "{report:?}");
    let figures = by_name(&report.metrics);
    assert!(figures.get("macro_f1_fitted").is_none_or(|fitted| *fitted >= figures["macro_f1"]), "{figures:?}");
    let server = server.restart().await;
    let reply = server.classifier().classify(ask("traits", vec![input("a")])).await.unwrap().into_inner();
    let Some(v1::prediction::Result::MultiLabel(result)) = reply.predictions[0].result.clone() else {
        panic!("{reply:?}")
    };
    for label in result.labels {
        assert_eq!(label.threshold, report.thresholds[label.index as usize], "{}", label.label);
    }
    let plain = v1::FitPlan { fit_thresholds: false, ..plan_of() };
    assert!(fit(&server, plain, rows()).await.unwrap().report.thresholds.is_empty());

    let of_half = v1::FitPlan { fit_thresholds: true, ..plan("half", v1::TaskKind::Classification) };
    let rows = (0..26).map(|place| labelled(v1::TaskKind::Classification, place, false)).collect();
    let refused = fit(&server, of_half, rows).await.err().unwrap();
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["plan.fit_thresholds".to_owned()]));
}
