//! A folder watched for a tenant: its heads are that tenant's, and nobody's where there is no such tenant.

use std::fs;
use std::path::Path;
use std::time::Duration;

use api::v1;
use registry::{Digest, Registry};
use server::{Access, Identities, ServeError};
use tests::{Surroundings, TestServer, first_token};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::asking::{ask, input};
use crate::credentials::{tenant, token, with};
use crate::heads_folder::{head_folder, watched};

const PATIENCE: Duration = Duration::from_secs(60);

/// For callers with credentials, with a folder that is watched for `acme`. The catalogue is empty.
fn for_acme() -> Surroundings {
    let access = Access::Credentials { catalogue: None, identities: Identities::default() };
    Surroundings { access, watch_tenant: "acme".parse().unwrap(), ..Surroundings::default() }
}

fn make_acme(data: &Path) {
    let options = registry::OpenOptions { ballast_bytes: 0, ..registry::OpenOptions::SERVER };
    let mut registry = Registry::open(&data.join("registry"), &options).unwrap();
    let (name, description) = ("acme".parse().unwrap(), String::new());
    registry.commit(registry::Change::CreateTenant { name, description, quota: engine::Quota::default() }).unwrap();
    registry.close().unwrap();
}

/// A server with that tenant, an operator's token, and the encoder that its heads are for; the folder has head `a`.
async fn start_with_acme() -> (TestServer, String, Digest) {
    let (data, encoder) = watched(&[("a", 1)]);
    let operator = first_token(&data.path().join("registry"));
    make_acme(data.path());
    let server = TestServer::begin_in_folder(data, for_acme()).await;
    server.until(ServingStatus::Serving).await;
    (server, operator, encoder)
}

/// What a caller with `token` is told by a task.
async fn told(server: &TestServer, token: &str, task: &str) -> Result<u64, Code> {
    let answered = server.classifier().classify(with(token, ask(task, vec![input("fine")]))).await;
    answered.map_err(|status| status.code()).map(|reply| reply.into_inner().served_by.unwrap().version)
}

async fn until_told(server: &TestServer, token: &str, wanted: Result<u64, Code>) {
    let reaching = async {
        while told(server, token, "a").await != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reaching).await.expect("the folder is followed in time");
}

async fn problem(server: &TestServer, operator: &str) -> String {
    let request = with(operator, v1::ListWatchedHeadsRequest {});
    server.heads().list_watched_heads(request).await.unwrap().into_inner().problem
}

#[tokio::test]
async fn the_folder_of_a_tenant_is_that_tenants_alone() {
    let (server, operator, encoder) = start_with_acme().await;
    let (acme, _) = token(&server, &operator, "acme", &[v1::Scope::Infer]).await;
    assert_eq!(told(&server, &acme, "a").await, Ok(1), "before the server says that it serves");
    assert_eq!(told(&server, &operator, "a").await, Err(Code::NotFound), "it is not the tenant's own");
    head_folder("a", 2, encoder).write(&server.folder().join("watched/a")).unwrap();
    until_told(&server, &acme, Ok(2)).await;
    head_folder("b", 3, encoder).write(&server.folder().join("watched/b")).unwrap();
    fs::remove_dir_all(server.folder().join("watched/a")).unwrap();
    until_told(&server, &acme, Err(Code::NotFound)).await;
    assert_eq!(told(&server, &operator, "mood").await, Ok(1), "the heads of others stay");
}

#[tokio::test]
async fn a_folder_for_a_tenant_that_is_not_there_keeps_the_server_from_starting() {
    let (data, _) = watched(&[("a", 1)]);
    let server = TestServer::begin_in_folder(data, for_acme()).await;
    let ended = server.ended().await;
    assert!(matches!(&ended, Err(ServeError::NoTenantToWatchFor(tenant)) if tenant.as_str() == "acme"), "{ended:?}");
}

#[tokio::test]
async fn heads_of_a_tenant_that_is_deleted_do_not_come_back_before_it_does() {
    let (server, operator, _) = start_with_acme().await;
    let request = v1::DeleteTenantRequest { name: "acme".to_owned(), delete_heads: true };
    server.tenants().delete_tenant(with(&operator, request)).await.unwrap();
    let noticed = async {
        while problem(&server, &operator).await != "there is no tenant acme" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.expect("it is noticed in time");
    tenant(&server, &operator, "acme").await;
    let (acme, _) = token(&server, &operator, "acme", &[v1::Scope::Infer]).await;
    // The number that the task has given stays given.
    until_told(&server, &acme, Ok(2)).await;
    let solved = async {
        while !problem(&server, &operator).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, solved).await.expect("all is well in time");
}
