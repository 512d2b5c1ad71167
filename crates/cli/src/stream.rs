//! Rows of a file through `ClassifyStream`: a bounded number in flight, answers in the rows' order, busy rows asked again.

use std::collections::HashMap;
use std::time::Duration;

use api::rpc::{self, RpcStatusExt};
use api::v1::classify_stream_response::Outcome as RowOutcome;
use api::v1::{ClassifyOptions, ClassifyStreamRequest, ClassifyStreamResponse, GetTaskRequest, Input};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::answer::{Answer, Failure};
use crate::error::CliError;
use crate::lines::{Line, Lines, Source};
use crate::output::Printer;
use crate::progress::Bar;
use crate::row::{self, TextRow};
use crate::session::{Outcome, Session};
use crate::window::Window;

/// Rows read and not yet printed. Bounds memory, since rows keep their order.
const ROWS_IN_FLIGHT: usize = 256;
/// Bytes of the rows in flight, beyond which no further one is read.
const BYTES_IN_FLIGHT: usize = 32 << 20;
/// How often a row is sent that the server is too busy for.
const MOST_ATTEMPTS: u32 = 10;
/// The longest wait before a row is sent again, whatever the server proposes.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What every row of the file is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) task: String,
    pub(crate) version: String,
    pub(crate) options: ClassifyOptions,
}

/// A row that was sent, kept until its answer is here.
struct Sent {
    request: ClassifyStreamRequest,
    bytes: usize,
    attempts: u32,
}

/// The rows between input and output.
struct Rows<'a> {
    question: &'a Question,
    sender: mpsc::Sender<ClassifyStreamRequest>,
    window: Window<Answer>,
    sent: HashMap<u64, Sent>,
    bytes_in_flight: usize,
    failed: u64,
}

/// Asks `question` about every line of `source` and prints one line for each.
///
/// # Errors
/// [`CliError`] where the input breaks, the stream as a whole is refused or breaks, or results cannot be written.
pub(crate) async fn classify(source: Source, question: &Question, session: &mut Session) -> Result<Outcome, CliError> {
    check_known(question, session).await?;
    let mut client = session.classifier().await?;
    let bar = Bar::of_input(&source, &session.printer);
    let mut lines = Lines::read(source);
    // Room for every row in flight: sending never waits, so answers are read at all times.
    let (sender, requests) = mpsc::channel(ROWS_IN_FLIGHT);
    let reply = client.classify_stream(ReceiverStream::new(requests)).await;
    let mut responses = reply.map_err(|status| session.failed(status))?.into_inner();
    let mut rows = Rows::new(question, sender);
    let mut reading = true;
    while reading || !rows.window.is_empty() {
        tokio::select! {
            line = lines.next(), if reading && rows.has_room() => match line? {
                Some(Line { content, source_bytes }) => {
                    bar.advance(source_bytes);
                    rows.send(content).await;
                }
                None => reading = false,
            },
            response = responses.message(), if !rows.sent.is_empty() => {
                let response = response.map_err(|status| session.failed(status))?;
                rows.receive(response.ok_or_else(|| session.failed(ended_early()))?);
            }
        }
        rows.print(&mut session.printer)?;
    }
    bar.finish();
    Ok(Outcome::of_failures(rows.failed))
}

/// Refuses a task or version that does not exist once, instead of once for each row. Every other trouble is for the
/// stream itself to meet.
async fn check_known(question: &Question, session: &mut Session) -> Result<(), CliError> {
    let mut catalog = session.catalog().await?;
    let request = GetTaskRequest { task: question.task.clone(), version: question.version.clone() };
    match catalog.get_task(session.call(request)).await {
        Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => Err(session.failed(status)),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn ended_early() -> Status {
    Status::internal("the server ended the stream before it had answered every row")
}

impl<'a> Rows<'a> {
    fn new(question: &'a Question, sender: mpsc::Sender<ClassifyStreamRequest>) -> Self {
        Self { question, sender, window: Window::new(), sent: HashMap::new(), bytes_in_flight: 0, failed: 0 }
    }

    fn has_room(&self) -> bool {
        self.window.len() < ROWS_IN_FLIGHT && self.bytes_in_flight < BYTES_IN_FLIGHT
    }

    /// Sends one line, or puts its failure in its place.
    async fn send(&mut self, content: Result<Vec<u8>, Failure>) {
        let place = self.window.open();
        let request = content.and_then(|line| row::parse::<TextRow>(&line)).map(|row| self.request(place, row.into()));
        let sendable = request.and_then(|request| {
            let bytes = api::encoded_bytes(&request);
            row::check_size(bytes).map(|()| (request, bytes))
        });
        match sendable {
            Ok((request, bytes)) => {
                self.bytes_in_flight += bytes;
                self.sent.insert(place, Sent { request: request.clone(), bytes, attempts: 1 });
                // A closed channel means that the stream has ended; its status comes with the next message.
                let _ = self.sender.send(request).await;
            }
            Err(failure) => self.fail(place, failure),
        }
    }

    fn request(&self, place: u64, input: Input) -> ClassifyStreamRequest {
        ClassifyStreamRequest {
            id: place.to_string(),
            task: self.question.task.clone(),
            version: self.question.version.clone(),
            input: Some(input),
            options: Some(self.question.options.clone()),
        }
    }

    /// Puts an answer in its row's place, or sends the row again where the server was too busy for it.
    fn receive(&mut self, response: ClassifyStreamResponse) {
        // An id that was never sent, or is answered already, says nothing about any row.
        let Some(place) = response.id.parse().ok().filter(|place| self.sent.contains_key(place)) else { return };
        match response.outcome {
            Some(RowOutcome::Prediction(prediction)) => {
                self.settle(place);
                let answer = Answer::of_prediction(prediction, response.served_by);
                self.failed += u64::from(answer.error.is_some());
                self.window.fill(place, answer);
            }
            Some(RowOutcome::Error(status)) => match self.wait_before_retry(place, &status) {
                Some(wait) => self.send_again(place, wait),
                None => {
                    self.settle(place);
                    self.fail(place, Failure::from(&status));
                }
            },
            None => {
                self.settle(place);
                self.fail(
                    place,
                    Failure::new(Code::Internal, "the server answered with neither a result nor an error"),
                );
            }
        }
    }

    /// How long to wait before the row is sent again; `None` where that would not help.
    fn wait_before_retry(&self, place: u64, status: &rpc::Status) -> Option<Duration> {
        let sent = self.sent.get(&place).filter(|sent| sent.attempts < MOST_ATTEMPTS)?;
        let proposed = status.get_details_retry_info()?.retry_delay.unwrap_or_default();
        let backed_off = Duration::from_millis(10) * 2_u32.saturating_pow(sent.attempts);
        Some(proposed.max(backed_off).min(LONGEST_WAIT))
    }

    fn send_again(&mut self, place: u64, wait: Duration) {
        if let Some(sent) = self.sent.get_mut(&place) {
            sent.attempts += 1;
            let request = sent.request.clone();
            let sender = self.sender.clone();
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                // As in `send`.
                let _ = sender.send(request).await;
            });
        }
    }

    fn settle(&mut self, place: u64) {
        if let Some(sent) = self.sent.remove(&place) {
            self.bytes_in_flight -= sent.bytes;
        }
    }

    fn fail(&mut self, place: u64, failure: Failure) {
        self.failed += 1;
        self.window.fill(place, Answer::of_failure(&self.question.task, failure));
    }

    fn print(&mut self, printer: &mut Printer) -> Result<(), CliError> {
        let mut printed = false;
        while let Some(answer) = self.window.take_ready() {
            printer.answer(&answer)?;
            printed = true;
        }
        if printed { printer.flush() } else { Ok(()) }
    }
}
