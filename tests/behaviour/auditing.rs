//! The audit log says who changed what, and what was before; it lasts, and is read page by page.

use api::v1;
use tests::TestServer;
use tonic::Code;

use crate::credentials::{tenant, token, with};
use crate::installing::install_head;

async fn page(server: &TestServer, token: &str, request: v1::ListAuditEntriesRequest) -> v1::ListAuditEntriesResponse {
    server.audit().list_audit_entries(with(token, request)).await.unwrap().into_inner()
}

pub(crate) async fn newest(server: &TestServer, token: &str) -> v1::AuditEntry {
    page(server, token, v1::ListAuditEntriesRequest::default()).await.entries.remove(0)
}

pub(crate) fn field<'a>(entry: &'a v1::AuditEntry, name: &str) -> (&'a str, &'a str) {
    let field = entry.fields.iter().find(|field| field.name == name);
    let field = field.unwrap_or_else(|| panic!("no {name} in {entry:?}"));
    (&field.before, &field.after)
}

#[tokio::test]
async fn an_entry_names_the_credential_the_method_and_both_values() {
    let (server, operator) = TestServer::start_with_credentials().await;
    tenant(&server, &operator, "acme").await;
    let entry = newest(&server, &operator).await;
    assert_eq!(entry.actor, format!("token:{}", &operator[3..19]));
    assert_eq!(
        (entry.caller_tenant.as_str(), entry.tenant.as_str(), entry.subject.as_str()),
        ("default", "acme", "tenant acme")
    );
    assert_eq!(entry.method, "/headwater.v1.TenantService/CreateTenant");
    let quota = |weight| v1::SetQuotaRequest {
        name: "acme".to_owned(),
        quota: Some(v1::Quota { weight: Some(weight), ..v1::Quota::default() }),
    };
    for weight in [0.5, 2.0, 2.0] {
        server.tenants().set_quota(with(&operator, quota(weight))).await.unwrap();
    }
    let entry = newest(&server, &operator).await;
    assert_eq!((field(&entry, "weight"), entry.fields.len()), (("0.5", "2"), 1));
    let (secret, id) = token(&server, &operator, "acme", &[v1::Scope::Heads, v1::Scope::Infer]).await;
    let entry = newest(&server, &operator).await;
    assert_eq!(
        (entry.subject.as_str(), field(&entry, "scopes")),
        (format!("token {id}").as_str(), ("", "infer,heads"))
    );
    assert!(!format!("{entry:?}").contains(&secret[20..]));
    let server = server.restart().await;
    assert_eq!(newest(&server, &operator).await, entry);
}

#[tokio::test]
async fn changes_of_heads_are_in_the_log_also_where_nobody_says_who_they_are() {
    let server = TestServer::start().await;
    install_head(&server, "new/task", 9).await;
    install_head(&server, "new/task", 10).await;
    let alias = v1::SetAliasRequest {
        task: "new/task".to_owned(),
        change: Some(v1::set_alias_request::Change::Version(2)),
        ..v1::SetAliasRequest::default()
    };
    server.heads().set_alias(alias).await.unwrap();
    let reply = server.audit().list_audit_entries(v1::ListAuditEntriesRequest::default()).await.unwrap().into_inner();
    let subjects: Vec<_> = reply.entries.iter().map(|entry| (entry.subject.as_str(), entry.actor.as_str())).collect();
    assert_eq!(subjects[..3], [("task new/task", "nobody"); 3]);
    assert_eq!(subjects[3..], [("6 tasks", "server")]);
    assert_eq!(field(&reply.entries[0], "alias live"), ("1", "2"));
    let (before, after) = field(&reply.entries[1], "version 2");
    assert!(before.is_empty() && after.starts_with("sha256:"), "{after}");
}

#[tokio::test]
async fn text_of_callers_breaks_no_line_of_the_log_and_is_cut() {
    let (server, operator) = TestServer::start_with_credentials().await;
    for (text, shown) in [
        ("a\r\nb\u{1b}[31m\u{202e}", "a\\u{d}\\u{a}b\\u{1b}[31m\\u{202e}".to_owned()),
        (&"x".repeat(1_024), "x".repeat(256)),
        ("\",\"actor\":\"me", "\",\"actor\":\"me".to_owned()),
    ] {
        let request = v1::CreateTokenRequest {
            tenant: "default".to_owned(),
            scopes: vec![v1::Scope::Infer.into()],
            description: text.to_owned(),
            expires_at: None,
        };
        server.tenants().create_token(with(&operator, request)).await.unwrap();
        let entry = newest(&server, &operator).await;
        assert_eq!(field(&entry, "description"), ("", shown.as_str()));
    }
}

#[tokio::test]
async fn pages_hold_every_entry_once_and_a_filter_only_its_tenants() {
    let (server, operator) = TestServer::start_with_credentials().await;
    for name in ["acme", "zoo"] {
        tenant(&server, &operator, name).await;
        token(&server, &operator, name, &[v1::Scope::Infer]).await;
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            v1::ListAuditEntriesRequest { page_size: 2, page_token, ..v1::ListAuditEntriesRequest::default() };
        let page = page(&server, &operator, request).await;
        seen.extend(page.entries.into_iter().map(|entry| entry.generation));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [6, 5, 4, 3, 2, 1]);
    let request = v1::ListAuditEntriesRequest { tenant: "acme".to_owned(), ..v1::ListAuditEntriesRequest::default() };
    let of_acme = page(&server, &operator, request).await.entries;
    assert_eq!(of_acme.iter().map(|entry| entry.generation).collect::<Vec<_>>(), [4, 3]);
    for (page_token, tenant) in [("x", ""), ("", "../x")] {
        let (page_token, tenant) = (page_token.to_owned(), tenant.to_owned());
        let request = v1::ListAuditEntriesRequest { page_token, tenant, ..v1::ListAuditEntriesRequest::default() };
        let refused = server.audit().list_audit_entries(with(&operator, request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}
