//! One head that is broken keeps no other from being served, and is named wherever somebody looks.

use std::path::Path;

use api::v1;
use api::v1::classifier_service_client::ClassifierServiceClient;
use api::v1::head_service_client::HeadServiceClient;
use rustix::process::Signal;
use tonic::Code;
use tonic::transport::Channel;

use crate::process::{PATIENCE, Process, serve};

/// Turns a bit of the manifest of this task's only version.
fn break_manifest(data: &Path, task: &str) {
    let manifests = std::fs::read_dir(data.join("registry/objects")).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let line = format!("task = \"{task}\"");
        bytes.windows(line.len()).any(|window| window == line.as_bytes()).then_some((path, bytes))
    });
    let mut manifests: Vec<_> = manifests.collect();
    let (path, mut bytes) = manifests.pop().unwrap();
    assert!(manifests.is_empty(), "one version, one manifest");
    bytes[10] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

async fn classify(channel: Channel, task: &str) -> Code {
    let input = v1::Input { text: "Who wrote it?".to_owned(), ..v1::Input::default() };
    let ask = v1::ClassifyRequest { task: task.to_owned(), inputs: vec![input], ..v1::ClassifyRequest::default() };
    ClassifierServiceClient::new(channel).classify(ask).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_serve_and_the_broken_one_is_named() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Process::serving(&mut serve(data.path()));
    first.signal(Signal::TERM);
    assert_eq!(first.ended_within(PATIENCE).code(), Some(0));
    break_manifest(data.path(), "trec");

    let server = Process::listening(&mut serve(data.path()));
    let damaged = server.until("a stored head is damaged");
    assert!(damaged.to_string().contains("trec"), "{damaged}");
    let published = server.until("heads published");
    assert_eq!((&published["heads"], &published["damaged"]), (&2.into(), &1.into()));
    server.until("serving");
    let page = server.metrics();
    assert!(page.contains("headwater_versions_left_out{reason=\"damaged\"} 1\n"), "{page}");
    assert!(page.contains("headwater_tasks 2\n"), "{page}");

    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    assert_eq!(classify(channel.clone(), "sms_spam").await, Code::Ok);
    assert_eq!(classify(channel.clone(), "trec").await, Code::NotFound);
    let request = v1::ListVersionsRequest { task: "trec".to_owned() };
    let versions = HeadServiceClient::new(channel).list_versions(request).await.unwrap().into_inner().versions;
    assert_eq!(versions.iter().map(v1::HeadVersion::state).collect::<Vec<_>>(), [v1::VersionState::Damaged]);
}
