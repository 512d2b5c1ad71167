//! Long texts by request: cut and told, refused, or read in windows.

use api::v1;
use api::v1::prediction::Result as Answer;
use engine::Limits;
use engine::testing::small_limits;
use tests::TestServer;
use tonic::Code;
use tonic_types::StatusExt;

use crate::asking::{ask, fields, input};

fn numbered(words: usize) -> String {
    (0..words).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ")
}

fn options(truncation: v1::Truncation, aggregation: v1::Aggregation) -> Option<v1::ClassifyOptions> {
    Some(v1::ClassifyOptions {
        logits: true,
        truncation: truncation.into(),
        aggregation: aggregation.into(),
        ..v1::ClassifyOptions::default()
    })
}

fn in_windows(task: &str, input: v1::Input, aggregation: v1::Aggregation) -> v1::ClassifyRequest {
    v1::ClassifyRequest { options: options(v1::Truncation::Windows, aggregation), ..ask(task, vec![input]) }
}

async fn one(server: &TestServer, request: v1::ClassifyRequest) -> v1::Prediction {
    server.classifier().classify(request).await.unwrap().into_inner().predictions.remove(0)
}

fn value(prediction: &v1::Prediction) -> f32 {
    let Some(Answer::Value(value)) = &prediction.result else { panic!("{prediction:?}") };
    value.value
}

#[tokio::test]
async fn windows_are_rows_of_the_call_and_their_logits_one_answer() {
    let server = TestServer::start().await;
    let words: Vec<String> = numbered(130).split(' ').map(str::to_owned).collect();
    // A row has room for 62 words; windows begin 47 words apart.
    let parts = [(0, 62), (47, 109), (94, 130)];
    let mut alone = Vec::new();
    for (start, end) in parts {
        alone.push(value(&one(&server, ask("length", vec![input(&words[start..end].join(" "))])).await));
    }
    let before = server.rows_seen();
    let mean = one(&server, in_windows("length", input(&words.join(" ")), v1::Aggregation::Unspecified)).await;
    assert_eq!(server.rows_seen() - before, 3);
    let usage = mean.usage.clone().unwrap();
    assert_eq!((usage.rows, usage.tokens, usage.cuts.len()), (3, 64 + 64 + 38, 0));
    let weighted = (62.0 * alone[0] + 62.0 * alone[1] + 36.0 * alone[2]) / 160.0;
    assert!((value(&mean) - weighted).abs() < 1e-5, "{} {weighted}", value(&mean));
    let max = one(&server, in_windows("length", input(&words.join(" ")), v1::Aggregation::Max)).await;
    assert!((value(&max) - alone.iter().copied().fold(f32::NEG_INFINITY, f32::max)).abs() < 1e-5);
    assert!(alone.iter().any(|one| (one - weighted).abs() > 1e-3), "the windows differ");
}

#[tokio::test]
async fn a_text_that_fits_is_one_row_whatever_is_asked() {
    let server = TestServer::start().await;
    let plain = one(&server, ask("length", vec![input(&numbered(62))])).await;
    let windowed = one(&server, in_windows("length", input(&numbered(62)), v1::Aggregation::Max)).await;
    assert_eq!((windowed.usage.clone(), value(&windowed)), (plain.usage.clone(), value(&plain)));
}

#[tokio::test]
async fn a_lower_limit_makes_smaller_windows() {
    let server = TestServer::start().await;
    let mut request = in_windows("names", input(&numbered(20)), v1::Aggregation::Mean);
    request.options.as_mut().unwrap().max_tokens = Some(10);
    let usage = one(&server, request).await.usage.unwrap();
    assert_eq!((usage.rows, usage.tokens), (3, 30), "windows of 8 words, 6 apart");
}

#[tokio::test]
async fn the_shorter_side_of_a_pair_stands_in_every_window() {
    let server = TestServer::start().await;
    let pair = |text: usize, other: usize| v1::Input { text_pair: Some(numbered(other)), ..input(&numbered(text)) };
    let usage =
        async |input: v1::Input| one(&server, in_windows("mood", input, v1::Aggregation::Mean)).await.usage.unwrap();
    // 61 words have room; beside 11 of them windows of 50 begin 38 apart.
    for (text, other) in [(100, 11), (11, 100)] {
        let usage = usage(pair(text, other)).await;
        assert_eq!((usage.rows, usage.tokens), (3, 64 + 64 + 3 + 11 + 24), "{text} {other}");
        assert!(usage.cuts.is_empty());
    }
    // Neither side fits into half the room: windows of 31 go over the longer, and the beginning of the other is read.
    let usage = usage(pair(40, 50)).await;
    assert_eq!(usage.rows, 2);
    let cuts: Vec<_> = usage.cuts.iter().map(|cut| (cut.row, cut.field.as_str(), cut.uncut_tokens)).collect();
    assert_eq!(cuts, [(0, "text", 93)]);
}

#[tokio::test]
async fn every_choice_is_read_in_windows_of_its_own() {
    let server = TestServer::start().await;
    let choices = ["a short one".to_owned(), numbered(80)].to_vec();
    let question = v1::Input { choices, ..input(&numbered(90)) };
    let prediction = one(&server, in_windows("ending", question, v1::Aggregation::Mean)).await;
    let Some(Answer::Choices(result)) = &prediction.result else { panic!("{prediction:?}") };
    assert_eq!(result.choices.len(), 2);
    assert!((result.choices.iter().map(|choice| choice.score).sum::<f32>() - 1.0).abs() < 1e-6);
    let usage = prediction.usage.unwrap();
    // Beside three words 58 of the prompt have room; beside the long choice 31, and 30 of the choice.
    assert_eq!(usage.rows, 2 + 4);
    let cuts: Vec<_> = usage.cuts.iter().map(|cut| (cut.row, cut.field.as_str())).collect();
    assert_eq!(cuts, [(1, "choices[1]")]);
}

#[tokio::test]
async fn words_beyond_the_limit_are_labelled_once_each_with_offsets_in_the_whole_text() {
    let server = TestServer::start().await;
    let words: Vec<String> = (0..200).map(|word| format!("wörd{word}")).collect();
    let text = words.join("  ");
    for (input, gap) in [(input(&text), 2), (v1::Input { tokens: words.clone(), ..v1::Input::default() }, 1)] {
        let mut request = in_windows("names", input, v1::Aggregation::Mean);
        request.options.as_mut().unwrap().spans = v1::SpanGrouping::Words.into();
        let prediction = one(&server, request.clone()).await;
        let Some(Answer::Spans(result)) = prediction.result else { panic!("{prediction:?}") };
        let (mut start, mut start_byte) = (0, 0);
        assert_eq!(result.spans.len(), words.len());
        for (number, (span, word)) in result.spans.iter().zip(&words).enumerate() {
            assert_eq!((span.text.as_str(), span.word_start as usize), (word.as_str(), number));
            assert_eq!((span.start as usize, span.start_byte as usize), (start, start_byte));
            start += word.chars().count() + gap;
            start_byte += word.len() + gap;
        }
        assert_eq!(result.tokens.len(), 202, "every token once, between the special tokens");
        assert_eq!(result.tokens.iter().filter(|token| token.first_of_word).count(), 200);
        let usage = prediction.usage.unwrap();
        assert_eq!((usage.rows, usage.cuts.len()), (4, 0));

        request.options.as_mut().unwrap().spans = v1::SpanGrouping::Entities.into();
        let Some(Answer::Spans(merged)) = one(&server, request).await.result else { panic!("spans") };
        let ends = merged.spans.iter().map(|span| span.word_end);
        assert!(merged.spans.iter().skip(1).zip(ends).all(|(span, end)| span.word_start >= end), "none overlaps");
        let outside = result.spans.iter().filter(|span| span.label == "O").count() as u32;
        assert_eq!(merged.spans.iter().map(|span| span.word_end - span.word_start).sum::<u32>(), 200 - outside);
    }
}

#[tokio::test]
async fn zero_shot_and_rewards_read_windows_too() {
    let server = crate::zero_shot::with_nli(TestServer::start().await).await;
    let request = v1::ZeroShotRequest {
        task: "nli".into(),
        inputs: vec![v1::ZeroShotInput { text: numbered(100), candidate_labels: Vec::new() }],
        candidate_labels: ["sport", "money and trade"].map(str::to_owned).to_vec(),
        options: options(v1::Truncation::Windows, v1::Aggregation::Max),
        ..v1::ZeroShotRequest::default()
    };
    let prediction = server.classifier().zero_shot(request).await.unwrap().into_inner().predictions.remove(0);
    // Beside four words 57 of the text have room and two windows are enough, beside six words three.
    assert_eq!(prediction.usage.unwrap().rows, 5);
    assert!((prediction.labels.iter().map(|label| label.score).sum::<f32>() - 1.0).abs() < 1e-6);
    let request = v1::ScoreRequest {
        task: "help".into(),
        inputs: vec![v1::ScoreInput { prompt: "How?".into(), answer: numbered(100) }],
        options: options(v1::Truncation::Windows, v1::Aggregation::Mean),
        ..v1::ScoreRequest::default()
    };
    let usage = server.classifier().score(request).await.unwrap().into_inner().rewards.remove(0).usage.unwrap();
    assert_eq!((usage.rows, usage.cuts.len()), (2, 0));
}

#[tokio::test]
async fn windows_count_against_the_limit_of_rows() {
    let server = TestServer::start_with(Limits { max_in_flight_rows: 4, ..small_limits() }).await;
    let request = in_windows("length", input(&numbered(500)), v1::Aggregation::Mean);
    let status = server.classifier().classify(request).await.expect_err("more windows than rows");
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["inputs".to_owned()]), "{status}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["limit"], "4");
    assert_eq!(server.metric("rows_in_flight").await, 0);
    let fits = in_windows("length", input(&numbered(200)), v1::Aggregation::Mean);
    assert_eq!(one(&server, fits).await.usage.unwrap().rows, 4);
    assert_eq!(server.metric("rows_in_flight").await, 0, "every place came back");
}

#[tokio::test]
async fn what_no_head_reads_has_no_windows() {
    let server = TestServer::start().await;
    let truncation = v1::Truncation::Windows.into();
    let request = v1::EmbedRequest { inputs: vec![input("x")], truncation, ..v1::EmbedRequest::default() };
    let embed = server.classifier().embed(request).await.expect_err("no windows");
    let request = v1::TokenizeRequest { inputs: vec![input("x")], truncation, ..v1::TokenizeRequest::default() };
    let tokenize = server.classifier().tokenize(request).await.expect_err("no windows");
    for status in [embed, tokenize] {
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["truncation".to_owned()]));
    }
}

#[tokio::test]
async fn an_unknown_aggregation_is_named() {
    let server = TestServer::start().await;
    let bad = v1::ClassifyOptions { aggregation: 7, ..v1::ClassifyOptions::default() };
    let request = v1::ClassifyRequest { options: Some(bad), ..ask("mood", vec![input("x")]) };
    let status = server.classifier().classify(request).await.expect_err("no such aggregation");
    assert_eq!(fields(&status), ["options.aggregation"]);
}
