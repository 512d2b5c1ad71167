//! A classifier without a model: what it answers follows from the text, so that a test knows it beforehand.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::rpc::{self, ErrorDetails, StatusExt};
use api::v1::classifier_service_server::{ClassifierService, ClassifierServiceServer};
use api::v1::classify_stream_response::Outcome;
use api::v1::{self, ClassifyStreamRequest, ClassifyStreamResponse, Mode, Prediction, ServedBy};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Rows answered at once, in reverse.
const ROWS_TOGETHER: usize = 7;

/// Answers each text with its length: `busy` at its first two attempts with a request to come back, `bad` never, and
/// anything for the task `secret` with a refusal of the whole stream. For the task `patient` it answers only when no
/// further row comes.
#[derive(Default)]
pub(crate) struct RuleServer {
    /// Most rows that were ever read and not answered.
    pub(crate) most_waiting: Arc<AtomicUsize>,
}

impl RuleServer {
    /// Serves on a free port; returns the address. Ends with the test.
    pub(crate) async fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = ClassifierServiceServer::new(self);
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        address
    }
}

fn answer(row: ClassifyStreamRequest, busy: &mut HashMap<String, u32>) -> ClassifyStreamResponse {
    let text = row.input.unwrap_or_default().text;
    let outcome = match text.as_str() {
        "bad" => Outcome::Error(rpc::Status { code: 3, message: "input.text is bad".into(), details: vec![] }),
        "busy" if attempts(busy, &row.id) <= 2 => Outcome::Error(come_back()),
        #[expect(clippy::cast_precision_loss, reason = "test texts are short")]
        text => Outcome::Prediction(Prediction {
            result: Some(v1::prediction::Result::Value(v1::ValueResult { value: text.len() as f32 })),
            ..Prediction::default()
        }),
    };
    let served_by = ServedBy { task: row.task, version: 1, mode: Mode::Exact.into(), ..ServedBy::default() };
    ClassifyStreamResponse { id: row.id, outcome: Some(outcome), served_by: Some(served_by), timings: None }
}

fn attempts(busy: &mut HashMap<String, u32>, id: &str) -> u32 {
    let attempts = busy.entry(id.to_owned()).or_default();
    *attempts += 1;
    *attempts
}

fn come_back() -> rpc::Status {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1)));
    let status = Status::with_error_details(tonic::Code::ResourceExhausted, "the queue is full", details);
    api::row_status(&status)
}

type Replies<T> = ReceiverStream<Result<T, Status>>;

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the rule server answers streams alone"))
}

#[tonic::async_trait]
impl ClassifierService for RuleServer {
    type ClassifyStreamStream = Replies<ClassifyStreamResponse>;
    type ClassifyTasksStreamStream = Replies<v1::ClassifyTasksStreamResponse>;

    async fn classify_stream(
        &self,
        request: Request<Streaming<ClassifyStreamRequest>>,
    ) -> Result<Response<Self::ClassifyStreamStream>, Status> {
        let mut rows = request.into_inner();
        let (sender, replies) = mpsc::channel(1);
        let most_waiting = self.most_waiting.clone();
        tokio::spawn(async move {
            let mut busy = HashMap::new();
            let mut waiting = Vec::new();
            loop {
                // A pause in the rows means that the client waits for answers.
                let row = tokio::time::timeout(Duration::from_millis(5), rows.message()).await;
                let paused = row.is_err();
                match row {
                    Ok(Ok(Some(row))) if row.task == "secret" => {
                        let _ = sender.send(Err(Status::permission_denied("not for you"))).await;
                        return;
                    }
                    Ok(Ok(Some(row))) => waiting.push(row),
                    Ok(_) if waiting.is_empty() => return,
                    Ok(_) | Err(_) => {}
                }
                most_waiting.fetch_max(waiting.len(), Ordering::Relaxed);
                let patient = waiting.first().is_some_and(|row: &ClassifyStreamRequest| row.task == "patient");
                if paused || (waiting.len() >= ROWS_TOGETHER && !patient) {
                    while let Some(row) = waiting.pop() {
                        let _ = sender.send(Ok(answer(row, &mut busy))).await;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn classify(&self, request: Request<v1::ClassifyRequest>) -> Result<Response<v1::ClassifyResponse>, Status> {
        Err(Status::not_found(format!("task {:?} is unknown", request.into_inner().task)))
    }

    async fn classify_tasks(
        &self,
        _: Request<v1::ClassifyTasksRequest>,
    ) -> Result<Response<v1::ClassifyTasksResponse>, Status> {
        not_here()
    }

    async fn classify_tasks_stream(
        &self,
        _: Request<v1::ClassifyTasksStreamRequest>,
    ) -> Result<Response<Self::ClassifyTasksStreamStream>, Status> {
        not_here()
    }

    async fn zero_shot(&self, _: Request<v1::ZeroShotRequest>) -> Result<Response<v1::ZeroShotResponse>, Status> {
        not_here()
    }

    async fn score(&self, _: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreResponse>, Status> {
        not_here()
    }

    async fn compare(&self, _: Request<v1::CompareRequest>) -> Result<Response<v1::CompareResponse>, Status> {
        not_here()
    }

    /// The vector of a text is its length; slow texts are answered later, so that calls overtake each other.
    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedResponse>, Status> {
        let text = request.into_inner().inputs.pop().unwrap_or_default().text;
        if text.starts_with("slow") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        #[expect(clippy::cast_precision_loss, reason = "test texts are short")]
        let values = vec![text.len() as f32];
        let embeddings = vec![v1::Embedding { values, usage: None }];
        Ok(Response::new(v1::EmbedResponse { embeddings, served_by: None, timings: None }))
    }

    async fn tokenize(&self, _: Request<v1::TokenizeRequest>) -> Result<Response<v1::TokenizeResponse>, Status> {
        not_here()
    }
}
