//! ClassifierService: texts in, answers of heads out.

use std::sync::Arc;

use api::v1;
use api::v1::classifier_service_server::ClassifierService;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::classify_stream::OfAll;
use crate::serving::Serving;
use crate::{classify_stream, classify_tasks, from_proto, rewards, status, to_proto, zero_shot};

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Classifier {
    pub(crate) serving: Arc<Serving>,
}

#[tonic::async_trait]
impl ClassifierService for Classifier {
    type ClassifyStreamStream = ReceiverStream<Result<v1::ClassifyStreamResponse, Status>>;
    type ClassifyTasksStreamStream = ReceiverStream<Result<v1::ClassifyTasksStreamResponse, Status>>;

    async fn classify(&self, request: Request<v1::ClassifyRequest>) -> Result<Response<v1::ClassifyResponse>, Status> {
        let received = Instant::now();
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let by_header = from_proto::asks_for_canary(request.metadata());
        let caller = Caller::of(request.extensions())?;
        let view = caller.view(self.serving.engine().live());
        let (mut ask, wanted) = from_proto::classify(request.into_inner(), deadline, &view)?;
        ask.selector = from_proto::with_header(ask.selector, by_header);
        let answer = self.serving.engine().classify(ask).await.map_err(status::of_engine)?;
        Ok(Response::new(to_proto::classify(&answer, wanted, received)))
    }

    async fn classify_stream(
        &self,
        request: Request<Streaming<v1::ClassifyStreamRequest>>,
    ) -> Result<Response<Self::ClassifyStreamStream>, Status> {
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let by_header = from_proto::asks_for_canary(request.metadata());
        let of_all = OfAll { deadline, by_header, caller: Caller::of(request.extensions())? };
        let responses = classify_stream::start(Arc::clone(&self.serving), request.into_inner(), of_all);
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn classify_tasks(
        &self,
        request: Request<v1::ClassifyTasksRequest>,
    ) -> Result<Response<v1::ClassifyTasksResponse>, Status> {
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let caller = Caller::of(request.extensions())?;
        classify_tasks::answer(&self.serving, request.into_inner(), (deadline, &caller)).await.map(Response::new)
    }

    async fn classify_tasks_stream(
        &self,
        request: Request<v1::ClassifyTasksStreamRequest>,
    ) -> Result<Response<Self::ClassifyTasksStreamStream>, Status> {
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let caller = Caller::of(request.extensions())?;
        let v1::ClassifyTasksStreamRequest { input, tasks, selector, options } = request.into_inner();
        let request = v1::ClassifyTasksRequest { input, tasks, selector, options };
        let responses = classify_tasks::start(Arc::clone(&self.serving), request, (deadline, &caller))?;
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn zero_shot(&self, request: Request<v1::ZeroShotRequest>) -> Result<Response<v1::ZeroShotResponse>, Status> {
        let received = Instant::now();
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let caller = Caller::of(request.extensions())?;
        let view = caller.view(self.serving.engine().live());
        let (ask, wanted) = zero_shot::ask(request.into_inner(), deadline, &view)?;
        let answer = self.serving.engine().zero_shot(ask).await.map_err(status::of_engine)?;
        Ok(Response::new(zero_shot::reply(answer, wanted, received)))
    }

    async fn score(&self, request: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreResponse>, Status> {
        let received = Instant::now();
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let caller = Caller::of(request.extensions())?;
        let view = caller.view(self.serving.engine().live());
        let ask = rewards::score(request.into_inner(), deadline, &view)?;
        let answer = self.serving.engine().reward(ask).await.map_err(rewards::score_refused)?;
        Ok(Response::new(rewards::scored(answer, received)))
    }

    async fn compare(&self, request: Request<v1::CompareRequest>) -> Result<Response<v1::CompareResponse>, Status> {
        let received = Instant::now();
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let caller = Caller::of(request.extensions())?;
        let view = caller.view(self.serving.engine().live());
        let ask = rewards::compare(request.into_inner(), deadline, &view)?;
        let answer = self.serving.engine().reward(ask).await.map_err(rewards::compare_refused)?;
        Ok(Response::new(rewards::compared(answer, received)))
    }

    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedResponse>, Status> {
        let received = Instant::now();
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let engine = self.serving.engine();
        let caller = Caller::of(request.extensions())?;
        let ask = from_proto::embed(request.into_inner(), deadline, &caller.view(engine.live()))?;
        let embedding = engine.embed(ask).await.map_err(status::of_engine)?;
        let encoder = engine.info().map_or("", |info| &info.encoder_digest);
        Ok(Response::new(to_proto::embed(embedding, encoder, received)))
    }

    async fn tokenize(&self, request: Request<v1::TokenizeRequest>) -> Result<Response<v1::TokenizeResponse>, Status> {
        let received = Instant::now();
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let caller = Caller::of(request.extensions())?;
        let (inputs, reading) = from_proto::tokenize(request.into_inner(), (deadline, &caller))?;
        let engine = self.serving.engine();
        let tokenized = engine.tokenize(inputs, reading).await.map_err(status::of_engine)?;
        let piece = |id| engine.piece(id);
        let timing = engine::Timing { tokenize: received.elapsed(), ..engine::Timing::default() };
        Ok(Response::new(v1::TokenizeResponse {
            inputs: tokenized.iter().map(|input| to_proto::tokenized(input, &piece)).collect(),
            encoder_digest: engine.info().map_or_else(String::new, |info| info.encoder_digest.clone()),
            max_tokens: engine.max_tokens() as u32,
            timings: Some(to_proto::timings(std::iter::once(timing), received)),
        }))
    }
}
