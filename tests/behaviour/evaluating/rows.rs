//! Labelled rows, and evaluations on them.

use api::v1;
use api::v1::evaluate_head_request::Part;
use api::v1::evaluate_head_response::Event;
use api::v1::labelled_row::Answer;
use tests::TestServer;
use tonic::Status;

use crate::asking::input;

/// What came back of an evaluation.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub(crate) report: v1::EvaluationReport,
    pub(crate) bad_rows: Vec<v1::BadRow>,
}

pub(crate) fn plan(task: &str) -> v1::EvaluationPlan {
    v1::EvaluationPlan { task: task.to_owned(), resamples: Some(100), ..v1::EvaluationPlan::default() }
}

/// Texts that a model that counts reads differently.
pub(crate) fn texts(count: usize) -> Vec<String> {
    (0..count).map(|place| format!("word{place} {}end", "more ".repeat(place % 7))).collect()
}

pub(crate) fn indexed(text: &str, index: u32) -> v1::LabelledRow {
    v1::LabelledRow { input: Some(input(text)), answer: Some(Answer::Index(index)), ..v1::LabelledRow::default() }
}

/// Rows whose truths run through the three labels.
pub(crate) fn mood_rows(count: usize) -> Vec<v1::LabelledRow> {
    texts(count).iter().zip(0..).map(|(text, place)| indexed(text, place % 3)).collect()
}

pub(crate) fn of_plan(plan: v1::EvaluationPlan) -> v1::EvaluateHeadRequest {
    v1::EvaluateHeadRequest { part: Some(Part::Plan(plan)) }
}

pub(crate) fn of_rows(rows: v1::LabelledRows) -> v1::EvaluateHeadRequest {
    v1::EvaluateHeadRequest { part: Some(Part::Rows(rows)) }
}

pub(crate) fn messages(plan: v1::EvaluationPlan, rows: Vec<v1::LabelledRow>) -> Vec<v1::EvaluateHeadRequest> {
    let rows = rows.chunks(50).map(|rows| of_rows(v1::LabelledRows { rows: rows.to_vec() }));
    std::iter::once(of_plan(plan)).chain(rows).collect()
}

pub(crate) async fn evaluate(
    server: &TestServer,
    plan: v1::EvaluationPlan,
    rows: Vec<v1::LabelledRow>,
) -> Result<Evaluation, Status> {
    send(server, messages(plan, rows)).await
}

pub(crate) async fn send(server: &TestServer, messages: Vec<v1::EvaluateHeadRequest>) -> Result<Evaluation, Status> {
    let mut events = server.heads().evaluate_head(tokio_stream::iter(messages)).await?.into_inner();
    let mut bad_rows = Vec::new();
    while let Some(message) = events.message().await? {
        match message.event.unwrap() {
            Event::Progress(progress) => assert!(progress.total == 0 || progress.done <= progress.total),
            Event::BadRow(bad) => bad_rows.push(bad),
            Event::Report(report) => {
                assert!(events.message().await?.is_none(), "the report is the last message");
                return Ok(Evaluation { report, bad_rows });
            }
        }
    }
    panic!("the call ended without a report and without an error");
}
