//! The command line at a port that speaks TLS: whom it trusts, and what it shows of itself.

use std::path::PathBuf;

use cli::{DONE, UNREACHABLE, USAGE};
use server::Tls;
use tests::{Surroundings, TestServer};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::certificates::{Authority, Folder};
use crate::command_line::{Run, headwater_at};

/// A server for clients with certificates, and the files that a client needs.
struct Guarded {
    server: TestServer,
    folder: Folder,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

async fn start() -> Guarded {
    let (authority, clients) = (Authority::new(), Authority::new());
    let folder = Folder::with(&authority.server());
    folder.write("clients.pem", &clients.pem);
    let client = clients.client(1);
    let (ca, cert) = (folder.write("ca.pem", &authority.pem), folder.write("client.pem", &client.cert));
    let key = folder.write("client-key.pem", &client.key);
    let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem));
    let tls = Tls::open(folder.files_with_clients()).unwrap();
    let tls = Some((tls, trust.identity(Identity::from_pem(&client.cert, &client.key))));
    let server = TestServer::start_among(Surroundings { tls, ..Surroundings::default() }).await;
    Guarded { server, folder, ca, cert, key }
}

/// Asks a task with these options of the connection.
async fn ask(guarded: &Guarded, scheme: &str, options: &[(&str, &PathBuf)]) -> Run {
    let address = format!("{scheme}://localhost:{}", guarded.server.address.port());
    let options = options.iter().flat_map(|(option, path)| [*option, path.to_str().unwrap()]);
    let arguments: Vec<&str> = ["classify", "mood", "fine", "--addr", &address].into_iter().chain(options).collect();
    headwater_at(&arguments, "").await
}

#[tokio::test]
async fn the_right_files_open_the_door() {
    let guarded = start().await;
    let Guarded { ca, cert, key, .. } = &guarded;
    let run = ask(&guarded, "https", &[("--ca", ca), ("--cert", cert), ("--key", key)]).await;
    assert_eq!((run.status, run.errors.as_str()), (DONE, ""));
    assert_eq!(run.lines()[0]["task"], "mood");
}

#[tokio::test]
async fn the_wrong_ones_do_not_and_the_reason_is_said() {
    let guarded = start().await;
    let Guarded { ca, cert, key, folder, .. } = &guarded;
    let strange = folder.write("strange.pem", &Authority::new().pem);
    let run = ask(&guarded, "https", &[("--ca", ca)]).await;
    assert_eq!(run.status, UNREACHABLE, "{}", run.errors);
    assert!(run.errors.to_lowercase().contains("certificate"), "{}", run.errors);
    let run = ask(&guarded, "https", &[("--ca", &strange), ("--cert", cert), ("--key", key)]).await;
    assert_eq!(run.status, UNREACHABLE);
    assert!(run.errors.contains("UnknownIssuer") || run.errors.contains("certificate"), "{}", run.errors);
    let run = ask(&guarded, "http", &[]).await;
    assert_eq!(run.status, UNREACHABLE, "{}", run.errors);
}

#[tokio::test]
async fn files_that_make_no_sense_are_named() {
    let guarded = start().await;
    let Guarded { ca, cert, key, folder, .. } = &guarded;
    let run = ask(&guarded, "http", &[("--ca", ca)]).await;
    assert_eq!(run.status, USAGE);
    assert!(run.errors.contains("https://"), "{}", run.errors);
    let absent = folder.path().join("absent.pem");
    let run = ask(&guarded, "https", &[("--ca", &absent), ("--cert", cert), ("--key", key)]).await;
    assert_eq!(run.status, USAGE);
    assert!(run.errors.contains("absent.pem"), "{}", run.errors);
    let empty = folder.write("empty.pem", "");
    for options in
        [[("--ca", &empty), ("--cert", cert), ("--key", key)], [("--ca", ca), ("--cert", &empty), ("--key", key)]]
    {
        let run = ask(&guarded, "https", &options).await;
        assert!(run.status == USAGE && run.errors.contains("empty.pem"), "{}: {}", run.status, run.errors);
    }
}
