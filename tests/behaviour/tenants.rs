//! Tenants are made, listed, limited and deleted by whoever may; a token's secret is shown once.

use api::v1;
use tests::TestServer;
use tonic::Code;

use crate::credentials::{tenant, token, with};

#[tokio::test]
async fn tenants_are_listed_page_by_page_with_their_quotas_and_use() {
    let (server, operator) = TestServer::start_with_credentials().await;
    for name in ["acme", "zoo"] {
        tenant(&server, &operator, name).await;
    }
    let quota = v1::Quota { requests_per_second: Some(2.5), head_bytes: Some(9), ..v1::Quota::default() };
    let request = v1::SetQuotaRequest { name: "acme".to_owned(), quota: Some(quota) };
    let set = server.tenants().set_quota(with(&operator, request)).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!(set.quota, Some(quota));
    let server = server.restart().await;
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListTenantsRequest { page_size: 2, page_token };
        let page = server.tenants().list_tenants(with(&operator, request)).await.unwrap().into_inner();
        assert!(page.tenants.len() <= 2);
        names.extend(page.tenants.into_iter().map(|tenant| tenant.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["acme", "default", "zoo"]);
    let one = |name: &str| with(&operator, v1::GetTenantRequest { name: name.to_owned() });
    let acme = server.tenants().get_tenant(one("acme")).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!(acme.quota, Some(quota));
    let default = server.tenants().get_tenant(one("default")).await.unwrap().into_inner().tenant.unwrap();
    let used = default.r#use.unwrap();
    assert_eq!(used.head_versions, 6);
    assert!(used.head_bytes > 0);
    assert_eq!(server.tenants().get_tenant(one("nobody")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn names_that_could_be_taken_for_others_are_refused() {
    let (server, operator) = TestServer::start_with_credentials().await;
    tenant(&server, &operator, "acme").await;
    let long = "a".repeat(65);
    let names =
        ["", ".", "..", "../etc", "a/../b", "/etc/passwd", " a", "a b", "a\n", "a\0", "%2e%2e", "аcme", "acme\u{200b}"];
    for name in names.into_iter().chain([long.as_str()]) {
        let request = v1::CreateTenantRequest { name: name.to_owned(), ..v1::CreateTenantRequest::default() };
        let refused = server.tenants().create_tenant(with(&operator, request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name:?}");
    }
    for name in ["acme", "Acme", "DEFAULT"] {
        let request = v1::CreateTenantRequest { name: name.to_owned(), ..v1::CreateTenantRequest::default() };
        let refused = server.tenants().create_tenant(with(&operator, request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists, "{name:?}");
    }
}

#[tokio::test]
async fn a_tokens_secret_is_in_the_first_reply_and_nowhere_else() {
    let (server, operator) = TestServer::start_with_credentials().await;
    tenant(&server, &operator, "acme").await;
    let (secret, id) = token(&server, &operator, "acme", &[v1::Scope::Infer, v1::Scope::Heads]).await;
    assert!(secret.starts_with(&format!("hw_{id}_")) && secret.len() == 84, "{}", secret.len());
    let list = with(&operator, v1::ListTokensRequest { tenant: "acme".to_owned() });
    let tokens = server.tenants().list_tokens(list).await.unwrap().into_inner().tokens;
    assert_eq!((tokens.len(), tokens[0].id.as_str()), (1, id.as_str()));
    assert!(!format!("{tokens:?}").contains(&secret[20..]));
    let wrong = v1::CreateTokenRequest { tenant: "acme".to_owned(), ..v1::CreateTokenRequest::default() };
    let refused = server.tenants().create_token(with(&operator, wrong)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let unknown = v1::RevokeTokenRequest { id: "0123456789abcdef".to_owned() };
    assert_eq!(server.tenants().revoke_token(with(&operator, unknown)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_tenant_that_goes_takes_its_tokens_along() {
    let (server, operator) = TestServer::start_with_credentials().await;
    tenant(&server, &operator, "acme").await;
    let (secret, _) = token(&server, &operator, "acme", &[v1::Scope::Infer]).await;
    let list = || v1::ListTasksRequest::default();
    server.catalog().list_tasks(with(&secret, list())).await.unwrap();
    let delete = |name: &str| with(&operator, v1::DeleteTenantRequest { name: name.to_owned(), delete_heads: true });
    server.tenants().delete_tenant(delete("acme")).await.unwrap();
    assert_eq!(server.catalog().list_tasks(with(&secret, list())).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(server.tenants().delete_tenant(delete("acme")).await.unwrap_err().code(), Code::NotFound);
    let stays = server.tenants().delete_tenant(delete("default")).await.unwrap_err();
    assert_eq!(stays.code(), Code::FailedPrecondition);
}
