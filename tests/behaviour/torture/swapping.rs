//! The live version moves thousands of times under many clients: every answer is one version's, and none is older than
//! what had been acknowledged when it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use api::v1;
use api::v1::set_alias_request::Change;
use tests::{TestServer, constant, effort, found};

use super::{answer, send, upload};

const TASK: &str = "swapped/task";
/// So many that an answer tells at which swap it was given.
const VERSIONS: u64 = 16;
const CLIENTS_A_CONNECTION: usize = 8;

/// The version that is live after so many swaps.
fn live_after(swaps: u64) -> u64 {
    swaps % VERSIONS + 1
}

#[derive(Default)]
struct Progress {
    started: AtomicU64,
    acknowledged: AtomicU64,
    answers: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_under_swaps_mixes_versions_or_is_older_than_an_acknowledgement() {
    let (swaps, clients) = effort((300, 16), (10_000, 64_usize));
    let server = TestServer::start().await;
    for version in 1..=VERSIONS {
        let head = constant(version as u16);
        send(&server.channel(), upload(v1::InstallHeader::default(), TASK, &head, server.encoder)).await.unwrap();
    }
    let progress = Arc::new(Progress::default());
    let channels: Vec<_> = (0..clients.div_ceil(CLIENTS_A_CONNECTION)).map(|_| server.own_channel()).collect();
    let asking: Vec<_> = (0..clients)
        .map(|client| {
            let (channel, progress) = (channels[client / CLIENTS_A_CONNECTION].clone(), Arc::clone(&progress));
            tokio::spawn(async move {
                while progress.acknowledged.load(Ordering::SeqCst) < swaps {
                    let acknowledged = progress.acknowledged.load(Ordering::SeqCst);
                    let (version, number) = answer(&channel, TASK).await.expect("no call fails");
                    let started = progress.started.load(Ordering::SeqCst);
                    assert_eq!(u64::from(number), version, "the reply names another version than answered");
                    let allowed = acknowledged..=started.min(acknowledged + VERSIONS - 1);
                    assert!(
                        allowed.clone().any(|swap| live_after(swap) == version),
                        "version {version} answered between swaps {acknowledged} and {started}"
                    );
                    progress.answers.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut heads = server.heads();
    for swap in 1..=swaps {
        progress.started.store(swap, Ordering::SeqCst);
        let change = Some(Change::Version(live_after(swap)));
        heads.set_alias(v1::SetAliasRequest { task: TASK.into(), change, ..Default::default() }).await.unwrap();
        progress.acknowledged.store(swap, Ordering::SeqCst);
    }
    for client in asking {
        client.await.expect("every answer is right");
    }
    let answers = progress.answers.load(Ordering::SeqCst);
    assert!(answers > clients, "hardly anybody asked: {answers}");
    found(&format!("{swaps} swaps under {clients} clients: {answers} answers, 0 mixed, 0 stale"));
}
