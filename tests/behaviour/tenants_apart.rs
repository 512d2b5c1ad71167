//! What another tenant has is not there; what the catalogue has is there for all, and nobody else's to change.

use api::v1;
use engine::HeadKind;
use prost::Message;
use tests::{TestServer, head};
use tonic::{Code, Request};

use crate::asking::{ask, input};
use crate::credentials::{tenant, token, with};
use crate::installing::{folder, messages};
use crate::naming_a_task::{Question, all_told, questions};
use crate::quotas::start;

const SCOPES: [v1::Scope; 2] = [v1::Scope::Infer, v1::Scope::Heads];

/// Installs two versions of `task`, the second under the alias `hidden` as well, and returns the digest of the first.
async fn install(server: &TestServer, token: &str, task: &str) -> String {
    let mut digest = String::new();
    for seed in [2, 1] {
        let folder = folder(server, task, &head(HeadKind::Classification, &["no", "yes"], seed));
        let messages = messages(v1::InstallHeader::default(), &folder);
        let reply = server.heads().install_head(with(token, tokio_stream::iter(messages))).await.unwrap();
        digest = reply.into_inner().head_digest;
    }
    let alias = v1::SetAliasRequest {
        task: task.to_owned(),
        alias: "hidden".to_owned(),
        change: Some(v1::set_alias_request::Change::Version(2)),
        expected_generation: None,
        expected_version: None,
    };
    server.heads().set_alias(with(token, alias)).await.unwrap();
    digest
}

/// The answers to everything that can be asked of `task`, as bytes.
async fn answers(server: &TestServer, token: &str, task: &str, version: &str) -> Vec<(String, Vec<u8>)> {
    let mut answers = Vec::new();
    for question in questions(task, version) {
        let refused = question.refusal(&server.channel(), token).await;
        answers.push((question.path().to_owned(), all_told(&refused)));
    }
    let (task, version) = (task.to_owned(), version.to_owned());
    let row = v1::ClassifyStreamRequest {
        id: "1".to_owned(),
        task: task.clone(),
        version: version.clone(),
        input: Some(input("a")),
        ..v1::ClassifyStreamRequest::default()
    };
    let stream = with(token, tokio_stream::iter([row]));
    let mut rows = server.classifier().classify_stream(stream).await.unwrap().into_inner();
    answers.push(("ClassifyStream".to_owned(), rows.message().await.unwrap().unwrap().encode_to_vec()));
    let many = v1::ClassifyTasksRequest {
        input: Some(input("a")),
        tasks: vec![v1::TaskReference { task, version }],
        selector: Some(v1::TaskSelector { glob: "hidden*".to_owned(), ..v1::TaskSelector::default() }),
        ..v1::ClassifyTasksRequest::default()
    };
    let outcomes = server.classifier().classify_tasks(with(token, many)).await.unwrap().into_inner().outcomes;
    answers.push(("ClassifyTasks".to_owned(), outcomes.iter().flat_map(Message::encode_to_vec).collect()));
    let list = server.catalog().list_tasks(with(token, v1::ListTasksRequest::default())).await.unwrap().into_inner();
    answers.push(("ListTasks".to_owned(), list.encode_to_vec()));
    let search = v1::SearchTasksRequest { query: "hidden".to_owned(), ..v1::SearchTasksRequest::default() };
    let found = server.catalog().search_tasks(with(token, search)).await.unwrap().into_inner();
    answers.push(("SearchTasks".to_owned(), found.encode_to_vec()));
    answers
}

#[tokio::test]
async fn a_task_of_another_tenant_answers_like_one_that_is_not_there() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let mut tokens = Vec::new();
    for name in ["acme", "zoo"] {
        tenant(&server, &operator, name).await;
        tokens.push(token(&server, &operator, name, &SCOPES).await.0);
    }
    // One version of what exists: a name that is nobody's yet becomes the other tenant's in between.
    for (reader, owner) in [(0, 1), (1, 0)] {
        let task = format!("hidden/of{owner}");
        let selectors = ["", "1", "2", "hidden", "live"];
        let mut missing = Vec::new();
        for version in selectors {
            missing.push(answers(&server, &tokens[reader], &task, version).await);
        }
        let digest = install(&server, &tokens[owner], &task).await;
        for (version, missing) in selectors.into_iter().zip(missing) {
            let foreign = answers(&server, &tokens[reader], &task, version).await;
            for ((path, foreign), (_, missing)) in foreign.into_iter().zip(missing) {
                assert_eq!(foreign, missing, "{path} of version {version:?}");
            }
        }
        let by_digest = v1::GetTaskRequest { task: task.clone(), version: digest };
        let by_digest = Question::new("CatalogService/GetTask", &by_digest);
        let refused = by_digest.refusal(&server.channel(), &tokens[reader]).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "a digest names no version");
        let own = server.classifier().classify(with(&tokens[owner], ask(&task, vec![input("a")]))).await;
        assert_eq!(own.unwrap().into_inner().served_by.unwrap().version, 1);
    }
}

#[tokio::test]
async fn bytes_that_another_tenant_has_are_installed_as_new_ones() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let mut replies = Vec::new();
    for name in ["acme", "zoo"] {
        tenant(&server, &operator, name).await;
        let (token, _) = token(&server, &operator, name, &SCOPES).await;
        let folder = folder(&server, "same", &head(HeadKind::Classification, &["no", "yes"], 1));
        let messages = messages(v1::InstallHeader::default(), &folder);
        let reply = server.heads().install_head(with(&token, tokio_stream::iter(messages))).await.unwrap();
        replies.push(v1::InstallHeadResponse { generation: 0, ..reply.into_inner() });
    }
    assert_eq!(replies[0], replies[1]);
}

#[tokio::test]
async fn heads_of_the_catalogue_are_asked_by_all_and_changed_by_its_own_tenant_alone() {
    let (server, operator) = TestServer::start_with_credentials().await;
    tenant(&server, &operator, "acme").await;
    let (acme, _) = token(&server, &operator, "acme", &SCOPES).await;
    let listed = |token: &str| {
        let request = with(token, v1::ListTasksRequest::default());
        let mut catalog = server.catalog();
        async move {
            let tasks = catalog.list_tasks(request).await.unwrap().into_inner().tasks;
            tasks.into_iter().map(|task| (task.name, task.shared)).collect::<Vec<_>>()
        }
    };
    let shared = listed(&acme).await;
    assert!(shared.len() == 6 && shared.iter().all(|(_, shared)| *shared), "{shared:?}");
    assert!(listed(&operator).await.iter().all(|(_, shared)| !shared));
    let reply = server.classifier().classify(with(&acme, ask("mood", vec![input("fine")]))).await.unwrap();
    assert_eq!(reply.into_inner().served_by.unwrap().version, 1);
    let export = v1::ExportHeadRequest { task: "mood".to_owned(), ..v1::ExportHeadRequest::default() };
    server.heads().export_head(with(&acme, export)).await.unwrap();
    let channel = server.channel();
    let rollback = |task: &str| {
        let request = v1::RollbackRequest { task: task.to_owned(), ..v1::RollbackRequest::default() };
        Question::new("HeadService/Rollback", &request)
    };
    let delete =
        v1::DeleteVersionRequest { task: "mood".to_owned(), version: 1, ..v1::DeleteVersionRequest::default() };
    let describe = v1::UpdateMetadataRequest { task: "mood".to_owned(), ..v1::UpdateMetadataRequest::default() };
    let unknown = rollback("nothing").refusal(&channel, &acme).await;
    for change in [
        rollback("mood"),
        Question::new("HeadService/DeleteVersion", &delete),
        Question::new("HeadService/UpdateMetadata", &describe),
    ] {
        let refused = change.refusal(&channel, &acme).await;
        assert_eq!((refused.code(), refused.details()), (Code::NotFound, unknown.details()));
    }
    let plan = v1::EvaluationPlan {
        task: "mood".to_owned(),
        store: true,
        fit_temperature: true,
        ..v1::EvaluationPlan::default()
    };
    let plan = v1::EvaluateHeadRequest { part: Some(v1::evaluate_head_request::Part::Plan(plan)) };
    let refused = Question::new("HeadService/EvaluateHead", &plan).refusal(&channel, &acme).await;
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");

    install(&server, &acme, "mood").await;
    let own = listed(&acme).await;
    assert_eq!((own.len(), own.iter().filter(|(_, shared)| !shared).count()), (6, 1));
    let labels = |token: &str| {
        let request = with(token, v1::GetTaskRequest { task: "mood".to_owned(), version: String::new() });
        let mut catalog = server.catalog();
        async move { catalog.get_task(request).await.unwrap().into_inner().task.unwrap().labels.len() }
    };
    assert_eq!((labels(&acme).await, labels(&operator).await), (2, 3));
}

#[tokio::test]
async fn a_server_without_credentials_has_one_tenant_and_shares_nothing() {
    let server = TestServer::start().await;
    let request = Request::new(v1::ListTasksRequest::default());
    let tasks = server.catalog().list_tasks(request).await.unwrap().into_inner().tasks;
    assert!(tasks.len() == 6 && tasks.iter().all(|task| !task.shared));
}

/// An answer that comes sooner would tell a tenant what another asks.
#[tokio::test]
async fn equal_texts_of_two_tenants_are_two_rows() {
    let (server, _, [acme, zoo]) = start().await;
    server.gate.close();
    let ask_for = |token: &str, text: &str| {
        let (mut classifier, request) = (server.classifier(), with(token, ask("mood", vec![input(text)])));
        tokio::spawn(async move { classifier.classify(request).await })
    };
    let held = ask_for(&acme, "another");
    let gate = server.gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_until_held()).await.unwrap();
    let asked = [&acme, &acme, &zoo].map(|token| ask_for(token, "the same"));
    server.until_metric("rows_deduplicated_total", 1).await;
    server.until_metric("rows_queued", 2).await;
    server.gate.open();
    for call in asked.into_iter().chain([held]) {
        call.await.unwrap().unwrap();
    }
}
