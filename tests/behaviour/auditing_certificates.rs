//! Certificates that the server itself finds renewed are in the audit log before they are in use.

use std::time::Duration;

use api::v1;
use tests::{Log, TestServer};

use crate::auditing::field;
use crate::auditing_reloads::newest;
use crate::certificates::{Authority, Folder};
use crate::reloading_after_a_failure::fail_disk;
use crate::tls::{answers, reload, start, trusting};

const PATIENCE: Duration = Duration::from_secs(60);
const NOT_RECORDED: &str = "new certificates were not recorded";

/// The entry after `before`, once there is one.
async fn entry_after(server: &TestServer, before: &v1::AuditEntry) -> v1::AuditEntry {
    let written = async {
        loop {
            let entry = newest(server).await;
            if entry.generation > before.generation {
                return entry;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("there is an entry in time")
}

#[tokio::test]
async fn a_certificate_found_renewed_has_an_entry_of_the_servers_own_and_none_of_its_key() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = Folder::with(&authority.server());
    let server = start(folder.files(), trusting(&authority)).await;
    let before = newest(&server).await;
    let renewed = other.server();
    folder.write_server(&renewed);
    let entry = entry_after(&server, &before).await;
    assert_eq!((entry.actor.as_str(), entry.method.as_str()), ("server", "certificates"));
    assert_eq!((entry.subject.as_str(), entry.generation), ("configuration", before.generation + 1));
    let (old, new) = field(&entry, "tls_cert");
    assert!(old.starts_with("sha256:") && new.starts_with("sha256:") && old != new, "{entry:?}");
    assert_eq!((field(&entry, "tls_key"), entry.fields.len()), (("", "another key"), 2));
    server.until_metric("tls_reloads_total", 1).await;
    assert!(answers(&server, trusting(&other)).await);

    folder.write("cert.pem", "not a certificate");
    server.until_metric("tls_reload_failures_total", 1).await;
    folder.write_server(&renewed);
    assert!(!reload(&server).await.unwrap(), "it is what is in use");
    assert_eq!(newest(&server).await, entry, "what is bad, or no other, changes nothing");
    assert_eq!(server.metric("tls_reloads_total").await, 1);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_recorded_is_not_in_use_and_told_of_once() {
    let log = Log::begin();
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = Folder::with(&authority.server());
    let server = start(folder.files(), trusting(&authority)).await;
    let entry = newest(&server).await;
    fail_disk(&server).await;
    for renewals in 1..=2 {
        folder.write_server(&other.server());
        server.until_metric("tls_reload_failures_total", renewals).await;
        assert!(!answers(&server, trusting(&other)).await);
        assert!(answers(&server, trusting(&authority)).await, "answers go on with the old one");
    }
    let told = log.lines_with(NOT_RECORDED);
    assert!(told.len() == 2 && told.iter().all(|line| line.contains("read-only")), "{told:?}");
    assert_eq!(newest(&server).await, entry);
}
