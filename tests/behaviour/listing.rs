//! The catalogue: pages, selections, one task.

use api::v1;
use tests::TestServer;
use tonic::Code;

async fn names(server: &TestServer, selector: v1::TaskSelector) -> Vec<String> {
    let request = v1::ListTasksRequest { selector: Some(selector), ..v1::ListTasksRequest::default() };
    let reply = server.catalog().list_tasks(request).await.unwrap().into_inner();
    assert_eq!(reply.total as usize, reply.tasks.len());
    reply.tasks.into_iter().map(|task| task.name).collect()
}

#[tokio::test]
async fn pages_follow_each_other_in_order_of_names() {
    let server = TestServer::start().await;
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListTasksRequest { page_size: 4, page_token, ..v1::ListTasksRequest::default() };
        let reply = server.catalog().list_tasks(request).await.unwrap().into_inner();
        assert_eq!(reply.total, 6);
        seen.extend(reply.tasks.into_iter().map(|task| task.name));
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["ending", "help", "length", "mood", "names", "topics"]);
}

#[tokio::test]
async fn selections_narrow_by_name_kind_label_and_text() {
    let server = TestServer::start().await;
    let any = v1::TaskSelector::default;
    assert_eq!(names(&server, v1::TaskSelector { glob: "*n*".into(), ..any() }).await, ["ending", "length", "names"]);
    let kinds = vec![v1::TaskKind::Reward.into(), v1::TaskKind::MultiLabel.into()];
    assert_eq!(names(&server, v1::TaskSelector { kinds, ..any() }).await, ["help", "topics"]);
    assert_eq!(names(&server, v1::TaskSelector { labels: vec!["sad".into()], ..any() }).await, ["mood"]);
    assert_eq!(names(&server, v1::TaskSelector { text: "SPORT".into(), ..any() }).await, ["topics"]);
}

#[tokio::test]
async fn one_task_tells_its_labels_and_versions() {
    let server = TestServer::start().await;
    let request = v1::GetTaskRequest { task: "mood".into(), ..v1::GetTaskRequest::default() };
    let task = server.catalog().get_task(request).await.unwrap().into_inner().task.unwrap();
    assert_eq!(task.labels, ["glad", "sad", "angry"]);
    assert_eq!((task.version, task.versions.as_slice()), (1, &[1][..]));
    assert_eq!(task.kind(), v1::TaskKind::Classification);
    assert!(task.has_task_embedding);
    let unknown = v1::GetTaskRequest { task: "nothing".into(), ..v1::GetTaskRequest::default() };
    assert_eq!(server.catalog().get_task(unknown).await.expect_err("unknown").code(), Code::NotFound);
}

#[tokio::test]
async fn a_page_token_of_another_selection_is_refused() {
    let server = TestServer::start().await;
    let request = v1::ListTasksRequest { page_size: 1, ..v1::ListTasksRequest::default() };
    let page_token = server.catalog().list_tasks(request).await.unwrap().into_inner().next_page_token;
    let selector = Some(v1::TaskSelector { glob: "m*".into(), ..v1::TaskSelector::default() });
    let request = v1::ListTasksRequest { page_token, selector, ..v1::ListTasksRequest::default() };
    let status = server.catalog().list_tasks(request).await.expect_err("another selection");
    assert_eq!(status.code(), Code::InvalidArgument);
}
