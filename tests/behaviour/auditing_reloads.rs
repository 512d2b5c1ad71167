//! A reload that changes the configuration is in the audit log: who asked for it, and what was before and after.

use std::time::Duration;

use api::v1;
use tests::TestServer;

use crate::auditing::field;
use crate::changing_identities::Listed;
use crate::configuring::{File, reload, start};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn newest(server: &TestServer) -> v1::AuditEntry {
    let request = v1::ListAuditEntriesRequest { page_size: 1, ..v1::ListAuditEntriesRequest::default() };
    server.audit().list_audit_entries(request).await.unwrap().into_inner().entries.remove(0)
}

#[tokio::test]
async fn an_entry_names_every_option_in_force_with_both_values_and_lasts() {
    let file = File::default();
    let (server, _asking) = start(&file).await;
    let before = newest(&server).await;
    file.write(&[("max_inputs", 1), ("max_in_flight_rows", 7), ("max_message_bytes", 5)]);
    reload(&server, true).await.unwrap();
    assert_eq!(newest(&server).await, before, "a check changes nothing");
    reload(&server, false).await.unwrap();
    let entry = newest(&server).await;
    assert_eq!(
        (entry.actor.as_str(), entry.subject.as_str(), entry.tenant.as_str()),
        ("nobody", "configuration", "default")
    );
    assert_eq!(entry.method, "/headwater.v1.ServerService/ReloadConfig");
    assert_eq!((field(&entry, "max_inputs"), field(&entry, "max_in_flight_rows")), (("256", "1"), ("4096", "7")));
    assert_eq!(entry.fields.len(), 2, "what waits for a restart is not in force");
    reload(&server, false).await.unwrap();
    assert_eq!(newest(&server).await, entry, "the same configuration again changes nothing");
    file.write(&[("max_inputs", 0)]);
    reload(&server, false).await.expect_err("a bad configuration");
    assert_eq!(newest(&server).await, entry);
    assert_eq!(newest(&server.restart().await).await, entry);
}

#[tokio::test]
async fn a_reload_without_a_call_is_a_signals_doing() {
    let file = File::default();
    let (server, asking) = start(&file).await;
    file.write(&[("max_inputs", 1)]);
    asking.send(()).await.unwrap();
    let recorded = async {
        while newest(&server).await.subject != "configuration" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, recorded).await.expect("it is recorded in time");
    let entry = newest(&server).await;
    assert_eq!((entry.actor.as_str(), entry.method.as_str()), ("signal", "SIGHUP"));
}

#[tokio::test]
async fn whom_certificates_stand_for_is_told_one_by_one() {
    let listed = Listed::start("default infer,operator localhost").await;
    listed.write("default infer,heads,operator localhost\nacme infer spiffe://mesh/shop");
    listed.reload(false).await.unwrap();
    let entry = newest(&listed.server).await;
    assert_eq!((entry.actor.as_str(), entry.fields.len()), ("certificate:localhost", 2));
    let own = field(&entry, "identity localhost");
    assert_eq!(own, ("default infer,operator", "default infer,heads,operator"));
    assert_eq!(field(&entry, "identity spiffe://mesh/shop"), ("", "acme infer"));
}

#[tokio::test]
async fn a_new_certificate_is_told_by_its_digest_and_a_new_key_not_even_by_that() {
    let listed = Listed::start("default operator localhost").await;
    listed.renew();
    // The look at the files, once a second, may be faster, and then it has recorded the same.
    listed.reload(false).await.unwrap();
    let entry = newest(&listed.server).await;
    let (before, after) = field(&entry, "tls_cert");
    assert!(before.starts_with("sha256:") && after.starts_with("sha256:") && before != after, "{entry:?}");
    assert_eq!((field(&entry, "tls_key"), entry.fields.len()), (("", "another key"), 2));
}
