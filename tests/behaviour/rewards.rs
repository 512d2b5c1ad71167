//! Rewards of answers and rankings of them, under the head's template and under the caller's.

use api::v1;
use api::v1::prediction::Result as Answer;
use engine::{Head, HeadKind, HeadParts};
use tests::{HIDDEN, TestServer, head};
use tonic::{Code, Status};

use crate::asking::{ask, fields, input};
use crate::installing::{folder, install, messages};
use crate::updating::with_statistics;

/// A server with two more reward heads: `fixed`, whose prompt has no place, and `templated`, whose prompt has one.
async fn server() -> TestServer {
    let server = TestServer::start().await;
    for (task, prompt) in [("fixed", "Best answer:"), ("templated", "To {} one says")] {
        let plain = head(HeadKind::Reward, &[], 6);
        let parts = HeadParts { prompt: Some(prompt.to_owned()), ..plain.parts().clone() };
        let with_prompt = Head::new(HeadKind::Reward, HIDDEN, parts).unwrap();
        let folder = folder(&server, task, &with_prompt);
        install(&server, messages(v1::InstallHeader::default(), &folder)).await.unwrap();
    }
    server
}

fn pair(prompt: &str, answer: &str) -> v1::ScoreInput {
    v1::ScoreInput { prompt: prompt.to_owned(), answer: answer.to_owned() }
}

fn score(task: &str, inputs: Vec<v1::ScoreInput>) -> v1::ScoreRequest {
    v1::ScoreRequest { task: task.to_owned(), inputs, ..v1::ScoreRequest::default() }
}

fn compare(task: &str, prompt: &str, answers: &[&str]) -> v1::CompareRequest {
    v1::CompareRequest {
        task: task.to_owned(),
        prompt: prompt.to_owned(),
        answers: answers.iter().map(|&answer| answer.to_owned()).collect(),
        ..v1::CompareRequest::default()
    }
}

async fn rewards(server: &TestServer, request: v1::ScoreRequest) -> Vec<f32> {
    let reply = server.classifier().score(request).await.unwrap().into_inner();
    reply.rewards.into_iter().map(|reward| reward.reward).collect()
}

/// The number that Classify gives to the pair: the raw logit.
async fn value(server: &TestServer, text: &str, answer: &str) -> f32 {
    let answered = v1::Input { text_pair: Some(answer.into()), ..input(text) };
    let reply = server.classifier().classify(ask("help", vec![answered])).await.unwrap().into_inner();
    let Some(Answer::Value(value)) = reply.predictions[0].result else { panic!("{reply:?}") };
    value.value
}

#[tokio::test]
async fn a_reward_is_the_raw_logit_of_prompt_and_answer() {
    let server = server().await;
    let pairs = vec![pair("How?", "like this"), pair("Why?", "because"), pair("How?", "no")];
    let found = rewards(&server, score("help", pairs.clone())).await;
    for (reward, pair) in found.iter().zip(pairs) {
        assert!((reward - value(&server, &pair.prompt, &pair.answer).await).abs() < 1e-5);
    }
}

#[tokio::test]
async fn the_prompt_is_put_into_the_heads_template_or_into_the_callers() {
    let server = server().await;
    let cases = [
        ("fixed", "", None, "Best answer:"),
        ("templated", "how are you", None, "To how are you one says"),
        ("templated", "how are you", Some("Q {} A"), "Q how are you A"),
        ("fixed", "how are you", Some("{}"), "how are you"),
        ("help", "", Some("Constant:"), "Constant:"),
    ];
    for (task, prompt, template, text) in cases {
        let template = template.map(str::to_owned);
        let request =
            v1::ScoreRequest { prompt_template: template.clone(), ..score(task, vec![pair(prompt, "fine, thanks")]) };
        let expected = value(&server, text, "fine, thanks").await;
        assert!((rewards(&server, request).await[0] - expected).abs() < 1e-5, "{task} {text}");
        let request = v1::CompareRequest { prompt_template: template, ..compare(task, prompt, &["x", "fine, thanks"]) };
        let reply = server.classifier().compare(request).await.unwrap().into_inner();
        let ranked = reply.ranking.iter().find(|ranked| ranked.index == 1).unwrap();
        assert!((ranked.reward - expected).abs() < 1e-5, "{task} {text}");
    }
}

#[tokio::test]
async fn classify_takes_a_prompt_for_a_text_only_where_it_says_something_by_itself() {
    let server = server().await;
    let answers = || v1::Input { choices: ["x", "y"].map(str::to_owned).to_vec(), ..v1::Input::default() };
    assert!(server.classifier().classify(ask("fixed", vec![answers()])).await.is_ok());
    let status = server.classifier().classify(ask("templated", vec![answers()])).await.expect_err("no text");
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["inputs[0].text".to_owned()]));
}

#[tokio::test]
async fn a_comparison_ranks_answers_and_says_how_often_each_would_be_preferred() {
    let server = server().await;
    let answers = ["a short one", "quite another and longer one", "no", "a short one"];
    let reply = server.classifier().compare(compare("help", "How?", &answers)).await.unwrap().into_inner();
    let found = rewards(&server, score("help", answers.map(|answer| pair("How?", answer)).to_vec())).await;
    assert!(reply.ranking.is_sorted_by(|a, b| a.reward >= b.reward));
    assert!((reply.ranking.iter().map(|ranked| ranked.preference).sum::<f32>() - 1.0).abs() < 1e-6);
    for ranked in &reply.ranking {
        assert!((ranked.reward - found[ranked.index as usize]).abs() < 1e-5);
    }
    let place = |index: u32| reply.ranking.iter().position(|ranked| ranked.index == index);
    assert!(place(0) < place(3), "equal answers stay in the request's order");
    for (i, row) in reply.preferences.iter().enumerate() {
        assert_eq!(row.probabilities.len(), answers.len());
        assert_eq!(row.probabilities[i], 0.5);
        for (j, probability) in row.probabilities.iter().enumerate() {
            assert!((probability - 1.0 / (1.0 + (found[j] - found[i]).exp())).abs() < 1e-5);
            assert!((probability + reply.preferences[j].probabilities[i] - 1.0).abs() < 1e-6);
        }
    }
    assert_eq!(reply.usage.unwrap().rows, 4);
    assert_eq!(reply.served_by.unwrap().task, "help");
}

#[tokio::test]
async fn what_is_cut_is_said_in_the_bytes_of_the_callers_prompt() {
    let server = server().await;
    let long = "word ".repeat(100);
    let reply = server.classifier().score(score("templated", vec![pair(&long, "yes")])).await.unwrap().into_inner();
    let usage = reply.rewards[0].usage.clone().unwrap();
    assert_eq!((usage.rows, usage.tokens, usage.cuts.len()), (1, 64, 1));
    // `To` before the prompt, one word of the answer and three special tokens stay.
    assert_eq!((usage.cuts[0].field.as_str(), usage.cuts[0].kept_bytes), ("text", 59 * 5 - 1));
    let request = compare("help", "How?", &["yes", &long]);
    let usage = server.classifier().compare(request).await.unwrap().into_inner().usage.unwrap();
    assert_eq!((usage.cuts[0].row, usage.cuts[0].field.as_str()), (1, "choices[1]"));
}

#[tokio::test]
async fn what_cannot_be_judged_is_named_in_the_words_of_the_request() {
    let server = server().await;
    let fine = || pair("How?", "yes");
    let long = "x".repeat(65_537);
    let template = |template: &str, request: v1::ScoreRequest| v1::ScoreRequest {
        prompt_template: Some(template.to_owned()),
        ..request
    };
    let refused = |options: v1::ClassifyOptions| v1::ScoreRequest {
        options: Some(options),
        ..score("help", vec![fine(), pair("How?", &"word ".repeat(100))])
    };
    let refuse = v1::ClassifyOptions { truncation: v1::Truncation::Refuse.into(), ..v1::ClassifyOptions::default() };
    let cases = [
        (score("mood", vec![fine()]), "task"),
        (score("help", Vec::new()), "inputs"),
        (score("help", vec![fine(); 257]), "inputs"),
        (score("help", vec![fine(), pair("", "yes")]), "inputs[1].prompt"),
        (score("templated", vec![fine(), pair("", "yes")]), "inputs[1].prompt"),
        (score("fixed", vec![pair("", "yes"), fine()]), "inputs[1].prompt"),
        (score("help", vec![fine(), pair("How?", "")]), "inputs[1].answer"),
        (score("help", vec![fine(), pair("How?", &long)]), "inputs[1].answer"),
        (score("help", vec![fine(), pair(&long, "yes")]), "inputs[1].prompt"),
        (template("", score("help", vec![fine()])), "prompt_template"),
        (template(&"{}".repeat(9_000), score("help", vec![pair("eight by", "yes")])), "inputs[0].prompt"),
        (refused(refuse.clone()), "inputs[1].answer"),
    ];
    for (request, field) in cases {
        let status = server.classifier().score(request).await.expect_err(field);
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec![field.to_owned()]), "{status}");
    }
    let many = vec!["x"; 65];
    let options = Some(refuse);
    let cases = [
        (compare("mood", "How?", &["a", "b"]), "task"),
        (compare("help", "How?", &["a"]), "answers"),
        (compare("help", "How?", &many), "answers"),
        (compare("help", "How?", &["a", ""]), "answers[1]"),
        (compare("help", "", &["a", "b"]), "prompt"),
        (compare("fixed", "How?", &["a", "b"]), "prompt"),
        (v1::CompareRequest { options, ..compare("help", "How?", &["a", &"word ".repeat(100)]) }, "answers[1]"),
    ];
    for (request, field) in cases {
        let status: Status = server.classifier().compare(request).await.expect_err(field);
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec![field.to_owned()]), "{status}");
    }
}

#[tokio::test]
async fn a_reply_says_how_sure_the_ranking_is_and_how_far_the_pairs_lie() {
    let server = TestServer::start().await;
    let trusting = with_statistics(&head(HeadKind::Reward, &[], 6));
    install(&server, messages(v1::InstallHeader::default(), &folder(&server, "sure", &trusting))).await.unwrap();
    let answers = ["like this", "no"];
    let request = score("sure", answers.map(|answer| pair("How?", answer)).to_vec());
    let scored = server.classifier().score(request).await.unwrap().into_inner().rewards;
    let distances: Vec<f32> = scored.iter().map(|reward| reward.confidence.unwrap().ood_score.unwrap()).collect();
    assert!(scored.iter().all(|reward| reward.confidence.unwrap().margin.is_none()));
    let compared = server.classifier().compare(compare("sure", "How?", &answers)).await.unwrap().into_inner();
    let sure = compared.confidence.unwrap();
    assert!((sure.ood_score.unwrap() - (distances[0] + distances[1]) / 2.0).abs() < 1e-4);
    let shares: Vec<f32> = compared.ranking.iter().map(|ranked| ranked.preference).collect();
    assert!((sure.margin.unwrap() - (shares[0] - shares[1])).abs() < 1e-6);
    assert!((sure.entropy.unwrap() + shares.iter().map(|p| p * p.ln()).sum::<f32>()).abs() < 1e-6);
    assert_eq!((sure.calibrated, sure.abstain), (None, None));
    let question = v1::Input { choices: answers.map(str::to_owned).to_vec(), ..input("How?") };
    let classified = server.classifier().classify(ask("sure", vec![question])).await.unwrap().into_inner();
    let classified = classified.predictions[0].confidence.unwrap();
    assert!((classified.margin.unwrap() - sure.margin.unwrap()).abs() < 1e-6);
    // A head that has nothing to tell by says nothing.
    let plain = server.classifier().score(score("help", vec![pair("How?", "no")])).await.unwrap().into_inner();
    assert_eq!(plain.rewards[0].confidence, None);
}
