//! ClassifyStream: inputs as they come, answers as they are ready, each row failing alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api::v1;
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use crate::caller::Caller;
use crate::serving::Serving;
use crate::{from_proto, status, to_proto};

/// Requests of one stream that are worked on at the same time; further ones wait unread.
const MAX_IN_FLIGHT: usize = 256;
const MAX_ID_BYTES: usize = 128;

type Responses = mpsc::Sender<Result<v1::ClassifyStreamResponse, Status>>;

/// What holds for every request of a stream.
#[derive(Debug, Clone)]
pub(crate) struct OfAll {
    pub(crate) deadline: Option<Instant>,
    /// Whether the call asks for the canary by its header.
    pub(crate) by_header: bool,
    pub(crate) caller: Caller,
}

/// Reads `requests` on a task of its own and answers into the channel it returns. The work ends when the client has
/// sent everything and got its answers, when it goes away, or when the server drains.
pub(crate) fn start(
    serving: Arc<Serving>,
    requests: Streaming<v1::ClassifyStreamRequest>,
    of_all: OfAll,
) -> mpsc::Receiver<Result<v1::ClassifyStreamResponse, Status>> {
    let (responses, receiver) = mpsc::channel(MAX_IN_FLIGHT);
    tokio::spawn(async move {
        let gone = responses.clone();
        tokio::select! {
            () = answer_all(serving, requests, of_all, responses) => {}
            () = gone.closed() => {}
        }
    });
    receiver
}

async fn answer_all(
    serving: Arc<Serving>,
    mut requests: Streaming<v1::ClassifyStreamRequest>,
    of_all: OfAll,
    responses: Responses,
) {
    let mut in_flight = JoinSet::new();
    let end = loop {
        while in_flight.len() >= MAX_IN_FLIGHT {
            in_flight.join_next().await;
        }
        let request = tokio::select! {
            request = requests.message() => request,
            () = serving.draining() => break Some(status::of_engine(engine::EngineError::Draining)),
            Some(_) = in_flight.join_next() => continue,
        };
        match request {
            Ok(Some(request)) => {
                if let Err(ended) = of_all.caller.check_still_good() {
                    break Some(ended);
                }
                let (serving, responses, of_all) = (Arc::clone(&serving), responses.clone(), of_all.clone());
                in_flight.spawn(async move {
                    let response = answer_one(&serving, request, of_all).await;
                    // A client that has gone away reads no answer.
                    let _ = responses.send(Ok(response)).await;
                });
            }
            Ok(None) => break None,
            Err(error) => break Some(status::correct_transport(error)),
        }
    };
    while in_flight.join_next().await.is_some() {}
    if let Some(status) = end {
        let _ = responses.send(Err(status)).await;
    }
}

async fn answer_one(
    serving: &Serving,
    request: v1::ClassifyStreamRequest,
    of_all: OfAll,
) -> v1::ClassifyStreamResponse {
    use v1::classify_stream_response::Outcome;
    let received = Instant::now();
    let v1::ClassifyStreamRequest { id, task, version, input, options } = request;
    if id.len() > MAX_ID_BYTES {
        let refusal = status::invalid_field("id", &format!("{} bytes, the limit is {MAX_ID_BYTES}", id.len()));
        let outcome = Some(Outcome::Error(status::to_message(&refusal)));
        return v1::ClassifyStreamResponse { outcome, ..v1::ClassifyStreamResponse::default() };
    }
    let request = v1::ClassifyRequest { task, version, inputs: input.into_iter().collect(), options };
    let answered = async {
        let view = of_all.caller.view(serving.engine().live());
        let (mut ask, wanted) = from_proto::classify(request, of_all.deadline, &view)?;
        ask.selector = from_proto::with_header(ask.selector, of_all.by_header);
        let answer = serving.engine().classify(ask).await;
        let answer = answer.map_err(|error| status::of_engine(from_proto::with_single_input(error)))?;
        Ok::<_, Status>(to_proto::classify(&answer, wanted, received))
    };
    // A panic must not leave the client waiting for its id.
    let contained = AssertUnwindSafe(answered).catch_unwind().await;
    match contained.unwrap_or_else(|_| Err(status::internal("internal error", "answering a row panicked"))) {
        Ok(mut response) => v1::ClassifyStreamResponse {
            id,
            outcome: response.predictions.pop().map(Outcome::Prediction),
            served_by: response.served_by,
            timings: response.timings,
        },
        Err(refusal) => v1::ClassifyStreamResponse {
            id,
            outcome: Some(Outcome::Error(status::to_message(&refusal))),
            ..v1::ClassifyStreamResponse::default()
        },
    }
}
