//! A panic fails its own call, or the rows of its batch, and not the process.

use std::sync::Arc;

use api::v1;
use engine::testing::{CountingModel, WordTokenizer, small_limits};
use engine::{EngineParts, Fit, HeadKind, Model, Text, TokenizeError, TokenizeRequest, Tokenizer, Window};
use tempfile::TempDir;
use tests::{HIDDEN, TestServer, head, write_bundle};
use tonic::Code;

use crate::asking::{ask, input};

const PANICS: usize = 100;
const POISON: &str = "poison";

/// A tokenizer that panics at one word, and has no pieces.
struct Brittle(WordTokenizer);

/// A panic without its hook, which would print it hundreds of times.
fn broken_off() -> ! {
    std::panic::resume_unwind(Box::new("the test asked for this panic"))
}

impl Tokenizer for Brittle {
    fn fit(&self, request: TokenizeRequest<'_>, fit: Fit) -> Result<Vec<Window>, TokenizeError> {
        match request.text {
            Text::Raw(text) if text.starts_with(POISON) => broken_off(),
            Text::Raw(_) | Text::Words(_) => self.0.fit(request, fit),
        }
    }

    fn piece(&self, _: u32) -> Option<String> {
        broken_off()
    }

    fn max_tokens(&self) -> usize {
        self.0.max_tokens
    }
}

#[tokio::test]
async fn a_panic_in_the_model_fails_its_batch_and_the_worker_comes_back() {
    let server = TestServer::start().await;
    server.gate.panic_next(1);
    let status = server.classifier().classify(ask("mood", vec![input("x")])).await.expect_err("the model panicked");
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("panic"), "details are for the log: {}", status.message());
    server.classifier().classify(ask("mood", vec![input("x")])).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_keeps_panicking_takes_the_server_down_with_a_reason() {
    let server = TestServer::start().await;
    server.gate.panic_next(100);
    let mut classifier = server.classifier();
    // Each rebuilt worker panics at its warm-up row, so the first ask is all it takes.
    let status = classifier.classify(ask("mood", vec![input("x")])).await.expect_err("the model panicked");
    assert_eq!(status.code(), Code::Internal);
    drop(classifier);
    let failure = server.ended().await.expect_err("the server does not go on without a worker");
    assert!(failure.to_string().contains("panics within"), "{failure}");
}

#[tokio::test]
async fn a_panic_in_a_handler_or_on_a_tokenizer_thread_fails_that_call_alone() {
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle");
    let encoder = write_bundle(&bundle, &[("mood", head(HeadKind::Classification, &["glad", "sad"], 1))]);
    let engine = EngineParts {
        factory: Box::new(move || {
            Ok(Box::new(CountingModel::new(encoder.to_string(), HIDDEN, Arc::default())) as Box<dyn Model>)
        }),
        replicas: 1,
        tokenizer: Arc::new(Brittle(WordTokenizer { max_tokens: 64 })),
        limits: small_limits(),
    };
    let server = TestServer::start_on(folder, &bundle, engine).await;
    let classify = async |text: &str| server.classifier().classify(ask("mood", vec![input(text)])).await.map(drop);
    let request = v1::TokenizeRequest { inputs: vec![input("whole")], ..v1::TokenizeRequest::default() };
    let long = format!("{POISON} {}", "word ".repeat(1_000));
    for _ in 0..PANICS {
        let in_the_handler = server.classifier().tokenize(request.clone()).await.map(drop);
        for answer in [in_the_handler, classify(POISON).await, classify(&long).await] {
            assert_eq!(answer.expect_err("it panicked").code(), Code::Internal);
        }
        classify("whole").await.expect("the others are answered");
    }
    assert_eq!(server.metric("rows_in_flight").await, 0);
}
