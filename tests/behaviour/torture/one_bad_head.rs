//! A server with a thousand heads over many tenants starts although one is damaged, serves the others and shows that one.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use api::v1;
use api::v1::head_service_client::HeadServiceClient;
use engine::{Alias, TaskKey, TenantName};
use registry::{Change, Digest, Install, OpenOptions, Registry};
use tempfile::TempDir;
use tests::{constant, effort, found};
use tokio::time::Instant;
use tonic::Code;

use super::answer;
use super::victim::Victim;

const HEADS: u16 = 1_000;
const TENANTS: u16 = 20;
const LONGEST_START: Duration = Duration::from_secs(30);

fn task(number: u16) -> String {
    format!("many/task{number}")
}

/// The registry's thousand heads, and which of them is damaged: one that callers without a tenant can name.
fn fill(folder: &std::path::Path, encoder: Digest) -> u16 {
    let dir = folder.join("registry");
    let mut registry = Registry::open(&dir, &OpenOptions { ballast_bytes: 0, ..OpenOptions::SERVER }).unwrap();
    let tenant = |number: u16| match number % TENANTS {
        0 => TenantName::default_tenant(),
        other => format!("tenant-{other}").parse().unwrap(),
    };
    let installs = (0..HEADS).map(|number| Install {
        key: TaskKey { tenant: tenant(number), task: task(number).parse().unwrap() },
        version: None,
        head: Arc::new(constant(number)),
        encoder,
        forced: false,
        aliases: vec![Alias::live()],
    });
    let committed = registry.commit(Change::InstallMany(installs.collect())).unwrap();
    let bad = 7 * TENANTS;
    let object = dir.join("objects").join(committed.installed[usize::from(bad)].digest.hex());
    registry.close().unwrap();
    let mut bytes = fs::read(&object).unwrap();
    bytes[3] ^= 1;
    fs::write(object, bytes).unwrap();
    bad
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_heads_one_bad_one_is_shown_and_the_others_serve() {
    let folder = TempDir::new().unwrap();
    let first = Victim::start(folder.path()).await;
    let encoder = first.encoder();
    first.kill();
    fs::remove_dir_all(folder.path().join("registry")).unwrap();
    let bad = fill(folder.path(), encoder);
    let started = Instant::now();
    let victim = Victim::start(folder.path()).await;
    let took = started.elapsed();
    assert!(took < LONGEST_START, "{took:?}");
    let channel = victim.channel();
    for number in (0..HEADS).step_by(usize::from(TENANTS) * effort(5, 1)).filter(|number| *number != bad) {
        assert_eq!(answer(&channel, &task(number)).await.unwrap(), (1, number));
    }
    assert_eq!(answer(&channel, &task(bad)).await.expect_err("it is damaged").code(), Code::NotFound);
    let request = v1::ListVersionsRequest { task: task(bad) };
    let listed = HeadServiceClient::new(channel).list_versions(request).await.unwrap().into_inner();
    assert_eq!(listed.versions[0].state(), v1::VersionState::Damaged, "{listed:?}");
    found(&format!("{HEADS} heads over {TENANTS} tenants: serving after {took:?}, one shown as damaged"));
}
