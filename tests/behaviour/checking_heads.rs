//! A new version is checked before anybody sees it: against the encoder, and against the logits it says it gives.

use api::v1;
use engine::{About, Golden, Head, HeadKind, HeadParts, Input};
use registry::HeadFolder;
use tests::{HIDDEN, TestServer, head, write_bundle};
use tonic::{Code, Status};

use crate::asking::{ask, input};
use crate::command_line::headwater;
use crate::installing::{folder, install, install_head, messages, version_that_answers};

pub(crate) fn with_golden(head: &Head, text: &str, logits: Vec<f32>) -> Head {
    let input = Input { text: Some(text.to_owned()), ..Input::default() };
    let about = About { goldens: vec![Golden { input, logits, tolerance: 0.01 }], ..About::default() };
    Head::new(head.kind(), head.hidden(), HeadParts { about, ..head.parts().clone() }).unwrap()
}

async fn install_live(server: &TestServer, task: &str, head: &Head) -> Result<v1::InstallHeadResponse, Status> {
    let header = v1::InstallHeader { make_live: true, ..v1::InstallHeader::default() };
    install(server, messages(header, &folder(server, task, head))).await
}

async fn refused(server: &TestServer, task: &str) -> Option<v1::RefusedHead> {
    let request = v1::ListVersionsRequest { task: task.into() };
    server.heads().list_versions(request).await.unwrap().into_inner().refused
}

/// The logits that the server gives, in the order of the labels.
async fn logits(server: &TestServer, task: &str, text: &str) -> Vec<f32> {
    let mut request = ask(task, vec![input(text)]);
    request.options = Some(v1::ClassifyOptions { logits: true, ..v1::ClassifyOptions::default() });
    let reply = server.classifier().classify(request).await.unwrap().into_inner();
    let Some(v1::prediction::Result::Classification(answer)) = reply.predictions[0].result.clone() else { panic!() };
    let mut labels = answer.labels;
    labels.sort_by_key(|label| label.index);
    labels.iter().map(|label| label.logit.unwrap()).collect()
}

#[tokio::test]
async fn a_head_that_misses_its_golden_is_refused_and_the_old_version_goes_on() {
    let server = TestServer::start().await;
    install_head(&server, "new", 9).await;
    let next = head(HeadKind::Classification, &["no", "yes"], 10);
    let status =
        install_live(&server, "new", &with_golden(&next, "one two", vec![100.0, 0.0])).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("golden 0: logit 0 is "), "{}", status.message());
    assert_eq!(version_that_answers(&server, "new").await, Ok(1));
    let told = refused(&server, "new").await.unwrap();
    assert_eq!((told.reason.as_str(), told.source.as_str()), (status.message(), "upload"));
    assert!(told.head_digest.starts_with("sha256:"));
    assert_eq!(server.metric("heads_refused_total").await, 1);
    let shown = headwater(&server, &["heads", "versions", "new"], "").await;
    assert_eq!(shown.lines()[1]["state"], "refused");
    let good = install_live(&server, "new", &next).await.unwrap();
    assert_eq!((good.version, refused(&server, "new").await), (2, None));
}

#[tokio::test]
async fn a_head_that_meets_its_golden_is_live_and_keeps_it() {
    let server = TestServer::start().await;
    install_head(&server, "new", 9).await;
    let expected = logits(&server, "new", "one two three").await;
    let golden = with_golden(&head(HeadKind::Classification, &["no", "yes"], 9), "one two three", expected);
    assert_eq!(install_live(&server, "new", &golden).await.unwrap().version, 2);
    let dir = tempfile::TempDir::new().unwrap();
    let out = dir.path().join("out");
    let run = headwater(&server, &["heads", "export", "new", out.to_str().unwrap()], "").await;
    assert_eq!(run.status, 0, "{}", run.errors);
    assert_eq!(HeadFolder::read_manifest(&out).unwrap().about.goldens, golden.parts().about.goldens);
    let relabel = v1::UpdateMetadataRequest {
        task: "new".into(),
        default_mode: v1::Mode::Shared.into(),
        make_live: true,
        ..v1::UpdateMetadataRequest::default()
    };
    server.heads().update_metadata(relabel).await.unwrap();
    let again = dir.path().join("again");
    headwater(&server, &["heads", "export", "new", again.to_str().unwrap()], "").await;
    assert!(HeadFolder::read_manifest(&again).unwrap().about.goldens.is_empty(), "another mode has other logits");
}

#[tokio::test]
async fn an_export_writes_goldens_that_hold_where_it_came_from_and_not_for_other_weights() {
    let server = TestServer::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    for task in ["mood", "topics", "length", "ending", "names", "help"] {
        let out = dir.path().join(task);
        let run = headwater(&server, &["heads", "export", task, out.to_str().unwrap(), "--goldens"], "").await;
        assert_eq!(run.status, 0, "{task}: {}", run.errors);
        assert_eq!(HeadFolder::read_manifest(&out).unwrap().about.goldens.len(), 1, "{task}");
        let run =
            headwater(&server, &["heads", "install", out.to_str().unwrap(), "--task", &format!("{task}/two")], "")
                .await;
        assert_eq!(run.status, 0, "{task}: {}", run.errors);
    }
    let goldens = HeadFolder::read_manifest(&dir.path().join("mood")).unwrap().about.goldens;
    let other = head(HeadKind::Classification, &["glad", "sad", "angry"], 2);
    let about = About { goldens, ..About::default() };
    let other = Head::new(other.kind(), other.hidden(), HeadParts { about, ..other.parts().clone() }).unwrap();
    assert_eq!(install_live(&server, "mood", &other).await.expect_err("refused").code(), Code::FailedPrecondition);
}

/// A server whose bundle has these heads, too, once it serves.
async fn start_with_heads(heads: &[(&str, Head)]) -> TestServer {
    let data = tempfile::TempDir::new().unwrap();
    write_bundle(&data.path().join("bundle"), heads);
    TestServer::start_in_folder(data).await
}

#[tokio::test]
async fn a_bundles_head_that_misses_its_golden_is_left_out_and_the_others_serve() {
    let plain = head(HeadKind::Classification, &["no", "yes"], 1);
    let wrong = with_golden(&plain, "one two", vec![100.0, 0.0]);
    let server = start_with_heads(&[("extra", plain), ("wrong", wrong)]).await;
    assert_eq!(version_that_answers(&server, "extra").await, Ok(1));
    assert_eq!(version_that_answers(&server, "mood").await, Ok(1));
    assert_eq!(version_that_answers(&server, "wrong").await, Err(Code::NotFound));
    assert_eq!(server.metric("heads_refused_total").await, 1);
}

#[tokio::test]
async fn a_bundles_head_whose_answers_are_no_numbers_is_left_out_and_the_others_serve() {
    let plain = head(HeadKind::Classification, &["no", "yes"], 1);
    let parts = HeadParts { weight: vec![f32::MAX; 2 * HIDDEN].into(), ..plain.parts().clone() };
    let overflowing = Head::new(plain.kind(), HIDDEN, parts).unwrap();
    let server = start_with_heads(&[("extra", plain), ("overflowing", overflowing)]).await;
    assert_eq!(version_that_answers(&server, "extra").await, Ok(1));
    assert_eq!(version_that_answers(&server, "names").await, Ok(1));
    assert_eq!(version_that_answers(&server, "overflowing").await, Err(Code::NotFound));
    assert_eq!(server.metric("heads_refused_total").await, 1);
    assert_eq!(server.metric("versions_left_out{reason=\"refused\"}").await, 1);
}

/// The rows of the encoder that it takes to start on a bundle with so many more heads, of which so many have a task
/// embedding of their own; beside the row that warms the encoder itself.
async fn rows_of_a_start(heads: u16, embeddings: u16) -> usize {
    let plain = head(HeadKind::Classification, &["no", "yes"], 1);
    let number = |number: u16| {
        let own = Some((0..HIDDEN).map(|_| f32::from(number % embeddings)).collect());
        let parts = HeadParts { task_embedding: own, ..plain.parts().clone() };
        (format!("many/{number}"), Head::new(plain.kind(), HIDDEN, parts).unwrap())
    };
    let heads: Vec<_> = (0..heads).map(number).collect();
    let named: Vec<_> = heads.iter().map(|(name, head)| (name.as_str(), head.clone())).collect();
    let server = start_with_heads(&named).await;
    assert_eq!(version_that_answers(&server, "many/0").await, Ok(1));
    // The last row was the question's.
    server.rows_seen() - 2
}

#[tokio::test]
async fn a_bundles_heads_are_tried_together_on_few_rows_however_many_they_are() {
    let own = rows_of_a_start(1, 1).await;
    assert_eq!(own, 7, "one for each of six kinds and one more");
    assert_eq!(rows_of_a_start(444, 20).await, 26);
    assert_eq!(rows_of_a_start(444, 444).await, 1, "so many embeddings are left out");
}

#[tokio::test]
async fn a_check_that_meets_a_busy_encoder_waits_and_is_done() {
    let server = TestServer::start().await;
    server.gate.close();
    let call = tokio::spawn({
        let mut classifier = server.classifier();
        async move { classifier.classify(ask("mood", vec![input("held")])).await }
    });
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    let task = tokio::spawn({
        let folder = folder(&server, "new", &head(HeadKind::Classification, &["no", "yes"], 9));
        let mut heads = server.heads();
        async move { heads.install_head(tokio_stream::iter(messages(v1::InstallHeader::default(), &folder))).await }
    });
    server.until_metric("rows_queued", 1).await;
    server.gate.open();
    call.await.unwrap().unwrap();
    assert_eq!(task.await.unwrap().unwrap().into_inner().version, 1);
}
