//! Signals: the first one drains, the second one ends at once, and no moment is a bad one for what is stored.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::v1;
use api::v1::head_service_client::HeadServiceClient;
use api::v1::install_head_request::Part;
use rustix::process::Signal;
use tonic::transport::Channel;

use crate::process::{PATIENCE, Process, bundle, is_whole, serve};

/// Far below the drain time, above what an exit takes on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

fn data() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn one_signal_drains_and_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let data = data();
        let mut server = Process::serving(&mut serve(data.path()));
        server.signal(signal);
        server.until("draining");
        assert_eq!(server.ended_within(PATIENCE).code(), Some(0), "{signal:?}");
        assert!(is_whole(data.path()));
    }
}

#[test]
fn a_second_signal_ends_a_long_drain_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let data = data();
        let mut server = Process::serving(serve(data.path()).args(["--drain-seconds", "300"]));
        let mute = server.mute_client();
        server.signal(first);
        server.until("draining");
        assert!(server.is_alive(), "the mute client holds the drain");
        server.signal(second);
        assert_eq!(server.ended_within(AT_ONCE).code(), Some(130), "{first:?}, {second:?}");
        drop(mute);
        assert!(is_whole(data.path()));
    }
}

#[test]
fn a_drain_ends_with_its_time_whoever_hangs_on() {
    let data = data();
    let mut server = Process::serving(serve(data.path()).args(["--drain-seconds", "1"]));
    let mute = server.mute_client();
    server.signal(Signal::TERM);
    server.until("draining");
    assert_eq!(server.ended_within(PATIENCE).code(), Some(0));
    drop(mute);
}

#[test]
fn a_signal_while_the_encoder_loads_leaves_a_sound_registry() {
    let data = data();
    let mut server = Process::listening(&mut serve(data.path()));
    server.signal(Signal::TERM);
    server.until("draining");
    assert_eq!(server.ended_within(PATIENCE).code(), Some(0));
    assert!(is_whole(data.path()));
    let mut again = Process::serving(&mut serve(data.path()));
    again.signal(Signal::TERM);
    assert_eq!(again.ended_within(PATIENCE).code(), Some(0));
}

fn chunk(bundle: &Path, name: &str) -> v1::InstallHeadRequest {
    let data = std::fs::read(bundle.join("heads/trec").join(name)).unwrap();
    v1::InstallHeadRequest { part: Some(Part::Chunk(v1::FileChunk { name: name.to_owned(), offset: 0, data })) }
}

async fn install(channel: Channel, bundle: PathBuf, task: String) -> Result<(), tonic::Status> {
    let header = v1::InstallHeader { task, ..v1::InstallHeader::default() };
    let header = v1::InstallHeadRequest { part: Some(Part::Header(header)) };
    let messages = tokio_stream::iter([header, chunk(&bundle, "head.toml"), chunk(&bundle, "weights.safetensors")]);
    HeadServiceClient::new(channel).install_head(messages).await.map(|_| ())
}

async fn channel(server: &Process) -> Channel {
    Channel::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap()
}

/// The tasks that were acknowledged before the server was gone; the third one brings the one signal, as a second
/// one would end the drain.
async fn install_until_it_is_gone(server: &Process, bundle: &Path) -> Vec<String> {
    let channel = channel(server).await;
    let mut installs = tokio::task::JoinSet::new();
    for number in 0..40 {
        let (channel, bundle, task) = (channel.clone(), bundle.to_owned(), format!("new/{number}"));
        installs.spawn(async move { install(channel, bundle, task.clone()).await.ok().map(|()| task) });
    }
    let mut acknowledged = Vec::new();
    while let Some(ended) = installs.join_next().await {
        let Some(task) = ended.unwrap() else { continue };
        acknowledged.push(task);
        if acknowledged.len() == 3 {
            server.signal(Signal::TERM);
        }
    }
    acknowledged
}

async fn knows(server: &Process, task: &str) -> bool {
    let request = v1::ListVersionsRequest { task: task.to_owned() };
    HeadServiceClient::new(channel(server).await).list_versions(request).await.is_ok()
}

async fn assert_kept(data: &Path, acknowledged: &[String]) {
    assert!(is_whole(data));
    let server = Process::serving(&mut serve(data));
    for task in acknowledged {
        assert!(knows(&server, task).await, "{task} was acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_amid_installs_loses_nothing_that_was_acknowledged() {
    let data = data();
    let mut server = Process::serving(&mut serve(data.path()));
    let acknowledged = install_until_it_is_gone(&server, &bundle(data.path())).await;
    assert!(acknowledged.len() >= 3, "{acknowledged:?}");
    assert_eq!(server.ended_within(PATIENCE).code(), Some(0));
    assert_kept(data.path(), &acknowledged).await;
}
