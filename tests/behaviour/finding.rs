//! Finding tasks: by words, by likeness, by an input, and among those that were published.

use api::v1;
use engine::{About, Head, HeadKind, HeadParts, Input};
use tests::{HIDDEN, TestServer, head};
use tonic::Code;

use crate::asking::{fields, input};
use crate::installing::{folder, install, messages};

/// A head with these words about it and these sample texts.
pub(crate) fn described(head: &Head, about: About) -> Head {
    Head::new(head.kind(), HIDDEN, HeadParts { about, ..head.parts().clone() }).unwrap()
}

pub(crate) async fn serve(server: &TestServer, task: &str, head: &Head) {
    let folder = folder(server, task, head);
    install(server, messages(v1::InstallHeader::default(), &folder)).await.unwrap();
}

fn about(description: &str, tags: &[&str], samples: &[&str]) -> About {
    let sample = |text: &&str| Input { text: Some((*text).to_owned()), ..Input::default() };
    About {
        description: description.to_owned(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        dataset: "Own".to_owned(),
        samples: samples.iter().map(sample).collect(),
        ..About::default()
    }
}

fn search(query: &str) -> v1::SearchTasksRequest {
    v1::SearchTasksRequest { query: query.to_owned(), ..v1::SearchTasksRequest::default() }
}

fn name(task: Option<v1::Task>) -> String {
    task.unwrap().name
}

#[tokio::test]
async fn words_find_tasks_best_first_and_say_where_they_stand() {
    let server = TestServer::start().await;
    let plain = head(HeadKind::Classification, &["no", "yes"], 9);
    serve(&server, "money/fraud", &described(&plain, about("Is this payment a fraud?", &["finance"], &[]))).await;
    let reply = server.catalog().search_tasks(search("money")).await.unwrap().into_inner();
    let found: Vec<_> = reply.matches.iter().map(|found| found.task.as_ref().unwrap().name.as_str()).collect();
    assert_eq!((found, reply.total), (vec!["money/fraud", "topics"], 2), "a name counts more than a label");
    let reasons: Vec<_> = reply.matches.iter().map(|found| found.reasons[0].field()).collect();
    assert_eq!(reasons, [v1::SearchField::Name, v1::SearchField::Label]);
    for found in &reply.matches {
        assert_eq!(found.score, found.reasons.iter().map(|reason| reason.points).sum::<f64>());
    }
    let selector = |selector| v1::SearchTasksRequest { selector: Some(selector), ..search("money fraud") };
    for narrowed in [
        v1::TaskSelector { tags: vec!["finance".into()], ..v1::TaskSelector::default() },
        v1::TaskSelector { dataset: "own".into(), ..v1::TaskSelector::default() },
        v1::TaskSelector { labels: vec!["yes".into()], ..v1::TaskSelector::default() },
        v1::TaskSelector { kinds: vec![v1::TaskKind::Classification.into()], ..v1::TaskSelector::default() },
    ] {
        let reply = server.catalog().search_tasks(selector(narrowed.clone())).await.unwrap().into_inner();
        let found: Vec<_> = reply.matches.into_iter().map(|found| name(found.task)).collect();
        assert_eq!(found, ["money/fraud"], "{narrowed:?}");
    }
    assert!(server.catalog().search_tasks(search("unheard")).await.unwrap().into_inner().matches.is_empty());
}

#[tokio::test]
async fn matches_come_in_pages_of_one_ranking() {
    let server = TestServer::start().await;
    for number in 0..5 {
        let head = head(HeadKind::Classification, &["no", "yes"], number);
        serve(&server, &format!("pages/task{number}"), &head).await;
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::SearchTasksRequest { page_size: 2, page_token, ..search("pages") };
        let reply = server.catalog().search_tasks(request).await.unwrap().into_inner();
        assert_eq!(reply.total, 5);
        assert!(reply.matches.len() <= 2);
        seen.extend(reply.matches.into_iter().map(|found| name(found.task)));
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            break;
        }
        let other = v1::SearchTasksRequest { page_token: page_token.clone(), ..search("task") };
        let refused = server.catalog().search_tasks(other).await.expect_err("another query");
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["page_token".to_owned()]));
    }
    assert_eq!(seen, (0..5).map(|number| format!("pages/task{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_search_is_refused_by_the_field_that_is_wrong() {
    let server = TestServer::start().await;
    let many = (0..17).map(|number| format!("w{number} ")).collect::<String>();
    for (request, field) in [
        (search(""), "query"),
        (search("?!"), "query"),
        (search(&many), "query"),
        (search(&"x".repeat(513)), "query"),
        (v1::SearchTasksRequest { page_size: 101, ..search("mood") }, "page_size"),
        (v1::SearchTasksRequest { page_token: "7".into(), ..search("mood") }, "page_token"),
    ] {
        let refused = server.catalog().search_tasks(request).await.expect_err(field);
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
}

fn similar(task: &str, by: v1::Similarity) -> v1::SimilarTasksRequest {
    v1::SimilarTasksRequest { task: task.to_owned(), by: by.into(), ..v1::SimilarTasksRequest::default() }
}

#[tokio::test]
async fn tasks_are_alike_by_labels_by_embedding_and_by_what_their_heads_read() {
    let server = TestServer::start().await;
    serve(&server, "mood/again", &head(HeadKind::Classification, &["Glad", "SAD", "angry", "bored"], 1)).await;
    serve(&server, "mood/same", &head(HeadKind::Classification, &["joy", "grief", "rage"], 1)).await;
    let reply =
        server.catalog().similar_tasks(similar("mood", v1::Similarity::Unspecified)).await.unwrap().into_inner();
    assert_eq!((reply.by(), reply.tasks.len()), (v1::Similarity::Labels, 1));
    let similar_one = &reply.tasks[0];
    assert_eq!((similar_one.similarity, similar_one.shared_labels.len()), (0.75, 3));
    for by in [v1::Similarity::Embedding, v1::Similarity::Head] {
        let tasks = server.catalog().similar_tasks(similar("mood", by)).await.unwrap().into_inner().tasks;
        assert!((tasks[0].similarity - 1.0).abs() < 1e-6, "{by:?}: {tasks:?}");
        assert!(tasks.iter().all(|task| task.task.as_ref().unwrap().name != "mood"));
        let most = tasks.iter().map(|task| task.similarity).collect::<Vec<_>>();
        assert!(most.is_sorted_by(|left, right| left >= right), "{most:?}");
        let first_two: Vec<_> = tasks.into_iter().take(2).map(|task| name(task.task)).collect();
        assert!(first_two.contains(&"mood/same".to_owned()), "{by:?}: {first_two:?}");
    }
    let narrowed = v1::SimilarTasksRequest {
        selector: Some(v1::TaskSelector { glob: "mood/*".into(), ..v1::TaskSelector::default() }),
        limit: 1,
        ..similar("mood", v1::Similarity::Head)
    };
    assert_eq!(server.catalog().similar_tasks(narrowed).await.unwrap().into_inner().tasks.len(), 1);
}

#[tokio::test]
async fn a_task_without_labels_or_that_is_not_there_is_like_none() {
    let server = TestServer::start().await;
    let code = async |request| server.catalog().similar_tasks(request).await.expect_err("refused").code();
    assert_eq!(code(similar("length", v1::Similarity::Labels)).await, Code::FailedPrecondition);
    assert_eq!(code(similar("nothing", v1::Similarity::Labels)).await, Code::NotFound);
    assert_eq!(
        code(v1::SimilarTasksRequest { by: 9, ..similar("mood", v1::Similarity::Head) }).await,
        Code::InvalidArgument
    );
    let many = v1::SimilarTasksRequest { limit: 101, ..similar("mood", v1::Similarity::Head) };
    assert_eq!(code(many).await, Code::InvalidArgument);
    let bare = HeadParts { task_embedding: None, ..head(HeadKind::Classification, &["no", "yes"], 2).parts().clone() };
    serve(&server, "bare", &Head::new(HeadKind::Classification, HIDDEN, bare).unwrap()).await;
    assert_eq!(code(similar("bare", v1::Similarity::Embedding)).await, Code::FailedPrecondition);
}

fn suggest(text: &str) -> v1::SuggestTasksRequest {
    v1::SuggestTasksRequest { input: Some(input(text)), ..v1::SuggestTasksRequest::default() }
}

/// The reply once every sample has been read.
async fn suggested(server: &TestServer, request: v1::SuggestTasksRequest) -> v1::SuggestTasksResponse {
    let asking = async {
        loop {
            let reply = server.catalog().suggest_tasks(request.clone()).await.unwrap().into_inner();
            if reply.pending == 0 {
                return reply;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), asking).await.expect("samples are read in time")
}

#[tokio::test]
async fn a_new_head_is_suggested_once_its_samples_are_read_and_after_a_restart() {
    let server = TestServer::start().await;
    let before = suggested(&server, suggest("a b")).await;
    assert_eq!((before.tasks.len(), before.compared, before.without_samples), (0, 0, 6));
    let plain = head(HeadKind::Classification, &["no", "yes"], 9);
    serve(&server, "with/samples", &described(&plain, about("", &[], &["one two", "three"]))).await;
    let reply = suggested(&server, suggest("a b")).await;
    assert_eq!((reply.compared, reply.without_samples), (1, 6));
    assert_eq!(reply.tasks[0].task.as_ref().unwrap().samples.len(), 2);
    let server = server.restart().await;
    let reply = suggested(&server, suggest("a b")).await;
    assert_eq!(name(reply.tasks[0].task.clone()), "with/samples");
}

#[tokio::test]
async fn a_suggestion_names_the_nearest_sample_and_keeps_to_the_selection() {
    let server = TestServer::start().await;
    for (task, texts) in [("low", ["b", "c"]), ("high", ["y", "z"])] {
        let head = head(HeadKind::Classification, &["no", "yes"], 9);
        serve(&server, task, &described(&head, about("", &[], &texts))).await;
    }
    let reply = suggested(&server, suggest("b")).await;
    let found: Vec<_> =
        reply.tasks.iter().map(|found| (found.task.as_ref().unwrap().name.as_str(), found.sample)).collect();
    // The vectors of this encoder all lie on one line.
    assert_eq!(found, [("high", 0), ("low", 0)], "equal ones come in order of name");
    assert!(reply.tasks.iter().all(|found| (found.similarity - 1.0).abs() < 1e-6), "{reply:?}");
    let only_low = v1::TaskSelector { glob: "low".into(), ..v1::TaskSelector::default() };
    let narrowed = v1::SuggestTasksRequest { selector: Some(only_low), ..suggest("b") };
    let reply = suggested(&server, narrowed).await;
    assert_eq!((reply.compared, reply.tasks.len(), name(reply.tasks[0].task.clone())), (1, 1, "low".to_owned()));
    let one = v1::SuggestTasksRequest { limit: 1, ..suggest("b") };
    assert_eq!(suggested(&server, one).await.tasks.len(), 1);
}

#[tokio::test]
async fn a_suggestion_needs_an_input_that_can_be_read() {
    let server = TestServer::start().await;
    for (request, field) in [
        (v1::SuggestTasksRequest::default(), "input"),
        (suggest(""), "input.text"),
        (suggest(&"x".repeat(70_000)), "input.text"),
        (v1::SuggestTasksRequest { limit: 101, ..suggest("a") }, "limit"),
    ] {
        let refused = server.catalog().suggest_tasks(request).await.expect_err(field);
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
}

#[tokio::test]
async fn a_sample_that_the_kind_does_not_take_is_refused_with_its_head() {
    let server = TestServer::start().await;
    let plain = head(HeadKind::Classification, &["no", "yes"], 9);
    let folder = folder(&server, "new/task", &described(&plain, about("", &[], &["fine"])));
    let toml = String::from_utf8(folder.head_toml.clone()).unwrap();
    for (bad, reason) in [
        (toml.replace("text = \"fine\"", "choices = [\"a\", \"b\"]"), "sample 0: text"),
        (toml.replace("text = \"fine\"", "tokens = [\"a\"]"), "sample 0: text"),
        (
            toml.replace("\"fine\"", &format!("\"{}\"", "x".repeat(5_000))),
            "about.samples: 5000 bytes, the limit is 4096",
        ),
        (toml.clone() + &"\n[[about.samples]]\ntext = \"x\"\n".repeat(16), "17 samples, the limit is 16"),
    ] {
        let folder = registry::HeadFolder { head_toml: bad.into_bytes(), weights: folder.weights.clone() };
        let refused = install(&server, messages(v1::InstallHeader::default(), &folder)).await.expect_err(reason);
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(reason), "{}", refused.message());
    }
}

#[tokio::test]
async fn published_tasks_are_known_with_their_kinds_whether_served_or_not() {
    let server = TestServer::start().await;
    serve(&server, "glue/sst2", &head(HeadKind::Classification, &["no", "yes"], 9)).await;
    let mut tasks = Vec::new();
    let mut page_token = String::new();
    let mut pages = 0;
    loop {
        let request = v1::ListKnownTasksRequest { page_size: 300, page_token, ..Default::default() };
        let reply = server.catalog().list_known_tasks(request).await.unwrap().into_inner();
        let total = reply.total as usize;
        tasks.extend(reply.tasks);
        pages += 1;
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            assert_eq!(tasks.len(), total);
            break;
        }
    }
    assert!(tasks.len() >= 667 && pages > 2, "{} tasks on {pages} pages", tasks.len());
    assert!(tasks.is_sorted_by(|left, right| left.name < right.name));
    let served: Vec<_> = tasks.iter().filter(|task| task.served).map(|task| task.name.as_str()).collect();
    assert_eq!(served, ["glue/sst2"]);
    let request = v1::ListKnownTasksRequest {
        glob: "hh-rlhf*".into(),
        kinds: vec![v1::TaskKind::Reward.into()],
        ..Default::default()
    };
    let rewards = server.catalog().list_known_tasks(request).await.unwrap().into_inner().tasks;
    assert!(rewards.iter().any(|task| task.prompt.as_deref() == Some("Most helpful assistant answer:")), "{rewards:?}");
}
