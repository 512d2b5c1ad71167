//! Every kind of task answers in its own form.

use api::v1;
use api::v1::prediction::Result as Answer;
use engine::{Head, HeadKind, HeadParts};
use tests::{HIDDEN, TestServer, head};

use crate::asking::{ask, input};
use crate::installing::{folder, install, messages};

async fn one(server: &TestServer, request: v1::ClassifyRequest) -> (v1::Prediction, v1::ServedBy) {
    let reply = server.classifier().classify(request).await.unwrap().into_inner();
    assert_eq!(reply.predictions.len(), 1);
    (reply.predictions.into_iter().next().unwrap(), reply.served_by.unwrap())
}

#[tokio::test]
async fn classification_ranks_every_label_and_says_who_answered() {
    let server = TestServer::start().await;
    let mut request = ask("mood", vec![input("a fine day")]);
    request.options = Some(v1::ClassifyOptions { logits: true, ..v1::ClassifyOptions::default() });
    let (prediction, served_by) = one(&server, request).await;
    let Some(Answer::Classification(result)) = prediction.result else { panic!("{prediction:?}") };
    assert_eq!(result.labels.len(), 3);
    assert!(result.labels.is_sorted_by(|a, b| a.score >= b.score));
    let sum: f32 = result.labels.iter().map(|label| label.score).sum();
    assert!((sum - 1.0).abs() < 1e-6);
    assert!(result.labels.iter().all(|label| label.logit.is_some()));
    assert_eq!(served_by.task, "mood");
    assert_eq!(served_by.version, 1);
    assert_eq!(served_by.encoder_digest, server.encoder.to_string());
    assert_eq!(served_by.mode(), v1::Mode::Exact);
    assert_eq!(prediction.usage.unwrap().tokens, 5);
    assert!(prediction.confidence.unwrap().margin.unwrap() >= 0.0);
}

#[tokio::test]
async fn multi_label_scores_each_label_on_its_own() {
    let server = TestServer::start().await;
    let (prediction, _) = one(&server, ask("topics", vec![input("a fine day")])).await;
    let Some(Answer::MultiLabel(result)) = prediction.result else { panic!("{prediction:?}") };
    assert_eq!(result.labels.len(), 3);
    for label in &result.labels {
        assert_eq!(label.above_threshold, label.score >= label.threshold);
        assert_eq!(label.logit, None);
    }
}

#[tokio::test]
async fn a_label_is_held_against_the_threshold_that_the_manifest_has_for_it() {
    let server = TestServer::start().await;
    let plain = head(HeadKind::MultiLabel, &["sport", "money", "war"], 2);
    let parts = HeadParts { thresholds: vec![0.0, 1.0, 0.25], ..plain.parts().clone() };
    let with_thresholds = Head::new(HeadKind::MultiLabel, HIDDEN, parts).unwrap();
    let folder = folder(&server, "held", &with_thresholds);
    install(&server, messages(v1::InstallHeader::default(), &folder)).await.unwrap();
    let (prediction, _) = one(&server, ask("held", vec![input("a fine day")])).await;
    let Some(Answer::MultiLabel(mut result)) = prediction.result else { panic!("{prediction:?}") };
    result.labels.sort_by_key(|label| label.index);
    let thresholds: Vec<_> = result.labels.iter().map(|label| label.threshold).collect();
    assert_eq!(thresholds, [0.0, 1.0, 0.25]);
    let holds: Vec<_> = result.labels.iter().map(|label| label.above_threshold).collect();
    assert_eq!(holds, [true, false, result.labels[2].score >= 0.25]);
}

#[tokio::test]
async fn regression_gives_the_number_itself() {
    let server = TestServer::start().await;
    let pair = v1::Input { text_pair: Some("and another".into()), ..input("a fine day") };
    let (prediction, _) = one(&server, ask("length", vec![pair])).await;
    assert!(matches!(prediction.result, Some(Answer::Value(_))), "{prediction:?}");
}

#[tokio::test]
async fn multiple_choice_ranks_the_callers_choices() {
    let server = TestServer::start().await;
    let choices = ["a short one", "another", "a third and longer one"].map(String::from).to_vec();
    let (prediction, _) = one(&server, ask("ending", vec![v1::Input { choices, ..input("Which?") }])).await;
    let Some(Answer::Choices(result)) = prediction.result else { panic!("{prediction:?}") };
    let mut indices: Vec<_> = result.choices.iter().map(|choice| choice.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2]);
    assert_eq!(prediction.usage.unwrap().rows, 3);
}

#[tokio::test]
async fn token_classification_labels_given_words_with_offsets_in_bytes_and_code_points() {
    let server = TestServer::start().await;
    let tokens = ["Zoë", "met", "Ján"].map(String::from).to_vec();
    let options =
        v1::ClassifyOptions { logits: true, spans: v1::SpanGrouping::Words.into(), ..v1::ClassifyOptions::default() };
    let request = v1::ClassifyRequest {
        options: Some(options),
        ..ask("names", vec![v1::Input { tokens, ..v1::Input::default() }])
    };
    let (prediction, _) = one(&server, request).await;
    let Some(Answer::Spans(result)) = prediction.result else { panic!("{prediction:?}") };
    let words: Vec<_> = result.spans.iter().map(|span| (span.text.as_str(), span.start, span.start_byte)).collect();
    assert_eq!(words, [("Zoë", 0, 0), ("met", 4, 5), ("Ján", 8, 9)]);
    assert_eq!(result.tokens.len(), 5, "special tokens have logits too");
    assert!(result.tokens.iter().all(|token| token.logits.len() == 3));
}

#[tokio::test]
async fn reward_of_one_answer_is_a_number_and_of_several_a_ranking() {
    let server = TestServer::start().await;
    let answered = v1::Input { text_pair: Some("like this".into()), ..input("How?") };
    let (prediction, _) = one(&server, ask("help", vec![answered])).await;
    assert!(matches!(prediction.result, Some(Answer::Value(_))), "{prediction:?}");
    let choices = ["like this", "no"].map(String::from).to_vec();
    let (prediction, _) = one(&server, ask("help", vec![v1::Input { choices, ..input("How?") }])).await;
    assert!(matches!(prediction.result, Some(Answer::Choices(_))), "{prediction:?}");
}

#[tokio::test]
async fn shared_mode_leaves_the_task_embedding_out() {
    let server = TestServer::start().await;
    let logits = async |mode: v1::Mode| {
        let options = v1::ClassifyOptions { logits: true, mode: mode.into(), ..v1::ClassifyOptions::default() };
        let request = v1::ClassifyRequest { options: Some(options), ..ask("length", vec![input("a fine day")]) };
        let (prediction, served_by) = one(&server, request).await;
        assert_eq!(served_by.mode(), mode);
        let Some(Answer::Value(value)) = prediction.result else { panic!("{prediction:?}") };
        value.value
    };
    assert_ne!(logits(v1::Mode::Exact).await, logits(v1::Mode::Shared).await);
}

#[tokio::test]
async fn top_k_returns_the_best_few() {
    let server = TestServer::start().await;
    let options = v1::ClassifyOptions { top_k: Some(2), ..v1::ClassifyOptions::default() };
    let request = v1::ClassifyRequest { options: Some(options), ..ask("mood", vec![input("a fine day")]) };
    let (prediction, _) = one(&server, request).await;
    let Some(Answer::Classification(result)) = prediction.result else { panic!("{prediction:?}") };
    assert_eq!(result.labels.len(), 2);
}

#[tokio::test]
async fn what_is_cut_is_said() {
    let server = TestServer::start().await;
    let long = "word ".repeat(100);
    let (prediction, _) = one(&server, ask("mood", vec![input(&long)])).await;
    let usage = prediction.usage.unwrap();
    assert_eq!(usage.tokens, 64);
    assert_eq!(usage.cuts.len(), 1);
    assert_eq!(usage.cuts[0].field, "text");
    assert_eq!(usage.cuts[0].uncut_tokens, 102);
    assert_eq!(usage.cuts[0].kept_bytes, 62 * 5 - 1);
}
