//! What the encoder has made of a text is kept; heads are applied anew.

use api::v1;
use engine::testing::small_limits;
use engine::{HeadKind, Limits};
use tests::{TestServer, head};

use crate::asking::{ask, input};
use crate::installing::{folder, install, messages};

async fn server() -> TestServer {
    TestServer::start_with(Limits { cache_bytes: 1 << 20, ..small_limits() }).await
}

async fn classify(server: &TestServer, task: &str, mode: v1::Mode) -> (v1::Prediction, v1::ServedBy) {
    let options = v1::ClassifyOptions { logits: true, mode: mode.into(), ..v1::ClassifyOptions::default() };
    let request = v1::ClassifyRequest { options: Some(options), ..ask(task, vec![input("a fine day")]) };
    let reply = server.classifier().classify(request).await.unwrap().into_inner();
    (reply.predictions.into_iter().next().unwrap(), reply.served_by.unwrap())
}

#[tokio::test]
async fn a_text_that_comes_again_has_the_same_answer_without_the_encoder() {
    let server = server().await;
    let (first, _) = classify(&server, "mood", v1::Mode::Exact).await;
    let (rows, hits) = (server.rows_seen(), server.metric("cache_hits_total").await);
    let (second, _) = classify(&server, "mood", v1::Mode::Exact).await;
    assert_eq!(first.result, second.result, "bit for bit, logits too");
    assert_eq!(server.rows_seen(), rows);
    assert_eq!(server.metric("cache_hits_total").await, hits + 1);
    assert!(server.metric("cache_bytes").await > 0);
    assert_eq!(server.metric("cache_evictions_total").await, 0);
}

#[tokio::test]
async fn a_new_head_answers_a_known_text_without_the_encoder() {
    let server = server().await;
    let (old, _) = classify(&server, "mood", v1::Mode::Shared).await;
    let head = head(HeadKind::Classification, &["glad", "sad", "angry"], 99);
    let header = v1::InstallHeader { make_live: true, ..v1::InstallHeader::default() };
    install(&server, messages(header, &folder(&server, "mood", &head))).await.unwrap();
    let rows = server.rows_seen();
    let (new, served_by) = classify(&server, "mood", v1::Mode::Shared).await;
    assert_eq!(served_by.version, 2);
    assert_ne!(old.result, new.result, "the new head has other weights");
    assert_eq!(server.rows_seen(), rows, "the vector is the old one");
    let (topics, _) = classify(&server, "topics", v1::Mode::Shared).await;
    assert!(topics.result.is_some());
    assert_eq!(server.rows_seen(), rows, "another task reads the same vector");
}

#[tokio::test]
async fn another_part_or_another_embedding_is_computed() {
    let server = server().await;
    classify(&server, "mood", v1::Mode::Shared).await;
    let rows = server.rows_seen();
    classify(&server, "names", v1::Mode::Shared).await;
    assert_eq!(server.rows_seen(), rows + 1, "every token, of which only the pooled vector was known");
    classify(&server, "names", v1::Mode::Shared).await;
    classify(&server, "mood", v1::Mode::Shared).await;
    assert_eq!(server.rows_seen(), rows + 1, "now both parts are known");
    classify(&server, "mood", v1::Mode::Exact).await;
    classify(&server, "topics", v1::Mode::Exact).await;
    assert_eq!(server.rows_seen(), rows + 3, "each task's embedding makes a row of its own");
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let server = server().await;
    server.gate.panic_next(1);
    let mut classifier = server.classifier();
    classifier.classify(ask("mood", vec![input("x")])).await.expect_err("the model panicked");
    let reply = classifier.classify(ask("mood", vec![input("x")])).await.unwrap().into_inner();
    assert!(reply.predictions[0].result.is_some());
    assert_eq!(server.metric("cache_hits_total").await, 0);
}

#[tokio::test]
async fn a_small_cache_evicts_and_stays_within_its_bytes() {
    let server = TestServer::start_with(Limits { cache_bytes: 2_000, ..small_limits() }).await;
    let inputs = (0..64).map(|n| input(&format!("text {n}"))).collect();
    server.classifier().classify(ask("mood", inputs)).await.unwrap();
    assert!(server.metric("cache_evictions_total").await > 50);
    assert!(server.metric("cache_bytes").await <= 2_000);
    assert!(server.metric("cache_misses_total").await >= 64);
}
