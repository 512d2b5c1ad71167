//! Through a server's own door, on real weights: zero-shot, rewards, long texts in windows and entities answer as the
//! pipelines of the reference do.

mod kinds;
mod served;

use api::v1;
use api::v1::prediction::Result as Answer;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fixtures::{self, largest_difference};
use served::Served;

/// Absolute, on fp32 logits of about unit size and on probabilities.
const TOLERANCE: f32 = 1e-4;

fn golden<T: DeserializeOwned>(file: &str) -> Vec<T> {
    fixtures::read_json(&fixtures::path("asking").join(file))
}

#[derive(Debug, Deserialize)]
struct ZeroShot {
    checkpoint: String,
    head_labels: Vec<String>,
    text: String,
    candidate_labels: Vec<String>,
    hypothesis_template: String,
    multi_label: bool,
    labels: Vec<String>,
    scores: Vec<f32>,
}

#[tokio::test]
async fn zero_shot_scores_are_those_of_the_pipeline() {
    let cases: Vec<ZeroShot> = golden("zero-shot.json");
    let mut asked = 0;
    for group in
        cases.chunk_by(|one, next| (&one.checkpoint, &one.head_labels) == (&next.checkpoint, &next.head_labels))
    {
        let server = Served::with_own_classifier(&group[0].checkpoint, &group[0].head_labels).await;
        for case in group {
            let request = v1::ZeroShotRequest {
                task: server.task.clone(),
                inputs: vec![v1::ZeroShotInput { text: case.text.clone(), candidate_labels: Vec::new() }],
                candidate_labels: case.candidate_labels.clone(),
                hypothesis_template: case.hypothesis_template.clone(),
                multi_label: case.multi_label,
                ..v1::ZeroShotRequest::default()
            };
            let reply = server.classifier().zero_shot(request).await.unwrap().into_inner();
            let labels = &reply.predictions[0].labels;
            let scores: Vec<f32> = labels.iter().map(|label| label.score).collect();
            assert!(largest_difference(&scores, &case.scores) <= TOLERANCE, "{scores:?} {case:?}");
            for (label, golden) in labels.iter().zip(&case.labels) {
                assert_eq!(label.label, case.candidate_labels[label.index as usize]);
                let tie = case.scores.windows(2).any(|pair| pair[0] - pair[1] < TOLERANCE);
                assert!(tie || label.label == *golden, "{labels:?} {case:?}");
            }
            asked += 1;
        }
    }
    assert_eq!(asked, cases.len());
}

#[derive(Debug, Deserialize)]
struct Rewards {
    prompt: String,
    prompt_template: Option<String>,
    answers: Vec<String>,
    rewards: Vec<f32>,
}

#[tokio::test]
async fn rewards_are_the_logits_of_the_reference_under_the_heads_template_and_under_others() {
    let server = Served::import("a-one-file").await;
    for case in golden::<Rewards>("rewards.json") {
        let input = |answer: &String| v1::ScoreInput { prompt: case.prompt.clone(), answer: answer.clone() };
        let request = v1::ScoreRequest {
            task: "hh-rlhf".to_owned(),
            inputs: case.answers.iter().map(input).collect(),
            prompt_template: case.prompt_template.clone(),
            ..v1::ScoreRequest::default()
        };
        let reply = server.classifier().score(request).await.unwrap().into_inner();
        let rewards: Vec<f32> = reply.rewards.iter().map(|reward| reward.reward).collect();
        assert!(largest_difference(&rewards, &case.rewards) <= TOLERANCE, "{rewards:?} {case:?}");

        let request = v1::CompareRequest {
            task: "hh-rlhf".to_owned(),
            prompt: case.prompt.clone(),
            answers: case.answers.clone(),
            prompt_template: case.prompt_template.clone(),
            ..v1::CompareRequest::default()
        };
        let reply = server.classifier().compare(request).await.unwrap().into_inner();
        let best = (0..rewards.len()).max_by(|one, other| case.rewards[*one].total_cmp(&case.rewards[*other]));
        assert_eq!(Some(reply.ranking[0].index as usize), best);
        for (row, of_row) in reply.preferences.iter().zip(&case.rewards) {
            let sigmoid = |other: &f32| 1.0 / (1.0 + (other - of_row).exp());
            let expected: Vec<f32> = case.rewards.iter().map(sigmoid).collect();
            assert!(largest_difference(&row.probabilities, &expected) <= TOLERANCE, "{row:?} {case:?}");
        }
    }
}

#[derive(Debug, Deserialize)]
struct Windowed {
    checkpoint: String,
    text: Option<String>,
    text_pair: Option<String>,
    #[serde(default)]
    choices: Vec<String>,
    #[serde(default)]
    tokens: Vec<String>,
    /// For each text that the head reads, the ids of its windows.
    ids: Vec<Vec<Vec<u32>>>,
    /// Combined over the windows of each text.
    #[serde(default)]
    mean: Vec<f32>,
    #[serde(default)]
    max: Vec<f32>,
    /// Of every token of the text once, special tokens at both ends.
    #[serde(default)]
    logits: Vec<f32>,
}

impl Windowed {
    fn request(&self, task: &str, aggregation: v1::Aggregation) -> v1::ClassifyRequest {
        let input = v1::Input {
            text: self.text.clone().unwrap_or_default(),
            text_pair: self.text_pair.clone(),
            choices: self.choices.clone(),
            tokens: self.tokens.clone(),
        };
        let options = v1::ClassifyOptions {
            logits: true,
            truncation: v1::Truncation::Windows.into(),
            aggregation: aggregation.into(),
            spans: v1::SpanGrouping::Words.into(),
            ..v1::ClassifyOptions::default()
        };
        let (task, options) = (task.to_owned(), Some(options));
        v1::ClassifyRequest { task, inputs: vec![input], options, ..v1::ClassifyRequest::default() }
    }
}

/// Logits in the order of labels or choices.
fn logits(answer: &Answer) -> Vec<f32> {
    let mut indexed: Vec<(u32, Option<f32>)> = match answer {
        Answer::Classification(result) => result.labels.iter().map(|label| (label.index, label.logit)).collect(),
        Answer::MultiLabel(result) => result.labels.iter().map(|label| (label.index, label.logit)).collect(),
        Answer::Choices(result) => result.choices.iter().map(|choice| (choice.index, choice.logit)).collect(),
        Answer::Value(result) => vec![(0, Some(result.value))],
        Answer::Spans(result) => return result.tokens.iter().flat_map(|token| token.logits.clone()).collect(),
    };
    indexed.sort_by_key(|(index, _)| *index);
    indexed.into_iter().map(|(_, logit)| logit.unwrap()).collect()
}

#[tokio::test]
async fn windows_over_long_texts_are_those_of_the_reference_and_combine_as_asked() {
    let cases: Vec<Windowed> = golden("in-windows.json");
    for group in cases.chunk_by(|one, next| one.checkpoint == next.checkpoint) {
        let server = Served::import(&group[0].checkpoint).await;
        for case in group {
            let by_tokens = !case.logits.is_empty();
            let combined = if by_tokens {
                vec![(v1::Aggregation::Mean, &case.logits), (v1::Aggregation::Max, &case.logits)]
            } else {
                vec![(v1::Aggregation::Mean, &case.mean), (v1::Aggregation::Max, &case.max)]
            };
            for (aggregation, golden) in combined {
                let reply = server.classifier().classify(case.request(&server.task, aggregation)).await;
                let prediction = reply.unwrap().into_inner().predictions.remove(0);
                let usage = prediction.usage.unwrap();
                let rows: Vec<_> = case.ids.iter().flatten().collect();
                assert_eq!(usage.rows as usize, rows.len(), "{case:?}");
                assert_eq!(usage.tokens as usize, rows.iter().map(|ids| ids.len()).sum::<usize>());
                assert!(usage.cuts.is_empty(), "{usage:?}");
                let found = logits(prediction.result.as_ref().unwrap());
                let difference = largest_difference(&found, golden);
                assert!(difference <= TOLERANCE, "{aggregation:?} is off by {difference:.1e}: {case:?}");
                if let Some(Answer::Spans(result)) = prediction.result {
                    let words: Vec<_> = result.spans.iter().map(|span| span.word_start as usize).collect();
                    assert_eq!(words, (0..words.len()).collect::<Vec<_>>(), "every word once, in order");
                    assert!(case.tokens.is_empty() || words.len() == case.tokens.len());
                }
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Entities {
    text: Option<String>,
    #[serde(default)]
    tokens: Vec<String>,
    /// Label, score, first code point, end.
    spans: Vec<(String, f32, u32, u32)>,
}

#[tokio::test]
async fn entities_of_texts_and_of_words_are_those_of_the_reference() {
    let server = Served::import("c-token").await;
    for case in golden::<Entities>("entities.json") {
        let text = case.text.clone().unwrap_or_default();
        let input = v1::Input { text: text.clone(), tokens: case.tokens.clone(), ..v1::Input::default() };
        let request =
            v1::ClassifyRequest { task: server.task.clone(), inputs: vec![input], ..v1::ClassifyRequest::default() };
        let prediction = server.classifier().classify(request).await.unwrap().into_inner().predictions.remove(0);
        let Some(Answer::Spans(result)) = prediction.result else { panic!("{prediction:?}") };
        let joined = if case.tokens.is_empty() { text } else { case.tokens.join(" ") };
        let found: Vec<_> = result.spans.iter().map(|span| (span.label.clone(), span.start, span.end)).collect();
        let golden: Vec<_> = case.spans.iter().map(|(label, _, start, end)| (label.clone(), *start, *end)).collect();
        assert_eq!(found, golden, "{case:?}");
        for (span, (_, score, start, end)) in result.spans.iter().zip(&case.spans) {
            assert!((span.score - score).abs() <= TOLERANCE, "{span:?} {case:?}");
            let (start, end) = (*start as usize, *end as usize);
            let by_code_points: String = joined.chars().skip(start).take(end - start).collect();
            assert_eq!(span.text, by_code_points);
            assert_eq!(joined.get(span.start_byte as usize..span.end_byte as usize), Some(span.text.as_str()));
        }
    }
}
