//! Rows of fits and evaluations cost their tenant tokens, and wait for them instead of being refused.

use std::time::Duration;

use api::v1;
use tests::TestServer;
use tonic::Status;

use crate::credentials::with;
use crate::evaluating::rows;
use crate::quotas::{classify, limit, start, told};
use crate::{fitting, installing_bundles};

const PATIENCE: Duration = Duration::from_secs(60);
/// The tokens of a text of one word here, with those that mark its ends.
const TOKENS: u64 = 3;

/// After the first row it is a long time until the next.
fn hardly_any() -> v1::Quota {
    v1::Quota { tokens_per_second: Some(0.001), ..v1::Quota::default() }
}

async fn tokens(server: &TestServer, tenant: &str) -> u64 {
    server.metric(&format!("tenant_tokens_total{{tenant=\"{tenant}\"}}")).await
}

/// Returns once so many rows of the tenant's wait for tokens.
async fn waiting(server: &TestServer, tenant: &str, rows: u64) {
    server.until_metric(&format!("tenant_waiting_rows{{tenant=\"{tenant}\"}}"), rows).await;
}

/// Begins a fit on 26 rows of one word; the other end tells how it ends.
fn fit(server: &TestServer, token: &str) -> tokio::task::JoinHandle<Result<(), Status>> {
    let plan = fitting::plan("fitted/task", v1::TaskKind::Classification);
    let messages = tokio_stream::iter(fitting::messages(plan, fitting::letters()));
    let (mut heads, request) = (server.heads(), with(token, messages));
    tokio::spawn(async move {
        let mut events = heads.fit_head(request).await?.into_inner();
        while events.message().await?.is_some() {}
        Ok(())
    })
}

/// Evaluates the catalogue's task on so many rows.
async fn evaluate(server: &TestServer, token: &str, count: usize) -> Result<(), Status> {
    let messages = rows::messages(rows::plan("mood"), rows::mood_rows(count));
    let mut events = server.heads().evaluate_head(with(token, tokio_stream::iter(messages))).await?.into_inner();
    while events.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn a_fit_waits_for_its_tenants_tokens_and_ends_well_when_there_are_more() {
    let (server, operator, [acme, zoo]) = start().await;
    limit(&server, &operator, "acme", hardly_any()).await;
    let fitting = fit(&server, &acme);
    waiting(&server, "acme", 25).await;
    assert_eq!(tokens(&server, "acme").await, TOKENS, "one row went, since there was a token");
    let (subject, wait) = told(&classify(&server, &acme, &["fine"]).await.unwrap_err());
    assert_eq!(subject, "tokens_per_second");
    assert!(wait.unwrap() > Duration::from_secs(600), "{wait:?}");

    // What waits for tokens is in nobody else's way.
    classify(&server, &zoo, &["fine"]).await.unwrap();
    tokio::time::timeout(PATIENCE, evaluate(&server, &zoo, 100)).await.expect("in time").unwrap();
    assert!(tokens(&server, "zoo").await > 300);

    limit(&server, &operator, "acme", v1::Quota { tokens_per_second: Some(1000.0), ..v1::Quota::default() }).await;
    tokio::time::timeout(PATIENCE, fitting).await.expect("in time").unwrap().unwrap();
    assert_eq!(tokens(&server, "acme").await, 26 * TOKENS);
    assert_eq!(server.metric("tenant_waiting_rows{tenant=\"acme\"}").await, 0);
}

#[tokio::test]
async fn a_fit_takes_as_long_as_its_tokens_do() {
    let (server, operator, [acme, _]) = start().await;
    let rate = 26.0 * TOKENS as f64;
    limit(&server, &operator, "acme", v1::Quota { tokens_per_second: Some(rate), ..v1::Quota::default() }).await;
    let started = tokio::time::Instant::now();
    tokio::time::timeout(PATIENCE, fit(&server, &acme)).await.expect("in time").unwrap().unwrap();
    // A second's worth in all, of which half was there and the last row is still to be paid.
    assert!(started.elapsed() > Duration::from_millis(450), "{:?}", started.elapsed());
    // The other half was left to calls.
    classify(&server, &acme, &["fine"]).await.unwrap();
}

#[tokio::test]
async fn rows_of_an_evaluation_are_paid_by_who_evaluates_and_not_by_whose_task_it_is() {
    let (server, operator, [acme, _]) = start().await;
    limit(&server, &operator, "default", hardly_any()).await;
    let before = tokens(&server, "default").await;
    tokio::time::timeout(PATIENCE, evaluate(&server, &acme, 20)).await.expect("in time").unwrap();
    assert_eq!(tokens(&server, "default").await, before);
    assert!(tokens(&server, "acme").await > 60);
}

#[tokio::test]
async fn a_rate_of_nothing_ends_a_fit_and_hinders_no_install() {
    let (server, operator, [acme, _]) = start().await;
    limit(&server, &operator, "acme", v1::Quota { tokens_per_second: Some(0.0), ..v1::Quota::default() }).await;
    let refused = tokio::time::timeout(PATIENCE, fit(&server, &acme)).await.expect("in time").unwrap();
    assert_eq!(told(&refused.unwrap_err()), ("tokens_per_second".to_owned(), None));
    let heads = vec![installing_bundles::labelled(&server, "bundled/task", 1)];
    let messages = installing_bundles::messages(installing_bundles::header(&heads), &heads);
    let installed = server.heads().install_bundle(with(&acme, tokio_stream::iter(messages))).await;
    let mut events = installed.unwrap().into_inner();
    while events.message().await.expect("a trial is nobody's row").is_some() {}
}
