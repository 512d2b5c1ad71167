//! Work that takes as long as its caller likes: a tenant has one of a kind or a few, and none keeps the others out.

use api::v1;
use tests::TestServer;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::credentials::with;
use crate::quotas::{start, told};
use crate::{fitting, installing_bundles};

/// The messages, and after them nothing for as long as the first half is kept.
fn unfinished<T: std::fmt::Debug>(messages: Vec<T>) -> (mpsc::Sender<T>, ReceiverStream<T>) {
    let (sender, waiting) = mpsc::channel(messages.len());
    for message in messages {
        sender.try_send(message).unwrap();
    }
    (sender, ReceiverStream::new(waiting))
}

fn a_fit(task: &str) -> Vec<v1::FitHeadRequest> {
    fitting::messages(fitting::plan(task, v1::TaskKind::Classification), fitting::letters())
}

async fn fit(
    server: &TestServer,
    token: &str,
    messages: impl Stream<Item = v1::FitHeadRequest> + Send + 'static,
) -> Result<Streaming<v1::FitHeadResponse>, Status> {
    server.heads().fit_head(with(token, messages)).await.map(tonic::Response::into_inner)
}

async fn install(
    server: &TestServer,
    token: &str,
    messages: impl Stream<Item = v1::InstallBundleRequest> + Send + 'static,
) -> Result<Streaming<v1::InstallBundleResponse>, Status> {
    server.heads().install_bundle(with(token, messages)).await.map(tonic::Response::into_inner)
}

/// How the stream ends, past everything that it says before.
async fn end<T>(started: Result<Streaming<T>, Status>) -> Result<(), Status> {
    let mut events = started?;
    while events.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn a_fit_whose_rows_never_end_leaves_another_tenant_its_own() {
    let (server, _, [acme, zoo]) = start().await;
    let (_rows, waiting) = unfinished(a_fit("half"));
    let mut held = fit(&server, &acme, waiting).await.unwrap();
    held.message().await.unwrap().expect("it says that it has begun");
    let second = end(fit(&server, &acme, tokio_stream::iter(a_fit("other"))).await).await.unwrap_err();
    assert_eq!(told(&second).0, "fits");
    assert!(told(&second).1.is_some(), "when to come back is said");
    end(fit(&server, &zoo, tokio_stream::iter(a_fit("other"))).await).await.expect("the other tenant fits");
}

#[tokio::test]
async fn a_bundle_that_never_ends_leaves_another_tenant_its_own() {
    let (server, _, [acme, zoo]) = start().await;
    let heads = vec![installing_bundles::labelled(&server, "one", 1)];
    let all = || installing_bundles::messages(installing_bundles::header(&heads), &heads);
    let (_parts, waiting) = unfinished(all().into_iter().take(2).collect());
    let _held = install(&server, &acme, waiting).await.unwrap();
    let second = end(install(&server, &acme, tokio_stream::iter(all())).await).await.unwrap_err();
    assert_eq!((second.code(), told(&second).0.as_str()), (Code::ResourceExhausted, "bundles"));
    end(install(&server, &zoo, tokio_stream::iter(all())).await).await.expect("the other tenant installs");
}
