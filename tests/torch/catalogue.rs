//! The catalogue on the starter: every sample is answered, and texts find the tasks that ask about such texts.

use api::v1;
use deberta::Kernels;
use tests::TestServer;

use crate::serving::starter;

/// Texts that are no samples, each with the task that such texts belong to.
const TEXTS: [(&str, &str); 6] = [
    ("banking77", "I lost my card yesterday, how do I get a new one?"),
    ("sms_spam", "FREE entry in our weekly draw! Text WIN to 80085 now, T&Cs apply"),
    ("ag_news", "Shares fell on Wall Street on Tuesday as the central bank raised interest rates again."),
    ("trec", "What year did the first railway in Spain open ?"),
    ("tweet_eval/stance_climate", "We need to act on climate change before the ice is gone #globalwarming"),
    ("clinc_oos/plus", "remind me to call my sister at five"),
];

async fn all_tasks(server: &TestServer) -> Vec<v1::Task> {
    let reply = server.catalog().list_tasks(v1::ListTasksRequest::default()).await.unwrap().into_inner();
    assert_eq!(reply.total as usize, reply.tasks.len());
    reply.tasks
}

#[tokio::test]
async fn every_sample_of_the_starter_is_an_input_that_its_task_answers() {
    let server = starter(Kernels::Libtorch).await;
    let tasks = all_tasks(&server).await;
    assert_eq!(tasks.len(), 30);
    for task in tasks {
        assert!(!task.samples.is_empty(), "{} has no sample", task.name);
        let (samples, inputs) = (task.samples.len(), task.samples);
        let request = v1::ClassifyRequest { task: task.name.clone(), inputs, ..v1::ClassifyRequest::default() };
        let reply =
            server.classifier().classify(request).await.unwrap_or_else(|error| panic!("{}: {error}", task.name));
        assert_eq!(reply.into_inner().predictions.len(), samples);
    }
}

#[tokio::test]
async fn a_text_finds_the_task_that_asks_about_such_texts() {
    let server = starter(Kernels::Libtorch).await;
    let suggest = async |text: &str| {
        let input = Some(v1::Input { text: text.to_owned(), ..v1::Input::default() });
        let request = v1::SuggestTasksRequest { input, ..v1::SuggestTasksRequest::default() };
        loop {
            let reply = server.catalog().suggest_tasks(request.clone()).await.unwrap().into_inner();
            if reply.pending == 0 {
                return reply;
            }
            // Samples are read while nobody asks: a row at least for each task.
            server.until_metric("rows_total", server.metric("rows_total").await + u64::from(reply.pending)).await;
        }
    };
    let reading = suggest("any").await;
    assert_eq!((reading.compared, reading.without_samples, reading.tasks.len()), (30, 0, 10));
    for (task, text) in TEXTS {
        let reply = suggest(text).await;
        let found: Vec<_> =
            reply.tasks.iter().map(|found| (found.task.as_ref().unwrap().name.as_str(), found.similarity)).collect();
        assert!(found.iter().take(3).any(|(name, _)| *name == task), "{text:?} should find {task}: {found:?}");
    }
}

#[tokio::test]
async fn stances_are_like_stances_by_labels_and_words_find_the_starters_tasks() {
    let server = starter(Kernels::Libtorch).await;
    let request = v1::SimilarTasksRequest { task: "tweet_eval/stance_climate".into(), ..Default::default() };
    let tasks = server.catalog().similar_tasks(request).await.unwrap().into_inner().tasks;
    let equal =
        tasks.iter().filter(|task| task.similarity > 0.999).map(|task| task.task.as_ref().unwrap().name.as_str());
    let equal: Vec<_> = equal.collect();
    assert_eq!(equal.len(), 4, "{equal:?}");
    assert!(equal.iter().all(|name| name.starts_with("tweet_eval/stance_")), "{equal:?}");
    for by in [v1::Similarity::Embedding, v1::Similarity::Head] {
        let request = v1::SimilarTasksRequest { task: "glue/sst2".into(), by: by.into(), ..Default::default() };
        let tasks = server.catalog().similar_tasks(request).await.unwrap().into_inner().tasks;
        assert!(!tasks.is_empty() && tasks.iter().all(|task| task.similarity <= 1.0), "{by:?}: {tasks:?}");
    }
    for (words, task) in
        [("spam messages", "sms_spam"), ("entailment pair", "sick/label"), ("film sentiment", "glue/sst2")]
    {
        let request = v1::SearchTasksRequest { query: words.into(), ..Default::default() };
        let matches = server.catalog().search_tasks(request).await.unwrap().into_inner().matches;
        let names: Vec<_> = matches.iter().map(|found| found.task.as_ref().unwrap().name.as_str()).collect();
        assert!(names.iter().take(3).any(|name| *name == task), "{words:?} should find {task}: {names:?}");
    }
}
