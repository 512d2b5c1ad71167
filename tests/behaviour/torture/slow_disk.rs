//! The disk is slow while a head is installed: callers notice nothing, and other calls about heads end in time.

use std::time::Duration;

use api::v1;
use api::v1::catalog_service_client::CatalogServiceClient;
use api::v1::head_service_client::HeadServiceClient;
use tempfile::TempDir;
use tests::{constant, effort, found};
use tokio::time::Instant;
use tonic::transport::Channel;

use super::file_calls;
use super::victim::Victim;
use super::{answer, send, upload};

/// What every sync takes longer, in milliseconds, and so an installation altogether: in short, and at full numbers.
const OF_A_SYNC: [usize; 2] = [150, 1_750];
const OF_AN_INSTALLATION: [usize; 2] = [300, 10_000];
const LONGEST_CALL: Duration = Duration::from_secs(5);
/// Nobody notices so little, and a machine with other work is no better than that.
const SPARE: Duration = Duration::from_millis(10);
/// Other work on the machine shows as a slow disk would; it passes.
const TRIES: usize = 5;

/// The latencies of calls one after the other, until `done` or so many.
async fn asked(channel: &Channel, most: usize, done: impl Fn() -> bool) -> Vec<Duration> {
    let mut latencies = Vec::new();
    while latencies.len() < most && !done() {
        let started = Instant::now();
        answer(channel, "slow/task").await.expect("no call fails");
        latencies.push(started.elapsed());
    }
    latencies.sort_unstable();
    latencies
}

fn p99(latencies: &[Duration]) -> Duration {
    latencies[latencies.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_do_not_wait_for_a_slow_disk() {
    let folder = TempDir::new().unwrap();
    let Some(object) = file_calls::object(folder.path()) else {
        found("skipped: no C compiler");
        return;
    };
    let [of_a_sync, of_an_installation] = [OF_A_SYNC, OF_AN_INSTALLATION].map(|[short, full]| effort(short, full));
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let victim = Victim::start_under(&data, |command| {
        command.env("LD_PRELOAD", object).env("HEADWATER_UNDER", &data).env("HEADWATER_SYNC_MS", of_a_sync.to_string());
    })
    .await;
    let channel = victim.channel();
    let encoder = victim.encoder();
    let messages = |number| upload(v1::InstallHeader::default(), "slow/task", &constant(number), encoder);
    send(&channel, messages(0)).await.unwrap();
    let mut seen = String::new();
    for number in 1..=TRIES {
        let before = asked(&channel, effort(200, 1_000), || false).await;
        let (other, install) = (victim.channel(), messages(number as u16));
        let started = Instant::now();
        let installing = tokio::spawn(async move { send(&other, install).await });
        let during = asked(&channel, usize::MAX, || installing.is_finished()).await;
        let took = started.elapsed();
        installing.await.unwrap().unwrap();
        let slow = took > Duration::from_millis(of_an_installation as u64);
        assert!(during.len() > 5 && slow, "{} answers in {took:?}", during.len());
        seen = format!(
            "installed in {took:?}, {} answers meanwhile, p99 {:?} before and {:?} then",
            during.len(),
            p99(&before),
            p99(&during)
        );
        if p99(&during) <= p99(&before).mul_f64(1.2) + SPARE {
            break;
        }
        assert!(number < TRIES, "{seen}");
    }
    let (other, install) = (victim.channel(), messages(99));
    let installing = tokio::spawn(async move { send(&other, install).await });
    let started = Instant::now();
    let request = v1::ListVersionsRequest { task: "slow/task".into() };
    HeadServiceClient::new(channel.clone()).list_versions(request).await.unwrap();
    CatalogServiceClient::new(channel.clone()).list_tasks(v1::ListTasksRequest::default()).await.unwrap();
    assert!(started.elapsed() < LONGEST_CALL, "{:?}", started.elapsed());
    installing.await.unwrap().unwrap();
    found(&seen);
}
