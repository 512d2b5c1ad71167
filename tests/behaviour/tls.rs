//! TLS at the door: certificates change under load, bad ones change nothing, and strangers stay outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use api::v1::classifier_service_client::ClassifierServiceClient;
use api::v1::server_service_client::ServerServiceClient;
use api::v1::{ListVersionsRequest, ReloadConfigRequest};
use server::{Access, Adjustable, Configured, Identities, Reloading, Tls, TlsFiles};
use tests::{Surroundings, TestServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::asking::{ask, input};
use crate::certificates::{Authority, Folder, Signed};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem))
}

fn as_client(authority: &Authority, client: &Signed) -> ClientTlsConfig {
    trusting(authority).identity(Identity::from_pem(&client.cert, &client.key))
}

/// A configuration that never says anything new.
fn unchanging() -> Reloading {
    let adjustable = Adjustable {
        limits: engine::testing::small_limits(),
        max_connections: 64,
        drain: Duration::from_secs(10),
        fit_memory_bytes: 1 << 20,
    };
    let read = move || {
        let identities = Identities::default();
        Ok(Configured { options: Vec::new(), adjustable, identities, effect: Box::new(|| ()) })
    };
    // No signal is heard.
    let (_, asked) = tokio::sync::mpsc::channel(1);
    Reloading { options: Vec::new(), read: Arc::new(read), asked }
}

pub(crate) async fn start(files: TlsFiles, client: ClientTlsConfig) -> TestServer {
    let tls = Some((Tls::open(files).unwrap(), client));
    TestServer::start_among(Surroundings { tls, configuration: Some(unchanging()), ..Surroundings::default() }).await
}

pub(crate) async fn reload(server: &TestServer) -> Result<bool, tonic::Status> {
    let reply = ServerServiceClient::new(server.channel()).reload_config(ReloadConfigRequest::default()).await?;
    Ok(reply.into_inner().certificates_changed)
}

async fn connect(server: &TestServer, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("https://{}", server.address)).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await
}

/// Whether a call over a new connection is answered. TLS 1.3 tells a client after the handshake that it is refused, so
/// only the call shows it.
pub(crate) async fn answers(server: &TestServer, tls: ClientTlsConfig) -> bool {
    let Ok(channel) = connect(server, tls).await else { return false };
    ClassifierServiceClient::new(channel).classify(ask("mood", vec![input("in")])).await.is_ok()
}

#[tokio::test]
async fn certificates_change_a_hundred_times_under_load_and_no_call_fails() {
    let authority = Authority::new();
    let folder = Folder::with(&authority.server());
    let server = Arc::new(start(folder.files(), trusting(&authority)).await);
    let (connections, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (server, tls) = (Arc::clone(&server), trusting(&authority));
            let (connections, over) = (Arc::clone(&connections), Arc::clone(&over));
            tokio::spawn(async move {
                let mut calls = 0;
                while !over.load(Ordering::Relaxed) {
                    let channel = connect(&server, tls.clone()).await.expect("a new connection is accepted");
                    connections.fetch_add(1, Ordering::Relaxed);
                    for _ in 0..3 {
                        let mut old = server.classifier();
                        old.classify(ask("mood", vec![input("old")])).await.expect("an old connection goes on");
                        let mut new = ClassifierServiceClient::new(channel.clone());
                        new.classify(ask("mood", vec![input("new")])).await.expect("a new connection answers");
                        calls += 2;
                    }
                }
                calls
            })
        })
        .collect();
    for _ in 0..100 {
        let before = connections.load(Ordering::Relaxed);
        folder.write_server(&authority.server());
        // A look at the files may have been faster.
        let _ = reload(&server).await.expect("the new certificate is good");
        let meeting = async {
            while connections.load(Ordering::Relaxed) == before {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, meeting).await.expect("somebody connects in time");
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.expect("no call fails") > 0);
    }
    assert_eq!(server.metric("tls_reloads_total").await, 100);
    assert_eq!(server.metric("tls_handshakes_failed_total").await, 0);
    let other = Authority::new();
    folder.write_server(&other.server());
    let _ = reload(&server).await.expect("another authority's certificate is good, too");
    assert!(answers(&server, trusting(&other)).await, "what is served is what was written last");
    assert!(!answers(&server, trusting(&authority)).await);
}

#[tokio::test]
async fn a_bad_new_certificate_leaves_the_old_one_in_use_and_is_counted() {
    let authority = Authority::new();
    let folder = Folder::with(&authority.server());
    let server = start(folder.files(), trusting(&authority)).await;
    let other_key = authority.server().key;
    let expired = authority.expired_server();
    let bad: [(&str, &dyn Fn()); 4] = [
        ("holds no certificate", &|| drop(folder.write("cert.pem", "not a certificate"))),
        ("cannot be used together", &|| {
            folder.write("cert.pem", &authority.server().cert);
            folder.write("key.pem", &other_key);
        }),
        ("not valid at this moment", &|| folder.write_server(&expired)),
        ("cannot read the file of --tls-key", &|| std::fs::remove_file(folder.path().join("key.pem")).unwrap()),
    ];
    for (reason, spoil) in bad {
        let before = server.metric("tls_reload_failures_total").await;
        spoil();
        let refusal = reload(&server).await.expect_err(reason);
        assert_eq!(refusal.code(), Code::FailedPrecondition);
        assert!(refusal.message().contains(reason), "{refusal:?}");
        assert!(server.metric("tls_reload_failures_total").await > before);
        assert!(answers(&server, trusting(&authority)).await, "the old certificate stays: {reason}");
    }
    assert_eq!(server.metric("tls_reloads_total").await, 0);
}

#[tokio::test]
async fn files_that_change_are_noticed_by_themselves() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = Folder::with(&authority.server());
    let server = start(folder.files(), trusting(&authority)).await;
    folder.write("cert.pem", "not a certificate");
    server.until_metric("tls_reload_failures_total", 1).await;
    assert!(answers(&server, trusting(&authority)).await);
    folder.write_server(&other.server());
    server.until_metric("tls_reloads_total", 1).await;
    assert!(answers(&server, trusting(&other)).await);
    assert!(!answers(&server, trusting(&authority)).await);
}

#[tokio::test]
async fn only_clients_of_the_right_authority_come_in() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let folder = Folder::with(&authority.server());
    folder.write("clients.pem", &clients.pem);
    let client = clients.client(1);
    let server = start(folder.files_with_clients(), as_client(&authority, &client)).await;
    assert!(answers(&server, as_client(&authority, &client)).await);
    assert!(!answers(&server, trusting(&authority)).await, "no certificate");
    assert!(!answers(&server, as_client(&authority, &strangers.client(2))).await, "another authority's");
    assert!(!answers(&server, as_client(&authority, &clients.expired_client())).await, "one that has ended");
    assert!(!answers(&server, as_client(&authority, &clients.server())).await, "one for servers");
    assert_eq!(server.metric("tls_handshakes_failed_total").await, 4);
    folder.write("clients.pem", &strangers.pem);
    assert!(reload(&server).await.is_ok(), "a call under way is answered");
    assert!(!answers(&server, as_client(&authority, &client)).await, "its authority is trusted no more");
    assert!(answers(&server, as_client(&authority, &strangers.client(3))).await);
    let until_outside = async {
        while server.classifier().classify(ask("mood", vec![input("still here")])).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, until_outside).await.expect("a connection that stood before ends, too");
}

#[tokio::test]
async fn a_bad_certificate_keeps_a_good_configuration_from_coming_into_force() {
    let authority = Authority::new();
    let folder = Folder::with(&authority.server());
    let tls = Some((Tls::open(folder.files()).unwrap(), trusting(&authority)));
    let mut configuration = unchanging();
    let read = Arc::clone(&configuration.read);
    configuration.read = Arc::new(move || {
        let mut configured = read()?;
        configured.adjustable.limits.max_inputs = 1;
        Ok(configured)
    });
    let configuration = Some(configuration);
    let server = TestServer::start_among(Surroundings { tls, configuration, ..Surroundings::default() }).await;
    folder.write("cert.pem", "not a certificate");
    assert!(reload(&server).await.is_err());
    let two = || ask("mood", vec![input("a"), input("b")]);
    assert!(server.classifier().classify(two()).await.is_ok(), "the limit is what it was");
    folder.write_server(&authority.server());
    assert!(reload(&server).await.is_ok());
    assert!(server.classifier().classify(two()).await.is_err());
}

/// What a caller with the certificate of `localhost`, and no token, is told: of a task, and of the task's versions.
async fn told_to_localhost(identities: &str) -> (Option<Code>, Option<Code>) {
    let (authority, clients) = (Authority::new(), Authority::new());
    let folder = Folder::with(&authority.server());
    folder.write("clients.pem", &clients.pem);
    let tls = Some((Tls::open(folder.files_with_clients()).unwrap(), as_client(&authority, &clients.client(1))));
    let catalogue = Some(engine::TenantName::default_tenant());
    let access = Access::Credentials { catalogue, identities: Identities::parse(identities).unwrap() };
    let server = TestServer::start_among(Surroundings { tls, access, ..Surroundings::default() }).await;
    let asked = server.classifier().classify(ask("mood", vec![input("in")])).await;
    let versions = ListVersionsRequest { task: "mood".to_owned() };
    let listed = server.heads().list_versions(versions).await;
    (asked.err().map(|refusal| refusal.code()), listed.err().map(|refusal| refusal.code()))
}

#[tokio::test]
async fn a_certificate_stands_for_the_tenant_and_scopes_that_the_operator_lists() {
    assert_eq!(told_to_localhost("default infer,heads localhost").await, (None, None));
    assert_eq!(told_to_localhost("default infer localhost").await, (None, Some(Code::PermissionDenied)));
    let nobody = Some(Code::Unauthenticated);
    assert_eq!(told_to_localhost("acme infer localhost").await, (nobody, nobody), "there is no such tenant");
    assert_eq!(told_to_localhost("default infer another").await, (nobody, nobody), "a good certificate of a stranger");
}

#[tokio::test]
async fn a_client_whose_certificate_was_taken_back_stays_outside() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let folder = Folder::with(&authority.server());
    folder.write("clients.pem", &clients.pem);
    let client_crl = Some(folder.write("revoked.pem", &clients.revocation_of(7)));
    let (good, revoked) = (clients.client(8), clients.client(7));
    let files = TlsFiles { client_crl, ..folder.files_with_clients() };
    let server = start(files, as_client(&authority, &good)).await;
    assert!(answers(&server, as_client(&authority, &good)).await);
    assert!(!answers(&server, as_client(&authority, &revoked)).await);
    folder.write("revoked.pem", &clients.revocation_of(8));
    assert!(reload(&server).await.is_ok());
    assert!(!answers(&server, as_client(&authority, &good)).await);
    assert!(answers(&server, as_client(&authority, &revoked)).await);
}

/// What comes back for these bytes until the server closes.
async fn answer_to(server: &TestServer, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // With or without a reset, it is closed.
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("the server closes in time");
    answer
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_closed() {
    let authority = Authority::new();
    let folder = Folder::with(&authority.server());
    let server = start(folder.files(), trusting(&authority)).await;
    let plain = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"];
    for bytes in plain {
        let answer = answer_to(&server, bytes).await;
        // At most an alert of TLS, which is seven bytes.
        assert!(answer.len() <= 7, "{answer:?}");
    }
    assert_eq!(server.metric("tls_handshakes_failed_total").await, 2);
    assert!(answers(&server, trusting(&authority)).await);
}

#[tokio::test]
async fn a_client_that_says_nothing_on_a_tls_port_is_closed() {
    let authority = Authority::new();
    let folder = Folder::with(&authority.server());
    let server = start(folder.files(), trusting(&authority)).await;
    assert_eq!(answer_to(&server, b"").await, b"");
    assert_eq!(answer_to(&server, b"\x16\x03\x01\x02\x00").await, b"");
}

#[tokio::test]
async fn tls_on_a_plain_text_port_is_closed() {
    let server = TestServer::start().await;
    let refused = timeout(PATIENCE, connect(&server, trusting(&Authority::new()))).await.expect("closed in time");
    assert!(refused.is_err());
}
