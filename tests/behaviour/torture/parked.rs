//! A head is deleted, or another goes live, while a call that has found it waits for the encoder: the call ends with the
//! head it found.

use api::v1;
use api::v1::set_alias_request::Change;
use tests::{TestServer, constant};
use tonic::Code;

use super::{answer, send, upload};

const TASK: &str = "parked/task";

/// A server with two versions and a call on the first that waits in the model.
async fn parked() -> (TestServer, tokio::task::JoinHandle<Result<(u64, u16), tonic::Status>>) {
    let server = TestServer::start().await;
    for number in [1, 2] {
        let header = v1::InstallHeader::default();
        send(&server.channel(), upload(header, TASK, &constant(number), server.encoder)).await.unwrap();
    }
    server.gate.close();
    let channel = server.own_channel();
    let call = tokio::spawn(async move { answer(&channel, TASK).await });
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    (server, call)
}

async fn move_live(server: &TestServer, version: u64) {
    let change = Some(Change::Version(version));
    let request = v1::SetAliasRequest { task: TASK.into(), change, ..Default::default() };
    server.heads().set_alias(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_found_a_head_ends_with_it_though_it_is_deleted_meanwhile() {
    let (server, call) = parked().await;
    move_live(&server, 2).await;
    for version in [1, 2] {
        let request = v1::DeleteVersionRequest { task: TASK.into(), version, ..Default::default() };
        server.heads().delete_version(request).await.unwrap();
    }
    server.gate.open();
    assert_eq!(call.await.unwrap().unwrap(), (1, 1));
    let gone = answer(&server.channel(), TASK).await.expect_err("it is deleted");
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_while_the_next_version_is_on_its_way_has_its_own_order() {
    let (server, call) = parked().await;
    move_live(&server, 2).await;
    // The trial of the third version waits behind the parked call.
    let (channel, encoder) = (server.own_channel(), server.encoder);
    let header = v1::InstallHeader { make_live: true, ..Default::default() };
    let installing = tokio::spawn(async move { send(&channel, upload(header, TASK, &constant(3), encoder)).await });
    let rolled = server.heads().rollback(v1::RollbackRequest { task: TASK.into(), ..Default::default() }).await;
    let rolled = rolled.unwrap().into_inner();
    assert_eq!((rolled.version, rolled.previous_version), (1, 2));
    let missing = v1::SetAliasRequest { task: TASK.into(), change: Some(Change::Version(9)), ..Default::default() };
    let missing = server.heads().set_alias(missing).await.expect_err("no such version");
    assert_eq!(missing.code(), Code::NotFound);
    server.gate.open();
    assert_eq!(call.await.unwrap().unwrap(), (1, 1));
    let installed = installing.await.unwrap().unwrap();
    assert_eq!((installed.version, installed.live), (3, true));
    assert_eq!(answer(&server.channel(), TASK).await.unwrap(), (3, 3));
    let rolled = server.heads().rollback(v1::RollbackRequest { task: TASK.into(), ..Default::default() }).await;
    assert_eq!(rolled.unwrap().into_inner().version, 1, "the version before is the one that was rolled back to");
}
