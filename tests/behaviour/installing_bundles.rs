//! A bundle is installed in one change or not at all: hundreds of heads, with progress, and every fault told.

use std::path::Path;

use api::v1;
use api::v1::install_bundle_request::Part;
use api::v1::install_bundle_response::Event;
use cli::{DONE, REFUSED};
use engine::{Head, HeadKind, HeadParts};
use registry::{Digest, HeadFolder};
use tempfile::TempDir;
use tests::{HIDDEN, TestServer, head, write_bundle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::checking_heads::with_golden;
use crate::command_line::headwater;
use crate::installing::{folder, version_that_answers};

/// Heads of a bundle: how each is called, and its files.
pub(crate) type Heads = Vec<(String, HeadFolder)>;

pub(crate) fn labelled(server: &TestServer, task: &str, seed: u16) -> (String, HeadFolder) {
    (task.to_owned(), folder(server, task, &head(HeadKind::Classification, &["no", "yes"], seed)))
}

pub(crate) fn messages(header: v1::BundleHeader, heads: &Heads) -> Vec<v1::InstallBundleRequest> {
    let message = |part| v1::InstallBundleRequest { part: Some(part) };
    let mut messages = vec![message(Part::Header(header))];
    for (name, folder) in heads {
        messages.push(message(Part::Head(v1::BundleHead { name: name.clone(), ..v1::BundleHead::default() })));
        for (name, data) in [("head.toml", &folder.head_toml), ("weights.safetensors", &folder.weights)] {
            let chunk = v1::FileChunk { name: name.to_owned(), offset: 0, data: data.clone() };
            messages.push(message(Part::Chunk(chunk)));
        }
    }
    messages
}

pub(crate) fn header(heads: &Heads) -> v1::BundleHeader {
    v1::BundleHeader { heads: heads.len() as u32, ..v1::BundleHeader::default() }
}

/// The refused heads, and how the call ended.
async fn install(
    server: &TestServer,
    messages: Vec<v1::InstallBundleRequest>,
) -> (Vec<v1::BadHead>, Result<v1::BundleReport, Status>) {
    let mut events = match server.heads().install_bundle(tokio_stream::iter(messages)).await {
        Ok(events) => events.into_inner(),
        Err(status) => return (Vec::new(), Err(status)),
    };
    let mut bad = Vec::new();
    loop {
        match events.message().await.map(|message| message.unwrap().event.unwrap()) {
            Ok(Event::Progress(_)) => {}
            Ok(Event::BadHead(head)) => bad.push(head),
            Ok(Event::Report(report)) => return (bad, Ok(report)),
            Err(status) => return (bad, Err(status)),
        }
    }
}

async fn generation(server: &TestServer) -> u64 {
    let mut client = v1::registry_service_client::RegistryServiceClient::new(server.channel());
    client.get_registry_stats(v1::GetRegistryStatsRequest {}).await.unwrap().into_inner().generation
}

#[tokio::test]
async fn hundreds_of_heads_are_one_change_and_all_answer_from_then_on() {
    let server = TestServer::start().await;
    let heads: Heads = (0..444).map(|number| labelled(&server, &format!("many/{number}"), number)).collect();
    let before = generation(&server).await;
    let (bad, report) = install(&server, messages(header(&heads), &heads)).await;
    let report = report.unwrap();
    assert_eq!((bad.len(), report.versions.len(), report.generation), (0, 444, before + 1));
    assert!(report.versions.iter().all(|version| version.live && version.version == 1 && !version.already_installed));
    let names: Vec<_> = report.versions.iter().map(|version| &version.task).collect();
    assert_eq!(names, heads.iter().map(|(name, _)| name).collect::<Vec<_>>());
    for task in ["many/0", "many/217", "many/443"] {
        assert_eq!(version_that_answers(&server, task).await, Ok(1), "{task}");
    }
    // The same again changes nothing.
    let (_, again) = install(&server, messages(header(&heads), &heads)).await;
    assert!(again.unwrap().versions.iter().all(|version| version.already_installed));
    let server = server.restart().await;
    assert_eq!(generation(&server).await, before + 1);
    assert_eq!(version_that_answers(&server, "many/443").await, Ok(1));
}

#[tokio::test]
async fn one_bad_head_keeps_all_out_and_every_fault_is_told() {
    let server = TestServer::start().await;
    let before = generation(&server).await;
    let stranger = HeadFolder::of_head(
        &"bad/stranger".parse().unwrap(),
        &head(HeadKind::Classification, &["no", "yes"], 9),
        Digest::of(b"another encoder"),
    )
    .unwrap();
    let wide = HeadParts {
        labels: vec!["no".into(), "yes".into()],
        weight: vec![0.5; 2 * (HIDDEN + 1)].into(),
        bias: vec![0.0; 2].into(),
        ..HeadParts::default()
    };
    let wide = Head::new(HeadKind::Classification, HIDDEN + 1, wide).unwrap();
    let (_, mut flipped) = labelled(&server, "bad/flipped", 3);
    *flipped.weights.last_mut().unwrap() ^= 1;
    let heads: Heads = vec![
        labelled(&server, "good/first", 1),
        ("bad/stranger".into(), stranger),
        ("bad/wide".into(), folder(&server, "bad/wide", &wide)),
        ("bad/flipped".into(), flipped),
        ("bad/empty".into(), HeadFolder { head_toml: Vec::new(), weights: Vec::new() }),
        ("bad/again".into(), labelled(&server, "good/first", 5).1),
        labelled(&server, "good/last", 2),
    ];
    let (bad, ended) = install(&server, messages(header(&heads), &heads)).await;
    let names: Vec<_> = bad.iter().map(|bad| bad.name.as_str()).collect();
    assert_eq!(names, ["bad/stranger", "bad/wide", "bad/flipped", "bad/empty", "bad/again"]);
    assert!(bad.iter().all(|bad| !bad.reason.is_empty()));
    let status = ended.expect_err("it holds bad heads");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("5 of 7"), "{}", status.message());
    for task in ["good/first", "good/last"] {
        assert_eq!(version_that_answers(&server, task).await, Err(Code::NotFound));
    }
    assert_eq!(generation(&server).await, before);
}

#[tokio::test]
async fn a_refused_head_is_told_of_its_task_until_a_good_one_comes() {
    let server = TestServer::start().await;
    let refused = async |task: &str| {
        let request = v1::ListVersionsRequest { task: task.to_owned() };
        server.heads().list_versions(request).await.unwrap().into_inner().refused
    };
    let misses = with_golden(&head(HeadKind::Classification, &["no", "yes"], 2), "one two", vec![100.0, 0.0]);
    let (_, mut flipped) = labelled(&server, "topics", 3);
    *flipped.weights.last_mut().unwrap() ^= 1;
    let heads: Heads = vec![
        ("mood".into(), folder(&server, "mood", &misses)),
        ("topics".into(), flipped),
        labelled(&server, "help", 1),
    ];
    install(&server, messages(header(&heads), &heads)).await.1.expect_err("two of three are bad");
    let [missed, broken] = [refused("mood").await.unwrap(), refused("topics").await.unwrap()];
    assert!(missed.reason.contains("golden") && missed.head_digest.starts_with("sha256:"), "{missed:?}");
    assert_eq!((missed.source.as_str(), broken.source.as_str()), ("uploaded bundle", "uploaded bundle"));
    assert_eq!((broken.head_digest.as_str(), refused("help").await), ("", None));
    assert_eq!(server.metric("heads_refused_total").await, 2);
    let good: Heads = vec![labelled(&server, "mood", 7)];
    install(&server, messages(header(&good), &good)).await.1.unwrap();
    assert_eq!(refused("mood").await, None);
}

#[tokio::test]
async fn a_bundle_that_is_not_what_it_announced_changes_nothing() {
    let server = TestServer::start().await;
    let before = generation(&server).await;
    let heads: Heads = vec![labelled(&server, "new/a", 1), labelled(&server, "new/b", 2)];
    let whole = messages(header(&heads), &heads);
    let announced = |heads| v1::BundleHeader { heads, ..v1::BundleHeader::default() };
    let cases = [
        Vec::new(),
        whole[1..].to_vec(),
        whole[..4].to_vec(),
        messages(announced(0), &heads),
        messages(announced(1), &heads),
        messages(announced(3), &heads),
        messages(announced(2_001), &heads),
        vec![whole[0].clone(), whole[0].clone()],
        vec![whole[0].clone(), whole[2].clone()],
    ];
    for (number, messages) in cases.into_iter().enumerate() {
        let status = install(&server, messages).await.1.expect_err("not what was announced");
        assert_eq!(status.code(), Code::InvalidArgument, "case {number}: {}", status.message());
    }
    assert_eq!(generation(&server).await, before);
}

#[tokio::test]
async fn a_caller_who_leaves_anywhere_leaves_nothing_and_the_place_is_free() {
    let server = TestServer::start().await;
    let before = generation(&server).await;
    let heads: Heads = vec![labelled(&server, "new/a", 1), labelled(&server, "new/b", 2)];
    let whole = messages(header(&heads), &heads);
    for end in 1..whole.len() {
        let (sender, requests) = tokio::sync::mpsc::channel(whole.len());
        for message in &whole[..end] {
            sender.send(message.clone()).await.unwrap();
        }
        // Refused at once where the server does not know yet that the one before has left.
        let call = server.heads().install_bundle(ReceiverStream::new(requests)).await;
        if let Err(status) = &call {
            assert_eq!(status.code(), Code::ResourceExhausted, "{}", status.message());
        }
        drop((call, sender));
    }
    let installed = async {
        loop {
            match install(&server, whole.clone()).await.1 {
                Err(status) if status.code() == Code::ResourceExhausted => tokio::task::yield_now().await,
                ended => return ended,
            }
        }
    };
    let installed = tokio::time::timeout(std::time::Duration::from_secs(60), installed).await;
    assert_eq!(installed.expect("the place is free").unwrap().generation, before + 1, "the first change since");
}

#[tokio::test]
async fn the_command_line_installs_a_bundle_and_names_what_is_wrong_with_one() {
    let server = TestServer::start().await;
    let dir = TempDir::new().unwrap();
    let write = |name: &str, heads: &[(&str, Head)]| {
        let bundle = dir.path().join(name);
        write_bundle(&bundle, heads);
        bundle
    };
    let one = || head(HeadKind::Classification, &["no", "yes"], 1);
    let bundle = write("bundle", &[("a/one", one()), ("a/two", one()), ("b", one())]);
    let run = headwater(&server, &["heads", "install-bundle", bundle.to_str().unwrap()], "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    let line = run.lines().remove(0);
    let tasks: Vec<_> = line["versions"].as_array().unwrap().iter().map(|version| version["task"].clone()).collect();
    assert_eq!(tasks, ["a/one", "a/two", "b"]);
    let bad = write("bad", &[("c", one()), ("d", one())]);
    std::fs::write(weights_of(&bad, "d"), b"bad").unwrap();
    let run = headwater(&server, &["heads", "install-bundle", bad.to_str().unwrap()], "").await;
    assert_eq!((run.status, &run.lines()[0]["head"]), (REFUSED, &"d".into()));
    assert_eq!(version_that_answers(&server, "c").await, Err(Code::NotFound));
}

fn weights_of(bundle: &Path, task: &str) -> std::path::PathBuf {
    bundle.join("heads").join(task).join("weights.safetensors")
}
