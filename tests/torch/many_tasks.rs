//! Every task of the starter over one text, on real weights: together they answer what each answers alone.

use std::collections::BTreeMap;

use api::v1;
use api::v1::prediction::Result as Answer;
use api::v1::task_outcome::Outcome;
use deberta::Kernels;

use crate::serving::starter;

/// Between logits in fp32 that were computed in batches of different rows.
const TOLERANCE: f32 = 1e-5;

/// What a task of this kind reads of the input of all.
fn read_by(kind: v1::TaskKind, input: &v1::Input) -> v1::Input {
    let takes_choices = matches!(kind, v1::TaskKind::MultipleChoice | v1::TaskKind::Reward);
    let choices = if takes_choices { input.choices.clone() } else { Vec::new() };
    v1::Input { text: input.text.clone(), choices, ..v1::Input::default() }
}

/// The answer's order, and its logits by label, choice or token.
fn answer(prediction: &v1::Prediction) -> (Vec<u32>, BTreeMap<u32, f32>) {
    match prediction.result.as_ref().unwrap() {
        Answer::Classification(result) => {
            let logits = result.labels.iter().map(|label| (label.index, label.logit.unwrap()));
            (result.labels.iter().map(|label| label.index).collect(), logits.collect())
        }
        Answer::MultiLabel(result) => {
            let logits = result.labels.iter().map(|label| (label.index, label.logit.unwrap()));
            let holding = result.labels.iter().filter(|label| label.above_threshold);
            (holding.map(|label| label.index).collect(), logits.collect())
        }
        Answer::Choices(result) => {
            let logits = result.choices.iter().map(|choice| (choice.index, choice.logit.unwrap()));
            (result.choices.iter().map(|choice| choice.index).collect(), logits.collect())
        }
        Answer::Value(result) => (Vec::new(), BTreeMap::from([(0, result.value)])),
        Answer::Spans(result) => {
            let logits = result.tokens.iter().flat_map(|token| &token.logits).copied();
            let spans = result.spans.iter().flat_map(|span| [span.start, span.end]);
            (spans.collect(), (0..).zip(logits).collect())
        }
    }
}

#[tokio::test]
async fn all_tasks_together_answer_what_each_answers_alone() {
    let server = starter(Kernels::Auto).await;
    let tasks = server.catalog().list_tasks(v1::ListTasksRequest::default()).await.unwrap().into_inner().tasks;
    assert_eq!(tasks.len(), 30);
    let kinds: BTreeMap<_, _> = tasks.iter().map(|task| (task.name.as_str(), task.kind())).collect();
    let input = v1::Input {
        text: "Angela Merkel cannot believe that they cancelled the match in Berlin again, but she laughed 😂"
            .to_owned(),
        choices: ["sad", "amused", "nothing"].map(String::from).to_vec(),
        ..v1::Input::default()
    };
    for mode in [v1::Mode::Exact, v1::Mode::Shared] {
        let options = v1::ClassifyOptions { logits: true, mode: mode.into(), ..v1::ClassifyOptions::default() };
        let request = v1::ClassifyTasksRequest {
            input: Some(input.clone()),
            selector: Some(v1::TaskSelector { glob: "*".to_owned(), ..v1::TaskSelector::default() }),
            options: Some(options.clone()),
            ..v1::ClassifyTasksRequest::default()
        };
        let together = server.classifier().classify_tasks(request).await.unwrap().into_inner();
        assert_eq!((together.outcomes.len(), together.mode()), (30, mode));
        // 27 tasks read the text; three read a row for each of three choices.
        assert_eq!(together.rows, if mode == v1::Mode::Exact { 27 + 3 * 3 } else { 1 + 3 });
        // Each embedding is a row of its own in exact mode; one row is like another in shared mode.
        let step = if mode == v1::Mode::Exact { 1 } else { 7 };
        for outcome in together.outcomes.iter().step_by(step) {
            let name = outcome.task.as_str();
            let Some(Outcome::Prediction(prediction)) = &outcome.outcome else { panic!("{outcome:?}") };
            let request = v1::ClassifyRequest {
                task: name.to_owned(),
                inputs: vec![read_by(kinds[name], &input)],
                options: Some(options.clone()),
                ..v1::ClassifyRequest::default()
            };
            let alone = server.classifier().classify(request).await.unwrap().into_inner();
            let ((order, logits), (order_alone, logits_alone)) = (answer(prediction), answer(&alone.predictions[0]));
            assert_eq!(order, order_alone, "{name}");
            assert_eq!(logits.len(), logits_alone.len(), "{name}");
            let near = logits.iter().all(|(index, logit)| (logit - logits_alone[index]).abs() <= TOLERANCE);
            assert!(near, "{name}: {logits:?} {logits_alone:?}");
            assert_eq!(outcome.served_by, alone.served_by);
        }
    }
}

#[tokio::test]
async fn a_text_of_another_kind_lies_farther_from_a_head_s_training_text() {
    let server = starter(Kernels::Auto).await;
    let score = async |task: &str, text: &str, mode: v1::Mode| {
        let request = v1::ClassifyRequest {
            task: task.to_owned(),
            inputs: vec![v1::Input { text: text.to_owned(), ..v1::Input::default() }],
            options: Some(v1::ClassifyOptions { mode: mode.into(), ..v1::ClassifyOptions::default() }),
            ..v1::ClassifyRequest::default()
        };
        let reply = server.classifier().classify(request).await.unwrap().into_inner();
        reply.predictions[0].confidence.unwrap_or_default().ood_score
    };
    let bank = "I ordered my card two weeks ago and it still has not arrived.";
    let game = "Germany beat Italy 2 - 1 in a World Cup qualifier in Rome on Saturday .";
    for (task, own, other) in [("banking77", bank, game), ("ag_news", game, bank), ("conll2003/ner_tags", game, bank)] {
        let own = score(task, own, v1::Mode::Exact).await.unwrap();
        let other = score(task, other, v1::Mode::Exact).await.unwrap();
        assert!(own < 1.0 && other > 1.0, "{task}: {own} {other}");
    }
    assert_eq!(score("banking77", game, v1::Mode::Shared).await, None, "the statistics are those of exact rows");
}
