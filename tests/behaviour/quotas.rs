//! A tenant uses what its quota says and no more, and what it does not is no other tenant's loss.

use std::time::Duration;

use api::v1;
use engine::HeadKind;
use tests::{TestServer, head};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::asking::{ask, input};
use crate::credentials::{tenant, token, with};
use crate::installing::{folder, messages};

const SCOPES: [v1::Scope; 2] = [v1::Scope::Infer, v1::Scope::Heads];

/// A server, its operator's token, and the tokens of `acme` and `zoo`.
pub(crate) async fn start() -> (TestServer, String, [String; 2]) {
    let (server, operator) = TestServer::start_with_credentials().await;
    let mut tokens = [String::new(), String::new()];
    for (name, secret) in ["acme", "zoo"].into_iter().zip(&mut tokens) {
        tenant(&server, &operator, name).await;
        *secret = token(&server, &operator, name, &SCOPES).await.0;
    }
    (server, operator, tokens)
}

pub(crate) async fn limit(server: &TestServer, operator: &str, name: &str, quota: v1::Quota) {
    let request = v1::SetQuotaRequest { name: name.to_owned(), quota: Some(quota) };
    server.tenants().set_quota(with(operator, request)).await.unwrap();
}

async fn rows_in_flight(server: &TestServer, operator: &str, name: &str) -> u32 {
    let request = with(operator, v1::GetTenantRequest { name: name.to_owned() });
    let tenant = server.tenants().get_tenant(request).await.unwrap().into_inner().tenant.unwrap();
    tenant.r#use.unwrap().rows_in_flight
}

/// Asks the catalogue's task.
pub(crate) async fn classify(server: &TestServer, token: &str, texts: &[&str]) -> Result<(), Status> {
    let inputs = texts.iter().map(|text| input(text)).collect();
    server.classifier().classify(with(token, ask("mood", inputs))).await.map(drop)
}

async fn install(server: &TestServer, token: &str, task: &str, seed: u16) -> Result<(), Status> {
    let folder = folder(server, task, &head(HeadKind::Classification, &["no", "yes"], seed));
    let messages = messages(v1::InstallHeader::default(), &folder);
    server.heads().install_head(with(token, tokio_stream::iter(messages))).await.map(drop)
}

/// Which quota the refusal names, and how long it says to wait.
pub(crate) fn told(refusal: &Status) -> (String, Option<Duration>) {
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
    let details = refusal.get_error_details();
    let subject = details.quota_failure().unwrap().violations[0].subject.clone();
    (subject, details.retry_info().and_then(|info| info.retry_delay))
}

#[tokio::test]
async fn calls_beyond_the_burst_are_refused_until_the_rate_has_made_up_for_them() {
    let (server, operator, [acme, zoo]) = start().await;
    let slow = v1::Quota { requests_per_second: Some(0.001), request_burst: Some(2), ..v1::Quota::default() };
    limit(&server, &operator, "acme", slow).await;
    for _ in 0..2 {
        classify(&server, &acme, &["fine"]).await.unwrap();
    }
    let rows_before = server.rows_seen();
    let (subject, wait) = told(&classify(&server, &acme, &["never read"]).await.unwrap_err());
    assert_eq!(subject, "requests_per_second");
    assert!(wait.unwrap() > Duration::from_secs(600), "{wait:?}");
    assert_eq!(server.rows_seen(), rows_before);
    // Another tenant's quota, set anew, gives this one nothing back.
    limit(&server, &operator, "zoo", v1::Quota::default()).await;
    told(&classify(&server, &acme, &["fine"]).await.unwrap_err());
    classify(&server, &zoo, &["fine"]).await.unwrap();
    let fast = v1::Quota { requests_per_second: Some(1000.0), ..v1::Quota::default() };
    limit(&server, &operator, "acme", fast).await;
    let refilled = async { while classify(&server, &acme, &["fine"]).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), refilled).await.expect("the rate makes up for what was taken");
    limit(&server, &operator, "acme", v1::Quota { requests_per_second: Some(0.0), ..v1::Quota::default() }).await;
    assert_eq!(told(&classify(&server, &acme, &["fine"]).await.unwrap_err()).1, None);
    limit(&server, &operator, "acme", v1::Quota::default()).await;
    classify(&server, &acme, &["fine"]).await.unwrap();
}

#[tokio::test]
async fn an_operator_can_change_quotas_when_its_own_tenant_has_none_left() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let none = v1::Quota { requests_per_second: Some(0.0), ..v1::Quota::default() };
    limit(&server, &operator, "default", none).await;
    told(&classify(&server, &operator, &["fine"]).await.unwrap_err());
    limit(&server, &operator, "default", v1::Quota::default()).await;
    classify(&server, &operator, &["fine"]).await.unwrap();
}

#[tokio::test]
async fn rows_in_flight_are_the_askers_and_not_those_of_the_tenant_whose_task_it_is() {
    let (server, operator, [acme, zoo]) = start().await;
    let two = v1::Quota { rows_in_flight: Some(2), ..v1::Quota::default() };
    limit(&server, &operator, "acme", two).await;
    server.gate.close();
    let (mut classifier, request) = (server.classifier(), with(&acme, ask("mood", vec![input("a"), input("b")])));
    let held = tokio::spawn(async move { classifier.classify(request).await });
    server.until_metric("tenant_rows_in_flight{tenant=\"acme\"}", 2).await;
    assert_eq!(rows_in_flight(&server, &operator, "acme").await, 2);
    assert_eq!(rows_in_flight(&server, &operator, "default").await, 0);
    let (subject, wait) = told(&classify(&server, &acme, &["c"]).await.unwrap_err());
    assert_eq!(subject, "rows_in_flight");
    assert!(wait.is_some());
    let (mut classifier, request) = (server.classifier(), with(&zoo, ask("mood", vec![input("d")])));
    let other = tokio::spawn(async move { classifier.classify(request).await });
    server.until_metric("tenant_rows_in_flight{tenant=\"zoo\"}", 1).await;
    server.gate.open();
    held.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(rows_in_flight(&server, &operator, "acme").await, 0);
    let (_, wait) = told(&classify(&server, &acme, &["e", "f", "g"]).await.unwrap_err());
    assert_eq!(wait, None, "three never fit");
    classify(&server, &acme, &["e", "f"]).await.unwrap();
    assert_eq!(server.metric("quota_refusals_total{tenant=\"acme\",quota=\"rows_in_flight\"}").await, 2);
    assert_eq!(server.metric("quota_refusals_total{tenant=\"zoo\",quota=\"rows_in_flight\"}").await, 0);
}

#[tokio::test]
async fn tokens_are_the_askers_also_for_vectors_and_suggestions() {
    let (server, operator, [acme, zoo]) = start().await;
    // One row goes, since there is a token; then it is a long time until the next.
    let few = v1::Quota { tokens_per_second: Some(0.001), ..v1::Quota::default() };
    limit(&server, &operator, "acme", few).await;
    classify(&server, &acme, &["a new text"]).await.unwrap();
    let (subject, wait) = told(&classify(&server, &acme, &["another new text"]).await.unwrap_err());
    assert_eq!(subject, "tokens_per_second");
    assert!(wait.unwrap() > Duration::from_secs(600), "{wait:?}");
    let embed = v1::EmbedRequest { inputs: vec![input("a third text")], ..v1::EmbedRequest::default() };
    let refused = server.classifier().embed(with(&acme, embed.clone())).await.unwrap_err();
    assert_eq!(told(&refused).0, "tokens_per_second");
    let suggest = v1::SuggestTasksRequest { input: Some(input("a fourth")), ..v1::SuggestTasksRequest::default() };
    let refused = server.catalog().suggest_tasks(with(&acme, suggest)).await.unwrap_err();
    assert_eq!(told(&refused).0, "tokens_per_second");
    server.classifier().embed(with(&zoo, embed)).await.unwrap();
    assert_eq!(rows_in_flight(&server, &operator, "acme").await, 0);
}

#[tokio::test]
async fn versions_and_bytes_beyond_the_quota_are_not_installed() {
    let (server, operator, [acme, zoo]) = start().await;
    limit(&server, &operator, "acme", v1::Quota { head_versions: Some(2), ..v1::Quota::default() }).await;
    for seed in [1, 2, 2] {
        install(&server, &acme, "own", seed).await.unwrap();
    }
    let refused = install(&server, &acme, "more", 3).await.unwrap_err();
    assert_eq!(told(&refused), ("head_versions".to_owned(), None));
    install(&server, &zoo, "more", 3).await.unwrap();
    let request = with(&operator, v1::GetTenantRequest { name: "acme".to_owned() });
    let used = server.tenants().get_tenant(request).await.unwrap().into_inner().tenant.unwrap().r#use.unwrap();
    assert_eq!(used.head_versions, 2);
    let bytes = v1::Quota { head_bytes: Some(used.head_bytes + 1), ..v1::Quota::default() };
    limit(&server, &operator, "acme", bytes).await;
    let refused = install(&server, &acme, "own", 4).await.unwrap_err();
    assert_eq!(told(&refused), ("head_bytes".to_owned(), None));
    let delete = v1::DeleteVersionRequest { task: "own".to_owned(), version: 2, ..v1::DeleteVersionRequest::default() };
    server.heads().delete_version(with(&acme, delete)).await.unwrap();
    install(&server, &acme, "own", 4).await.unwrap();
    assert_eq!(server.metric("quota_refusals_total{tenant=\"acme\",quota=\"head_bytes\"}").await, 1);
    assert_eq!(server.metric("quota_refusals_total{tenant=\"default\",quota=\"head_bytes\"}").await, 0);
}

#[tokio::test]
async fn names_that_nobody_has_are_no_labels() {
    let (server, operator, _) = start().await;
    let mut request = with(&operator, ask("mood", vec![input("fine")]));
    request.metadata_mut().insert("headwater-tenant", "invented".parse().unwrap());
    server.classifier().classify(request).await.unwrap_err();
    classify(&server, "hw_0123456789abcdef", &["fine"]).await.unwrap_err();
    let page = server.metrics().await;
    assert!(page.contains("headwater_tenant_calls_total{tenant=\"acme\"} 0\n"), "{page}");
    assert!(!page.contains("invented"));
}
