//! Equal rows are computed once, and everybody who asked gets the answer.

use api::v1;
use tests::TestServer;

use crate::asking::{ask, input};

/// Starts a call whose row is held at the gate, so that later rows wait in the queue.
async fn hold(server: &TestServer) -> tokio::task::JoinHandle<()> {
    server.gate.close();
    let mut classifier = server.classifier();
    let held = tokio::spawn(async move { drop(classifier.classify(ask("mood", vec![input("held")])).await.unwrap()) });
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    held
}

#[tokio::test]
async fn callers_who_ask_the_same_at_the_same_time_share_one_row() {
    let server = TestServer::start().await;
    let held = hold(&server).await;
    let before = server.rows_seen();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let mut classifier = server.classifier();
            tokio::spawn(async move { classifier.classify(ask("mood", vec![input("the same")])).await })
        })
        .collect();
    server.until_metric("rows_in_flight", 11).await;
    server.until_metric("rows_deduplicated_total", 9).await;
    assert_eq!(server.metric("rows_queued").await, 1);
    server.gate.open();
    held.await.unwrap();
    let mut answers = Vec::new();
    for call in calls {
        let reply = call.await.unwrap().unwrap().into_inner();
        answers.push(reply.predictions.into_iter().next().unwrap().result);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]) && answers[0].is_some());
    assert_eq!(server.rows_seen(), before + 2, "the held row and one for all ten");
}

#[tokio::test]
async fn a_text_twice_in_one_call_is_one_row() {
    let server = TestServer::start().await;
    let before = server.rows_seen();
    let call = ask("mood", vec![input("the same"), input("another"), input("the same")]);
    let reply = server.classifier().classify(call).await.unwrap().into_inner();
    assert_eq!(reply.predictions[0].result, reply.predictions[2].result);
    assert_ne!(reply.predictions[0].result, reply.predictions[1].result);
    assert_eq!(server.rows_seen(), before + 2);
}

#[tokio::test]
async fn rows_of_tasks_with_embeddings_of_their_own_stay_apart() {
    let server = TestServer::start().await;
    let held = hold(&server).await;
    let before = server.rows_seen();
    let spawn = |task: &'static str, mode: v1::Mode| {
        let options = v1::ClassifyOptions { mode: mode.into(), ..v1::ClassifyOptions::default() };
        let request = v1::ClassifyRequest { options: Some(options), ..ask(task, vec![input("the same")]) };
        let mut classifier = server.classifier();
        tokio::spawn(async move { classifier.classify(request).await })
    };
    let exact = [spawn("mood", v1::Mode::Exact), spawn("topics", v1::Mode::Exact)];
    let shared = [spawn("mood", v1::Mode::Shared), spawn("topics", v1::Mode::Shared), spawn("names", v1::Mode::Shared)];
    server.until_metric("rows_in_flight", 6).await;
    server.until_metric("rows_deduplicated_total", 2).await;
    server.gate.open();
    held.await.unwrap();
    for call in exact.into_iter().chain(shared) {
        assert!(call.await.unwrap().unwrap().into_inner().predictions[0].result.is_some());
    }
    assert_eq!(server.rows_seen(), before + 4, "the held row, two exact ones, and one for three heads");
}
