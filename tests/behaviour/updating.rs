//! UpdateMetadata: what only says something keeps the version, what changes answers makes a new one.

use api::v1;
use api::v1::prediction::Result as Answer;
use engine::{Head, HeadKind, HeadParts, OodStatistics, Trust};
use std::sync::Arc;
use tests::{HIDDEN, TestServer, head};
use tonic::{Code, Status};

use crate::asking::{ask, fields, input};
use crate::installing::{folder, install, messages};

fn update(task: &str) -> v1::UpdateMetadataRequest {
    v1::UpdateMetadataRequest { task: task.to_owned(), ..v1::UpdateMetadataRequest::default() }
}

async fn updated(
    server: &TestServer,
    request: v1::UpdateMetadataRequest,
) -> Result<(v1::Task, v1::UpdateMetadataResponse), Status> {
    let reply = server.heads().update_metadata(request).await?.into_inner();
    Ok((reply.task.clone().unwrap(), reply))
}

async fn described(server: &TestServer, task: &str) -> v1::Task {
    let request = v1::GetTaskRequest { task: task.to_owned(), version: String::new() };
    server.catalog().get_task(request).await.unwrap().into_inner().task.unwrap()
}

async fn answer(server: &TestServer, task: &str, version: &str) -> v1::Prediction {
    let mut request = ask(task, vec![input("a fine day")]);
    request.version = version.to_owned();
    request.options = Some(v1::ClassifyOptions { logits: true, ..v1::ClassifyOptions::default() });
    server.classifier().classify(request).await.unwrap().into_inner().predictions.remove(0)
}

#[tokio::test]
async fn a_description_keeps_the_version_and_survives_a_restart() {
    let server = TestServer::start().await;
    let before = described(&server, "mood").await;
    let request = v1::UpdateMetadataRequest {
        description: Some("How does the writer feel?".to_owned()),
        tags: Some(v1::TextList { values: vec!["feeling".to_owned()] }),
        expected_generation: Some(before.generation),
        ..update("mood")
    };
    let (task, reply) = updated(&server, request.clone()).await.unwrap();
    assert_eq!((task.version, reply.new_version), (1, false));
    assert_eq!(
        (task.description.as_str(), task.tags.as_slice()),
        ("How does the writer feel?", &["feeling".to_owned()][..])
    );
    assert!(task.generation > before.generation && reply.generation == task.generation);
    assert_ne!(task.head_digest, before.head_digest);
    let stale = updated(&server, request.clone()).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    let again = v1::UpdateMetadataRequest { expected_generation: None, ..request };
    assert_eq!(updated(&server, again).await.unwrap().1.generation, reply.generation, "nothing has changed");
    let server = server.restart().await;
    assert_eq!(described(&server, "mood").await, task);
}

#[tokio::test]
async fn settings_make_a_new_version_of_the_same_weights() {
    let server = TestServer::start().await;
    let request = v1::UpdateMetadataRequest {
        temperature: Some(4.0),
        abstain_below: Some(0.9),
        caution: Some("flat on purpose".to_owned()),
        ..update("mood")
    };
    let (task, reply) = updated(&server, request.clone()).await.unwrap();
    assert_eq!((task.version, reply.new_version, task.temperature), (2, true, Some(4.0)));
    assert_eq!((task.abstain_below, task.caution.as_str()), (Some(0.9), "flat on purpose"));
    assert_eq!(described(&server, "mood").await.version, 1, "nobody said that it be live");
    let (sharp, flat) = (answer(&server, "mood", "1").await, answer(&server, "mood", "2").await);
    let first = |prediction: &v1::Prediction| {
        let Some(Answer::Classification(result)) = &prediction.result else { panic!("{prediction:?}") };
        result.labels[0].clone()
    };
    assert_eq!(first(&sharp).logit, first(&flat).logit);
    assert!(first(&flat).score < first(&sharp).score);
    let (sharp, flat) = (sharp.confidence.unwrap(), flat.confidence.unwrap());
    assert_eq!((sharp.calibrated, sharp.abstain), (None, None));
    assert_eq!((flat.calibrated, flat.abstain), (Some(first(&answer(&server, "mood", "2").await).score), Some(true)));
    let live = v1::UpdateMetadataRequest { make_live: true, ..request };
    let (task, reply) = updated(&server, live).await.unwrap();
    assert_eq!((task.version, reply.new_version), (2, false), "the newest has that content already");
    assert_eq!(described(&server, "mood").await.version, 2);
    let plain = v1::UpdateMetadataRequest {
        temperature: Some(0.0),
        abstain_below: Some(0.0),
        make_live: true,
        ..update("mood")
    };
    let (task, _) = updated(&server, plain).await.unwrap();
    assert_eq!((task.version, task.temperature, task.abstain_below), (3, None, None));
}

#[tokio::test]
async fn each_setting_reaches_its_kind() {
    let server = TestServer::start().await;
    let thresholds = Some(v1::NumberList { values: vec![0.1, 0.2, 0.3] });
    let (topics, _) = updated(&server, v1::UpdateMetadataRequest { thresholds, ..update("topics") }).await.unwrap();
    assert_eq!(topics.thresholds, [0.1, 0.2, 0.3]);
    let labels = Some(v1::TextList { values: ["up", "down", "mad"].map(String::from).to_vec() });
    let request = v1::UpdateMetadataRequest { labels, default_mode: v1::Mode::Shared.into(), ..update("mood") };
    let (mood, _) = updated(&server, request).await.unwrap();
    assert_eq!(
        (mood.labels.as_slice(), mood.default_mode()),
        (&["up", "down", "mad"].map(String::from)[..], v1::Mode::Shared)
    );
    let prompt = Some("How does it end?".to_owned());
    let (ending, _) = updated(&server, v1::UpdateMetadataRequest { prompt, ..update("ending") }).await.unwrap();
    assert_eq!(ending.prompt.as_deref(), Some("How does it end?"));
}

#[tokio::test]
async fn what_does_not_suit_the_head_is_refused_by_field_and_changes_nothing() {
    let server = TestServer::start().await;
    let before = described(&server, "mood").await;
    let numbers = |values: &[f32]| Some(v1::NumberList { values: values.to_vec() });
    let texts = |values: &[&str]| Some(v1::TextList { values: values.iter().map(|&text| text.to_owned()).collect() });
    let cases = [
        (v1::UpdateMetadataRequest { thresholds: numbers(&[0.5; 3]), ..update("mood") }, "thresholds"),
        (v1::UpdateMetadataRequest { temperature: Some(-1.0), ..update("mood") }, "temperature"),
        (v1::UpdateMetadataRequest { temperature: Some(f32::NAN), ..update("mood") }, "temperature"),
        (v1::UpdateMetadataRequest { abstain_below: Some(1.5), ..update("mood") }, "abstain_below"),
        (v1::UpdateMetadataRequest { abstain_below: Some(0.5), ..update("length") }, "abstain_below"),
        (v1::UpdateMetadataRequest { labels: texts(&["a", "b"]), ..update("mood") }, "labels"),
        (v1::UpdateMetadataRequest { default_mode: 9, ..update("mood") }, "default_mode"),
        (v1::UpdateMetadataRequest { description: Some("x".repeat(5_000)), ..update("mood") }, "description"),
        (v1::UpdateMetadataRequest { prompt: Some("x".repeat(5_000)), ..update("ending") }, "prompt"),
        (v1::UpdateMetadataRequest { version: "0".to_owned(), ..update("mood") }, "version"),
    ];
    for (request, field) in cases {
        let refused = updated(&server, request).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]), "{refused:?}");
    }
    let missing = v1::UpdateMetadataRequest { version: "7".to_owned(), temperature: Some(2.0), ..update("mood") };
    assert_eq!(updated(&server, missing).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(described(&server, "mood").await, before);
}

/// The head with statistics of some vectors as those of its training text.
pub(crate) fn with_statistics(head: &Head) -> Head {
    let vectors: Vec<Vec<f32>> =
        (0..60).map(|n| (0..HIDDEN).map(|d| 1.0 + ((n * 7 + d * 3) % 5) as f32 / 10.0).collect()).collect();
    let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
    let ood = Some(Arc::new(OodStatistics::fit(&vectors).unwrap()));
    let trust = Trust { ood, ..head.parts().trust.clone() };
    Head::new(head.kind(), HIDDEN, HeadParts { trust, ..head.parts().clone() }).unwrap()
}

#[tokio::test]
async fn a_head_with_statistics_tells_how_far_a_text_is_before_and_after_a_restart() {
    let server = TestServer::start().await;
    let trusting = |kind, labels: &[&str]| with_statistics(&head(kind, labels, 8));
    for (task, kind, labels) in [
        ("new/mood", HeadKind::Classification, &["no", "yes"][..]),
        ("new/length", HeadKind::Regression, &[][..]),
        ("new/names", HeadKind::TokenClassification, &["O", "B-PER"][..]),
    ] {
        let folder = folder(&server, task, &trusting(kind, labels));
        install(&server, messages(v1::InstallHeader::default(), &folder)).await.unwrap();
    }
    let score = async |server: &TestServer, task: &str| answer(server, task, "").await.confidence.unwrap().ood_score;
    let before = [score(&server, "new/mood").await, score(&server, "new/names").await];
    assert!(before[0].unwrap() > 0.0 && before[0] == before[1], "{before:?}");
    assert_eq!(score(&server, "new/length").await, before[0]);
    assert!(!described(&server, "new/mood").await.ood_unit.is_empty());
    assert!(described(&server, "mood").await.ood_unit.is_empty());
    assert_eq!(answer(&server, "mood", "").await.confidence.unwrap().ood_score, None);
    let server = server.restart().await;
    assert_eq!([score(&server, "new/mood").await, score(&server, "new/names").await], before);
    // A setting is changed, the statistics stay.
    let request = v1::UpdateMetadataRequest { temperature: Some(2.0), make_live: true, ..update("new/mood") };
    updated(&server, request).await.unwrap();
    assert_eq!(score(&server, "new/mood").await, before[0]);
}
