//! `headwater tenants`, `tokens` and `audit`: from the first token to a tenant at work.

use cli::{DONE, REFUSED};
use tests::TestServer;

use crate::command_line::headwater;

#[tokio::test]
async fn a_tenant_is_made_gets_a_token_works_and_loses_it() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let as_operator = ["--token", operator.as_str()];
    let run = headwater(&server, &["tasks"], "").await;
    assert_eq!(run.status, REFUSED);
    assert!(run.errors.contains("UNAUTHENTICATED"), "{}", run.errors);

    let create =
        [&["tenants", "create", "acme", "--description", "a\nb", "--rows-in-flight", "64"][..], &as_operator].concat();
    let made = headwater(&server, &create, "").await;
    assert_eq!((made.status, made.errors.as_str()), (DONE, ""));
    assert_eq!(made.lines()[0]["quota"]["rows_in_flight"], 64);
    let limit = [&["tenants", "set-quota", "acme", "--weight", "2"][..], &as_operator].concat();
    let limited = headwater(&server, &limit, "").await.lines().remove(0);
    assert!(limited["quota"]["rows_in_flight"].is_null() && limited["quota"]["weight"] == 2.0, "{limited}");

    let create = [&["tokens", "create", "acme", "--scopes", "infer,heads", "--days", "7"][..], &as_operator].concat();
    let token = headwater(&server, &create, "").await.lines().remove(0);
    let (secret, id) = (token["secret"].as_str().unwrap(), token["id"].as_str().unwrap());
    assert!(token["expires_at"].as_str().unwrap().ends_with('Z'), "{token}");
    let tasks = headwater(&server, &["tasks", "--token", secret], "").await;
    assert_eq!((tasks.status, tasks.lines().len()), (DONE, 6));
    let refused = headwater(&server, &["tokens", "list", "acme", "--token", secret], "").await;
    assert_eq!(refused.status, REFUSED);
    let taken_for_another = headwater(&server, &["tasks", "--token", secret, "--tenant", "zoo"], "").await;
    assert!(taken_for_another.errors.contains("PERMISSION_DENIED"), "{}", taken_for_another.errors);

    let revoke = [&["tokens", "revoke", id][..], &as_operator].concat();
    assert_eq!(headwater(&server, &revoke, "").await.status, DONE);
    assert_eq!(headwater(&server, &["tasks", "--token", secret], "").await.status, REFUSED);
    let list = [&["tokens", "list", "acme"][..], &as_operator].concat();
    let listed = headwater(&server, &list, "").await.lines().remove(0);
    assert_eq!((listed["id"].as_str(), listed["revoked"].as_bool()), (Some(id), Some(true)));

    let table = headwater(&server, &[&["tenants", "list", "--output", "table"][..], &as_operator].concat(), "").await;
    assert!(table.output.contains("acme") && table.output.contains("weight 2"), "{}", table.output);
    let audit = [&["audit", "--of", "acme"][..], &as_operator].concat();
    let entries = headwater(&server, &audit, "").await.lines();
    assert_eq!(entries.len(), 4);
    assert_eq!(
        (entries[0]["subject"].as_str().unwrap(), entries[0]["fields"][0]["name"].as_str().unwrap()),
        (format!("token {id}").as_str(), "revoked")
    );
    let newest =
        headwater(&server, &[&["audit", "--limit", "2", "--output", "table"][..], &as_operator].concat(), "").await;
    assert!(newest.output.contains("RevokeToken") && !newest.output.contains("CreateTenant"), "{}", newest.output);
    let delete = [&["tenants", "delete", "acme"][..], &as_operator].concat();
    assert_eq!(headwater(&server, &delete, "").await.status, DONE);
    assert_eq!(
        headwater(&server, &[&["tenants", "show", "acme"][..], &as_operator].concat(), "").await.status,
        REFUSED
    );
}
