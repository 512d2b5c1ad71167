//! Questions with different numbers of choices in one call.

use api::v1;
use api::v1::prediction::Result as Answer;
use tests::TestServer;
use tonic::Code;

use crate::asking::{ask, fields, input};

fn question(number: usize, n_choices: usize) -> v1::Input {
    let choices = (0..n_choices).map(|choice| format!("choice {choice} {}", "of many ".repeat(choice % 3))).collect();
    v1::Input { choices, ..input(&format!("question {number}")) }
}

fn logits(prediction: &v1::Prediction) -> Vec<f32> {
    let Some(Answer::Choices(result)) = &prediction.result else { panic!("{prediction:?}") };
    assert!((result.choices.iter().map(|choice| choice.score).sum::<f32>() - 1.0).abs() < 1e-5);
    assert!(result.choices.is_sorted_by(|a, b| a.score >= b.score));
    let mut choices: Vec<_> = result.choices.iter().map(|choice| (choice.index, choice.logit.unwrap())).collect();
    choices.sort_by_key(|(index, _)| *index);
    choices.into_iter().map(|(_, logit)| logit).collect()
}

#[tokio::test]
async fn questions_of_different_widths_answer_together_as_alone() {
    let server = TestServer::start().await;
    let widths = [2, 64, 3, 5, 2, 17, 64];
    let questions: Vec<_> = widths.iter().enumerate().map(|(number, width)| question(number, *width)).collect();
    let options = Some(v1::ClassifyOptions { logits: true, ..v1::ClassifyOptions::default() });
    let answers = async |inputs: Vec<v1::Input>| {
        let request = v1::ClassifyRequest { options: options.clone(), ..ask("ending", inputs) };
        server.classifier().classify(request).await.unwrap().into_inner().predictions
    };
    let together = answers(questions.clone()).await;
    for ((prediction, question), width) in together.iter().zip(questions).zip(widths) {
        let found = logits(prediction);
        assert_eq!((found.len(), prediction.usage.as_ref().unwrap().rows as usize), (width, width));
        let alone = logits(&answers(vec![question]).await[0]);
        assert!(found.iter().zip(&alone).all(|(one, other)| (one - other).abs() < 1e-5));
    }
}

#[tokio::test]
async fn one_choice_and_one_too_many_are_refused() {
    let server = TestServer::start().await;
    for n_choices in [0, 1, 65] {
        let request = ask("ending", vec![question(0, 2), question(1, n_choices)]);
        let status = server.classifier().classify(request).await.expect_err("not a choice");
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["inputs[1].choices".to_owned()]));
    }
}
