//! What the log and the errors say of hostile callers: one JSON object an event, and nothing that is somebody's own.

use api::v1;
use api::v1::catalog_service_client::CatalogServiceClient;
use api::v1::classifier_service_client::ClassifierServiceClient;
use api::v1::head_service_client::HeadServiceClient;
use api::v1::install_head_request::Part;
use api::v1::tenant_service_client::TenantServiceClient;
use rustix::process::Signal;
use serde_json::Value;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::calling::{first_token, with};
use crate::process::{PATIENCE, Process, serve};

/// What callers classify: nobody else may ever see it.
const CANARY: &str = "canary-4711";
/// A tenant that the caller is not told of.
const OTHER_TENANT: &str = "secret-tenant";
/// Ends a line, colours a terminal, closes a JSON string.
const HOSTILE: &str = "x\r\n{\"level\":\"ERROR\"}\u{1b}[31m\u{202e}\",\"message\":\"forged";
/// Longer than anything of a caller's that a line may hold.
const LONG: usize = 1_000;

fn classify(task: &str) -> v1::ClassifyRequest {
    let input = v1::Input { text: format!("{CANARY} {HOSTILE}"), ..v1::Input::default() };
    v1::ClassifyRequest { task: task.to_owned(), inputs: vec![input], ..v1::ClassifyRequest::default() }
}

fn installation(task: &str, manifest: &str) -> tokio_stream::Iter<std::vec::IntoIter<v1::InstallHeadRequest>> {
    let header = v1::InstallHeader { task: task.to_owned(), ..v1::InstallHeader::default() };
    let chunk = |name: &str, data: Vec<u8>| Part::Chunk(v1::FileChunk { name: name.to_owned(), offset: 0, data });
    let manifest = chunk("head.toml", manifest.as_bytes().to_vec());
    let parts = [Part::Header(header), manifest, chunk("weights.safetensors", vec![7; 64])];
    let messages = parts.map(|part| v1::InstallHeadRequest { part: Some(part) });
    tokio_stream::iter(messages.to_vec())
}

/// Everything that a caller can get wrong, and what each is told.
async fn refusals(channel: &Channel, token: &str) -> Vec<Status> {
    let mut classifier = ClassifierServiceClient::new(channel.clone());
    let mut heads = HeadServiceClient::new(channel.clone());
    let mut told = Vec::new();
    let long = "n".repeat(LONG);
    for name in [HOSTILE, "../../etc/passwd", "no/such/task", &long] {
        told.extend(classifier.classify(with(token, classify(name))).await.err());
        let lookup = v1::GetTaskRequest { task: name.to_owned(), ..v1::GetTaskRequest::default() };
        told.extend(CatalogServiceClient::new(channel.clone()).get_task(with(token, lookup)).await.err());
        told.extend(heads.install_head(with(token, installation(name, CANARY))).await.err());
        let manifest = format!("format = 1\ntask = {name:?}\nkind = \"classification\"\nlabels = [{HOSTILE:?}]\n");
        told.extend(heads.install_head(with(token, installation("made/up", &manifest))).await.err());
    }
    for forged in ["hw_0000_1111", &format!("{token}x"), &long] {
        told.extend(classifier.classify(with(forged, classify("trec"))).await.err());
    }
    let mut elsewhere = with(token, classify("trec"));
    elsewhere.metadata_mut().insert("headwater-tenant", OTHER_TENANT.parse().unwrap());
    elsewhere.metadata_mut().insert("user-agent", "agent {\"forged\":true}".parse().unwrap());
    told.extend(classifier.classify(elsewhere).await.err());
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_the_log_nor_an_error_holds_what_is_somebodys_own() {
    let data = tempfile::tempdir().unwrap();
    let token = first_token(data.path(), &["--scopes", "infer,heads,operator"]);
    assert!(token.len() > 20, "{token:?}");
    let mut server = Process::serving(serve(data.path()).args(["--auth", "on", "--log", "debug"]));
    let channel = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let made = v1::CreateTenantRequest { name: OTHER_TENANT.to_owned(), ..v1::CreateTenantRequest::default() };
    TenantServiceClient::new(channel.clone()).create_tenant(with(&token, made)).await.unwrap();
    ClassifierServiceClient::new(channel.clone()).classify(with(&token, classify("trec"))).await.unwrap();
    let told = refusals(&channel, &token).await;
    assert!(told.len() >= 18, "{told:#?}");

    let secret = token.rsplit(['_', '.']).next().unwrap();
    let folder = data.path().to_str().unwrap();
    for status in &told {
        let text = format!("{status:?}");
        for own in [secret, folder, CANARY, "/registry"] {
            assert!(!text.contains(own), "{own} is in {text}");
        }
        let names_it = status.message().contains(OTHER_TENANT);
        assert!(!names_it || status.code() == tonic::Code::PermissionDenied, "{text}");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.ended_within(PATIENCE).code(), Some(0));
    let events = server.rest();
    assert!(events.len() > 5, "{events:?}");
    for event in &events {
        let Value::Object(fields) = event else { panic!("a line that is no event: {event}") };
        assert!(fields.contains_key("message") && fields.contains_key("level"), "{event}");
        let text = event.to_string();
        assert!(!text.contains(secret) && !text.contains(CANARY), "{text}");
        assert!(!text.contains(&"n".repeat(257)), "{text}");
        assert_ne!(fields["message"], "forged");
    }
}
