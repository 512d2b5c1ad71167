//! Fits on the starter's encoder: a few rows of own words come near to what the head of the joint training knows.

use std::sync::Arc;

use api::v1;
use api::v1::fit_head_request::Part;
use api::v1::fit_head_response::Event;
use api::v1::labelled_row::Answer;
use deberta::Kernels;
use engine::testing::small_limits;
use engine::{EngineParts, Limits};
use tests::TestServer;

use crate::serving::{engine_on, starter_dir};

/// Of the joint head's accuracy, what a fit on few rows must reach, as for banking77 with ten rows a label.
const SHARE: f64 = 0.8;

/// Questions of our own for four labels of banking77: rows to learn from, and rows to judge by.
const QUESTIONS: [(&str, [&str; 6], [&str; 4]); 4] = [
    (
        "card_arrival",
        [
            "my new card still has not come in the mail",
            "when will the card you sent reach me?",
            "I ordered a card two weeks ago, where is it?",
            "is my card on its way yet",
            "the postman brought no card so far",
            "how do I find out where my card is",
        ],
        [
            "still waiting for the card you mailed",
            "my card should be here by now",
            "has my card been lost in the post?",
            "I have not received my card",
        ],
    ),
    (
        "change_pin",
        [
            "I want another PIN for my card",
            "how can I set a new pin?",
            "can I pick my own PIN at a machine",
            "where do I change my code",
            "my PIN is too easy, let me choose a new one",
            "is it possible to change the pin abroad",
        ],
        [
            "please tell me how to change my PIN",
            "I would like a different pin number",
            "what do I do to get a new PIN code?",
            "can my PIN be changed in the app",
        ],
    ),
    (
        "exchange_rate",
        [
            "what rate do you use when I change money",
            "how are your exchange rates decided?",
            "which exchange rate will I get for dollars",
            "is the rate for euros the one of the market",
            "where can I see today's exchange rate",
            "do your rates follow the interbank ones?",
        ],
        [
            "tell me the exchange rate you apply",
            "how good is your rate for foreign currency?",
            "what exchange rate do I get on pounds",
            "when do exchange rates change",
        ],
    ),
    (
        "age_limit",
        [
            "how old must I be to open an account",
            "can my daughter of fifteen have an account?",
            "is there a minimum age",
            "are children allowed to use this bank",
            "what is the youngest age for a card",
            "my son is a teenager, may he sign up",
        ],
        [
            "do I have to be eighteen to join?",
            "at what age can one get an account",
            "is my child too young for this",
            "what age do you need to be",
        ],
    ),
];

/// The starter, for rows of at most 64 tokens.
async fn starter(kernels: Kernels) -> TestServer {
    let bundle = starter_dir();
    let engine = EngineParts {
        tokenizer: Arc::new(crate::open_tokenizer(&bundle.join("encoder"), Some(64))),
        limits: Limits { cache_bytes: 4 << 20, ..small_limits() },
        ..engine_on(&bundle, kernels)
    };
    TestServer::start_on(tempfile::tempdir().unwrap(), &bundle, engine).await
}

fn row(text: &str, label: &str, used: v1::RowUse) -> v1::LabelledRow {
    v1::LabelledRow {
        input: Some(v1::Input { text: text.to_owned(), ..v1::Input::default() }),
        answer: Some(Answer::Label(label.to_owned())),
        r#use: used.into(),
        ..v1::LabelledRow::default()
    }
}

async fn fit(server: &TestServer, plan: v1::FitPlan) -> v1::FitReport {
    let rows = QUESTIONS.iter().flat_map(|(label, train, validation)| {
        let train = train.iter().map(|text| row(text, label, v1::RowUse::Train));
        train.chain(validation.iter().map(|text| row(text, label, v1::RowUse::Validation)))
    });
    let rows = Part::Rows(v1::LabelledRows { rows: rows.collect() });
    let messages = [Part::Plan(plan), rows].map(|part| v1::FitHeadRequest { part: Some(part) });
    let mut events = server.heads().fit_head(tokio_stream::iter(messages)).await.unwrap().into_inner();
    while let Some(response) = events.message().await.unwrap() {
        if let Some(Event::Report(report)) = response.event {
            return report;
        }
    }
    panic!("no report")
}

/// The share of the judging rows that `task` answers rightly, of these labels alone.
async fn accuracy(server: &TestServer, task: &str) -> f64 {
    let rows: Vec<_> = QUESTIONS.iter().flat_map(|(label, _, texts)| texts.map(|text| (text, *label))).collect();
    let inputs = rows.iter().map(|(text, _)| v1::Input { text: (*text).to_owned(), ..v1::Input::default() }).collect();
    let request = v1::ClassifyRequest { task: task.to_owned(), inputs, ..v1::ClassifyRequest::default() };
    let reply = server.classifier().classify(request).await.unwrap().into_inner();
    let right = reply.predictions.into_iter().zip(&rows).filter(|(prediction, (_, label))| {
        let Some(v1::prediction::Result::Classification(result)) = &prediction.result else { panic!("{prediction:?}") };
        let known = |label: &str| QUESTIONS.iter().any(|(name, ..)| *name == label);
        result.labels.iter().find(|scored| known(&scored.label)).is_some_and(|best| best.label == *label)
    });
    right.count() as f64 / rows.len() as f64
}

fn plan(task: &str) -> v1::FitPlan {
    v1::FitPlan {
        task: task.to_owned(),
        kind: v1::TaskKind::Classification.into(),
        fit_temperature: true,
        ..v1::FitPlan::default()
    }
}

#[tokio::test]
async fn few_rows_of_own_words_come_near_to_the_joint_head() {
    let server = starter(Kernels::Libtorch).await;
    let report = fit(&server, plan("own/banking")).await;
    assert_eq!((report.train_rows, report.validation_rows, report.version), (24, 16, Some(1)));
    let (joint, fitted) = (accuracy(&server, "banking77").await, accuracy(&server, "own/banking").await);
    assert!(joint > 0.8, "the joint head knows these labels: {joint}");
    assert!(fitted >= SHARE * joint, "{fitted} {joint}");
    let reported = report.metrics.iter().find(|metric| metric.name == "accuracy").unwrap().value;
    assert!((reported - fitted).abs() < 1e-9, "what is reported is what is served: {reported} {fitted}");
}

#[tokio::test]
async fn a_task_embedding_is_kept_only_where_it_helps_and_what_is_reported_is_served() {
    let server = starter(Kernels::Libtorch).await;
    let report =
        fit(&server, v1::FitPlan { task_embedding: true, l2_strengths: vec![0.01], ..plan("own/learned") }).await;
    let reported = report.metrics.iter().find(|metric| metric.name == "accuracy").unwrap().value;
    assert!((accuracy(&server, "own/learned").await - reported).abs() < 1e-9);
    let loss = |report: &v1::FitReport| report.metrics.iter().find(|metric| metric.name == "log_loss").unwrap().value;
    let without = fit(&server, v1::FitPlan { l2_strengths: vec![0.01], ..plan("own/plain") }).await;
    assert!(loss(&report) <= loss(&without), "{} {}", loss(&report), loss(&without));
    let request = v1::GetTaskRequest { task: "own/learned".into(), ..v1::GetTaskRequest::default() };
    let task = server.catalog().get_task(request).await.unwrap().into_inner().task.unwrap();
    let said = report.warnings.iter().any(|warning| warning.contains("task embedding"));
    assert_eq!(task.has_task_embedding, !said, "{:?}", report.warnings);
    assert_eq!(task.has_task_embedding, loss(&report) < loss(&without));
}
