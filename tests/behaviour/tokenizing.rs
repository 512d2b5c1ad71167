//! Tokenize and Embed: what the tokenizer and the encoder make of texts.

use api::v1;
use tests::{HIDDEN, TestServer};
use tonic::Code;

use crate::asking::{fields, input};

#[tokio::test]
async fn tokens_carry_ids_pieces_and_offsets() {
    let server = TestServer::start().await;
    let pair = v1::Input { text_pair: Some("schön".into()), ..input("très bien") };
    let request = v1::TokenizeRequest { inputs: vec![pair], ..v1::TokenizeRequest::default() };
    let reply = server.classifier().tokenize(request).await.unwrap().into_inner();
    assert_eq!(reply.encoder_digest, server.encoder.to_string());
    assert_eq!(reply.max_tokens, 64);
    let tokens = &reply.inputs[0].rows[0].tokens;
    let text: Vec<_> = tokens.iter().filter(|token| !token.special).collect();
    assert_eq!(tokens.len(), text.len() + 3);
    let offsets: Vec<_> = text.iter().map(|token| (token.side, token.start, token.end, token.end_byte)).collect();
    assert_eq!(offsets, [(0, 0, 4, 5), (0, 5, 9, 10), (1, 0, 5, 6)]);
    assert!(text.iter().all(|token| token.piece == format!("word-{}", token.id)));
}

#[tokio::test]
async fn choices_are_rows_of_their_own() {
    let server = TestServer::start().await;
    let choices = ["a", "b c"].map(String::from).to_vec();
    let request =
        v1::TokenizeRequest { inputs: vec![v1::Input { choices, ..input("q") }], ..v1::TokenizeRequest::default() };
    let reply = server.classifier().tokenize(request).await.unwrap().into_inner();
    let lengths: Vec<_> = reply.inputs[0].rows.iter().map(|row| row.tokens.len()).collect();
    assert_eq!(lengths, [5, 6]);
}

#[tokio::test]
async fn a_vector_is_as_wide_as_the_encoder_and_moves_with_the_task() {
    let server = TestServer::start().await;
    let vector = async |task: &str| {
        let request =
            v1::EmbedRequest { inputs: vec![input("fine")], task: task.to_owned(), ..v1::EmbedRequest::default() };
        let reply = server.classifier().embed(request).await.unwrap().into_inner();
        assert_eq!(reply.served_by.unwrap().task, task);
        reply.embeddings[0].values.clone()
    };
    let plain = vector("").await;
    assert_eq!(plain.len(), HIDDEN);
    assert_ne!(plain, vector("mood").await);
}

#[tokio::test]
async fn embedding_refuses_choices() {
    let server = TestServer::start().await;
    let choices = ["a", "b"].map(String::from).to_vec();
    let request = v1::EmbedRequest { inputs: vec![v1::Input { choices, ..input("q") }], ..v1::EmbedRequest::default() };
    let status = server.classifier().embed(request).await.expect_err("choices have no vector");
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["inputs[0].choices".to_owned()]));
}
