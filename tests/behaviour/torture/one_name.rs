//! Many callers install and delete versions of one task: every call ends in a code that the contract lists, and what is
//! left is what was acknowledged.

use std::collections::BTreeSet;

use api::v1;
use tests::{TestServer, constant, effort, found};
use tonic::Code;

use super::{answer, send, upload};

const TASK: &str = "fought/over";
const CALLERS: u64 = 32;

/// By generation, the version that came, or the one that went.
type Acknowledged = Vec<(u64, Result<u64, u64>)>;

async fn assert_holds(server: &TestServer, expected: &BTreeSet<u64>) {
    let request = v1::ListVersionsRequest { task: TASK.into() };
    let listed = server.heads().list_versions(request).await.unwrap().into_inner();
    let versions: BTreeSet<u64> = listed.versions.iter().map(|version| version.version).collect();
    assert_eq!(versions, *expected);
    let live = answer(&server.channel(), TASK).await.unwrap().0;
    assert_eq!(listed.aliases.iter().map(|alias| alias.version).collect::<Vec<_>>(), [live]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_install_and_delete_under_one_name() {
    let rounds = effort(8, 1_024_u64);
    let server = TestServer::start().await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (channel, encoder) = (server.own_channel(), server.encoder);
            let mut heads = server.heads();
            tokio::spawn(async move {
                let mut acknowledged = Acknowledged::new();
                let mut refused = 0_usize;
                for round in 0..rounds {
                    let head = constant((caller * rounds + round) as u16);
                    let installed = send(&channel, upload(v1::InstallHeader::default(), TASK, &head, encoder)).await;
                    let version = match installed {
                        Ok(installed) => {
                            acknowledged.push((installed.generation, Ok(installed.version)));
                            installed.version
                        }
                        Err(status) => {
                            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                            continue;
                        }
                    };
                    let request = v1::DeleteVersionRequest { task: TASK.into(), version, ..Default::default() };
                    match heads.delete_version(request).await {
                        Ok(deleted) => acknowledged.push((deleted.into_inner().generation, Err(version))),
                        Err(status) => {
                            let listed = [Code::FailedPrecondition, Code::ResourceExhausted];
                            assert!(listed.contains(&status.code()), "{status:?}");
                            refused += 1;
                        }
                    }
                }
                (acknowledged, refused)
            })
        })
        .collect();
    let mut acknowledged = Acknowledged::new();
    let mut refused = 0;
    for caller in callers {
        let (own, own_refused) = caller.await.expect("every code is a listed one");
        acknowledged.extend(own);
        refused += own_refused;
    }
    acknowledged.sort_unstable();
    assert!(acknowledged.windows(2).all(|pair| pair[0].0 < pair[1].0), "two changes of one generation");
    let mut expected = BTreeSet::new();
    for (_, change) in &acknowledged {
        match change {
            Ok(version) => assert!(expected.insert(*version), "version {version} was given twice"),
            Err(version) => assert!(expected.remove(version), "version {version} went before it came"),
        }
    }
    assert_holds(&server, &expected).await;
    assert_holds(&server.restart().await, &expected).await;
    let changes = acknowledged.len();
    found(&format!(
        "{CALLERS} callers: {changes} changes acknowledged, {refused} deletions refused, the rest is right"
    ));
}
