//! Without a good credential nobody comes in, and with one only as far as it is good for.

use api::v1;
use prost::Message;
use prost_types::FileDescriptorSet;
use tests::TestServer;
use tonic::{Code, Request, Status};

use crate::asking::{ask, input};
use crate::streaming::message;

/// `message` with a token.
pub(crate) fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// A tenant's token, and its id.
pub(crate) async fn token(server: &TestServer, operator: &str, tenant: &str, scopes: &[v1::Scope]) -> (String, String) {
    let scopes = scopes.iter().map(|scope| i32::from(*scope)).collect();
    let request = v1::CreateTokenRequest { tenant: tenant.to_owned(), scopes, ..v1::CreateTokenRequest::default() };
    let reply = server.tenants().create_token(with(operator, request)).await.unwrap().into_inner();
    (reply.secret, reply.token.unwrap().id)
}

/// A new tenant.
pub(crate) async fn tenant(server: &TestServer, operator: &str, name: &str) {
    let request = v1::CreateTenantRequest { name: name.to_owned(), ..v1::CreateTenantRequest::default() };
    server.tenants().create_tenant(with(operator, request)).await.unwrap();
}

async fn classify(server: &TestServer, request: Request<v1::ClassifyRequest>) -> Result<(), Status> {
    server.classifier().classify(request).await.map(|_| ())
}

fn question() -> v1::ClassifyRequest {
    ask("mood", vec![input("fine")])
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_the_answer_is_the_same() {
    let (server, good) = TestServer::start_with_credentials().await;
    classify(&server, with(&good, question())).await.unwrap();
    let mut wrong_secret = good.clone();
    wrong_secret.replace_range(good.len() - 1.., if good.ends_with('0') { "1" } else { "0" });
    let mut wrong_id = good.clone();
    wrong_id.replace_range(3..4, if good.as_bytes()[3] == b'0' { "1" } else { "0" });
    let values = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        good.clone(),
        format!("Basic {good}"),
        format!("Bearer  {good}"),
        format!("Bearer {good} "),
        format!("Bearer {wrong_secret}"),
        format!("Bearer {wrong_id}"),
        format!("Bearer {}", "a".repeat(8_000)),
    ];
    let rows_before = server.rows_seen();
    let missing = classify(&server, Request::new(question())).await.unwrap_err();
    assert_eq!(missing.code(), Code::Unauthenticated);
    let mut requests: Vec<_> = values.iter().map(|value| (value.clone(), Request::new(question()))).collect();
    requests
        .iter_mut()
        .for_each(|(value, request)| drop(request.metadata_mut().insert("authorization", value.parse().unwrap())));
    let mut twice = with(&good, question());
    twice.metadata_mut().append("authorization", format!("Bearer {good}").parse().unwrap());
    requests.push(("twice".to_owned(), twice));
    for (value, request) in requests {
        let refused = classify(&server, request).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, missing.message()), "{value}");
        assert_eq!(refused.details(), missing.details(), "{value}");
    }
    assert_eq!(server.rows_seen(), rows_before);
}

#[tokio::test]
async fn a_header_of_a_megabyte_ends_the_call_and_not_the_server() {
    let (server, good) = TestServer::start_with_credentials().await;
    let refused = classify(&server, with(&"a".repeat(1 << 20), question())).await;
    assert!(refused.is_err());
    classify(&server, with(&good, question())).await.unwrap();
}

#[tokio::test]
async fn a_token_ends_when_it_is_revoked_also_under_a_stream_and_after_a_restart() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let (secret, id) = token(&server, &operator, "default", &[v1::Scope::Infer]).await;
    let (rows, waiting) = tokio::sync::mpsc::channel(4);
    rows.send(message("1", "mood", "fine")).await.unwrap();
    let stream = with(&secret, tokio_stream::wrappers::ReceiverStream::new(waiting));
    let mut answers = server.classifier().classify_stream(stream).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().id, "1");
    for _ in 0..2 {
        let revoke = with(&operator, v1::RevokeTokenRequest { id: id.clone() });
        server.tenants().revoke_token(revoke).await.unwrap();
    }
    assert_eq!(classify(&server, with(&secret, question())).await.unwrap_err().code(), Code::Unauthenticated);
    rows.send(message("2", "mood", "fine")).await.unwrap();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unauthenticated);
    drop((answers, rows));
    let server = server.restart().await;
    assert_eq!(classify(&server, with(&secret, question())).await.unwrap_err().code(), Code::Unauthenticated);
    classify(&server, with(&operator, question())).await.unwrap();
}

#[tokio::test]
async fn a_token_that_ends_by_itself_must_end_later_than_now() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let request = |seconds| v1::CreateTokenRequest {
        tenant: "default".to_owned(),
        scopes: vec![v1::Scope::Infer.into()],
        expires_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..v1::CreateTokenRequest::default()
    };
    for past in [i64::MIN, -1, 0, 1, 1_000_000_000] {
        let refused = server.tenants().create_token(with(&operator, request(past))).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{past}");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let end = i64::try_from(now).unwrap() + 2;
    let reply = server.tenants().create_token(with(&operator, request(end))).await.unwrap().into_inner();
    let ends = async {
        while classify(&server, with(&reply.secret, question())).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    classify(&server, with(&reply.secret, question())).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(30), ends).await.expect("it ends by itself");
}

/// The path of every method of the contract, and whether it is a stream from the client.
fn methods() -> Vec<String> {
    let contract = FileDescriptorSet::decode(api::FILE_DESCRIPTOR_SET).unwrap();
    let files = contract.file.iter().filter(|file| file.package() == "headwater.v1");
    let services = files.flat_map(|file| &file.service);
    let paths = services.flat_map(|service| {
        service.method.iter().map(|method| format!("/headwater.v1.{}/{}", service.name(), method.name()))
    });
    paths.collect()
}

/// Calls the method at `path` with an empty message, which every refusal for a credential comes before.
async fn call(server: &TestServer, path: &str, token: &str) -> Code {
    let mut client = tonic::client::Grpc::new(server.channel());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = path.parse().unwrap();
    // As a stream, of which the first message is read: some answers have no end.
    let first = match client.server_streaming(with(token, ()), path, codec).await {
        Ok(answers) => answers.into_inner().message().await,
        Err(status) => Err(status),
    };
    first.map_or_else(|status: Status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn every_method_is_refused_to_a_token_that_is_good_for_something_else() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let allowed = |path: &str| match path {
        path if path.contains(".ClassifierService/") || path.contains(".CatalogService/") => v1::Scope::Infer,
        path if path.ends_with("/ListWatchedHeads") => v1::Scope::Operator,
        path if path.contains(".HeadService/") => v1::Scope::Heads,
        _ => v1::Scope::Operator,
    };
    let methods = methods();
    assert!(methods.len() > 30);
    for scope in [v1::Scope::Infer, v1::Scope::Heads, v1::Scope::Operator] {
        let (secret, _) = token(&server, &operator, "default", &[scope]).await;
        for path in &methods {
            let code = call(&server, path, &secret).await;
            assert_eq!(code == Code::PermissionDenied, allowed(path) != scope, "{path} with {scope:?}: {code:?}");
            assert_ne!(code, Code::Unauthenticated, "{path}");
            // The servers of tests have no configuration to tell of.
            let is_absent = code == Code::Unimplemented && !path.contains(".ServerService/");
            assert!(!is_absent, "{path} has a rule and nobody who answers");
            assert_eq!(call(&server, path, "nonsense").await, Code::Unauthenticated, "{path}");
        }
    }
}

#[tokio::test]
async fn health_needs_no_credential_and_reflection_needs_any() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel());
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    let ask = || tokio_stream::iter([tonic_reflection::pb::v1::ServerReflectionRequest::default()]);
    let client = || tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(server.channel());
    let refused = client().server_reflection_info(ask()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let (secret, _) = token(&server, &operator, "default", &[v1::Scope::Infer]).await;
    client().server_reflection_info(with(&secret, ask())).await.unwrap();
}

#[tokio::test]
async fn a_caller_who_names_another_tenant_is_told_so() {
    let (server, good) = TestServer::start_with_credentials().await;
    let mut request = with(&good, question());
    request.metadata_mut().insert("headwater-tenant", "default".parse().unwrap());
    classify(&server, request).await.unwrap();
    let mut request = with(&good, question());
    request.metadata_mut().insert("headwater-tenant", "other".parse().unwrap());
    assert_eq!(classify(&server, request).await.unwrap_err().code(), Code::PermissionDenied);
}
