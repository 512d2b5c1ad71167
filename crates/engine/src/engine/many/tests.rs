//! Many tasks about one input answer what each alone answers, on as few rows as the mode allows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::adapter::{Adapter, LowRank, Site};
use crate::engine::EngineParts;
use crate::head::{HeadKind, HeadParts};
use crate::limits::Limits;
use crate::live::LiveTask;
use crate::model::{Model, ModelError, ModelInfo};
use crate::task::{Alias, TenantName, Version};
use crate::testing::{CountingModel, WordTokenizer, small_limits};
use crate::worker::WorkerState;
use crate::{Ask, Truncation};

const HIDDEN: usize = 24;
/// Between logits in fp32 that were computed in batches of different rows.
const TOLERANCE: f32 = 1e-5;

async fn engine(rows: &Arc<AtomicUsize>) -> Engine {
    let rows = Arc::clone(rows);
    let engine = Engine::start(EngineParts {
        factory: Box::new(move || {
            let model = CountingModel::new("sha256:00".to_owned(), HIDDEN, Arc::clone(&rows));
            Ok(Box::new(model) as Box<dyn Model>)
        }),
        replicas: 1,
        tokenizer: Arc::new(WordTokenizer { max_tokens: 64 }),
        limits: small_limits(),
    })
    .unwrap();
    engine.worker_state().wait_for(|state| *state == WorkerState::Ready).await.unwrap();
    engine
}

fn key(task: &str) -> TaskKey {
    TaskKey { tenant: TenantName::default_tenant(), task: task.parse().unwrap() }
}

fn live() -> Selector {
    Selector::Alias(Alias::live())
}

fn publish(engine: &Engine, task: &str, kind: HeadKind, seed: usize) {
    let outputs =
        if matches!(kind, HeadKind::Regression | HeadKind::MultipleChoice | HeadKind::Reward) { 1 } else { 3 };
    let number = |index: usize| ((seed * 31 + index * 7) % 17) as f32 / 8.0 - 1.0;
    let parts = HeadParts {
        weight: (0..outputs * HIDDEN).map(number).collect(),
        bias: (0..outputs).map(number).collect(),
        task_embedding: Some((0..HIDDEN).map(|index| number(index + 3)).collect()),
        task_embedding_by_default: true,
        ..HeadParts::default()
    };
    publish_head(engine, task, Head::new(kind, HIDDEN, parts).unwrap());
}

fn publish_head(engine: &Engine, task: &str, head: Head) {
    let served = ServedHead {
        key: key(task),
        version: Version::FIRST,
        digest: format!("sha256:{task}"),
        encoder_digest: "sha256:00".to_owned(),
        forced: false,
        created_unix_seconds: 0,
        head: Arc::new(head),
    };
    engine.live().publish(LiveTask {
        key: key(task),
        versions: [(Version::FIRST, Arc::new(served))].into(),
        aliases: [(Alias::live(), Version::FIRST)].into(),
        traffic: None,
        retention: crate::Retention::default(),
        generation: 1,
    });
}

/// Forty tasks of every kind that reads a text alone.
fn publish_forty(engine: &Engine) -> Vec<String> {
    let kinds = [HeadKind::Classification, HeadKind::MultiLabel, HeadKind::Regression, HeadKind::TokenClassification];
    let tasks: Vec<String> = (0..40).map(|n| format!("task-{n}")).collect();
    for (seed, task) in tasks.iter().enumerate() {
        publish(engine, task, kinds[seed % kinds.len()], seed);
    }
    tasks
}

fn ask(tasks: &[String], mode: Mode) -> ManyAsk {
    ManyAsk {
        heads: tasks.iter().map(|task| (key(task), live())).collect(),
        input: Input { text: Some("a fine day".to_owned()), ..Input::default() },
        mode: Some(mode),
        reading: Reading::default(),
    }
}

/// Labels in order of rank, and logits.
fn ranked(prediction: &Prediction) -> (Vec<usize>, Vec<f32>) {
    match prediction {
        Prediction::Labels(scored)
        | Prediction::MultiLabel(scored)
        | Prediction::Choices(scored)
        | Prediction::Rewards(scored) => scored.iter().map(|scored| (scored.index, scored.logit)).unzip(),
        Prediction::Number(number) => (Vec::new(), vec![*number]),
        Prediction::Tokens(tokens) => (tokens.words.iter().map(|word| word.label).collect(), tokens.logits.clone()),
    }
}

async fn answers_like_each_alone(mode: Mode, distinct_rows: usize, computed_rows: usize) {
    let rows = Arc::default();
    let engine = engine(&rows).await;
    let tasks = publish_forty(&engine);
    let before = rows.load(Ordering::SeqCst);
    let many = engine.classify_many(ask(&tasks, mode)).await.unwrap();
    assert_eq!((many.spent.rows, rows.load(Ordering::SeqCst) - before), (distinct_rows, computed_rows));
    for (task, answer) in tasks.iter().zip(&many.tasks) {
        let answer = answer.as_ref().unwrap();
        let inputs = vec![Input::clone(&answer.input)];
        let alone = Ask { key: key(task), selector: live(), inputs, mode: Some(mode), reading: Reading::default() };
        let alone = engine.classify(alone).await.unwrap();
        assert_eq!((&answer.served.key, answer.mode, answer.rows), (&key(task), mode, 1));
        assert_eq!(answer.tokens_used, alone.inputs[0].tokens_used);
        let (labels, logits) = ranked(&answer.prediction);
        let (labels_alone, logits_alone) = ranked(&alone.inputs[0].prediction);
        assert_eq!(labels, labels_alone, "{task}");
        assert_eq!(logits.len(), logits_alone.len());
        assert!(logits.iter().zip(&logits_alone).all(|(one, other)| (one - other).abs() <= TOLERANCE), "{task}");
    }
}

#[tokio::test]
async fn in_shared_mode_one_row_answers_every_task() {
    answers_like_each_alone(Mode::Shared, 1, 1).await;
}

#[tokio::test]
async fn in_exact_mode_each_embedding_has_a_row_of_its_own() {
    // The tasks' embeddings repeat after 17 of them: rows of equal content at two addresses meet in the queue.
    answers_like_each_alone(Mode::Exact, 40, 17).await;
}

#[tokio::test]
async fn a_task_that_cannot_answer_fails_alone() {
    let engine = engine(&Arc::default()).await;
    publish(&engine, "mood", HeadKind::Classification, 1);
    publish(&engine, "ending", HeadKind::MultipleChoice, 2);
    let tasks = ["mood", "missing", "ending", "mood"].map(String::from);
    let many = engine.classify_many(ask(&tasks, Mode::Shared)).await.unwrap();
    assert!(many.tasks[0].is_ok() && many.tasks[0] == many.tasks[3]);
    assert_eq!(many.tasks[1], Err(EngineError::NotFound));
    let field = |result: &Result<TaskAnswer, EngineError>| match result {
        Err(EngineError::InvalidField { field, .. }) => field.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(&many.tasks[2]), "input.choices");
}

#[tokio::test]
async fn choices_are_rows_that_heads_of_a_kind_share() {
    let engine = engine(&Arc::default()).await;
    publish(&engine, "ending", HeadKind::MultipleChoice, 1);
    publish(&engine, "help", HeadKind::Reward, 2);
    publish(&engine, "other", HeadKind::MultipleChoice, 3);
    let mut ask = ask(&["ending", "help", "other"].map(String::from), Mode::Shared);
    ask.input.choices = ["one", "another", "a third"].map(String::from).to_vec();
    let many = engine.classify_many(ask).await.unwrap();
    assert_eq!(many.spent.rows, 3);
    for answer in &many.tasks {
        let answer = answer.as_ref().unwrap();
        assert_eq!((answer.rows, ranked(&answer.prediction).0.len()), (3, 3));
    }
}

#[tokio::test]
async fn what_concerns_all_fails_all() {
    let engine = engine(&Arc::default()).await;
    publish(&engine, "mood", HeadKind::Classification, 1);
    let nothing = engine.classify_many(ask(&[], Mode::Shared)).await;
    assert!(matches!(nothing, Err(EngineError::InvalidField { field, .. }) if field == "tasks"));
    let mut long = ask(&["mood".to_owned()], Mode::Shared);
    long.input.text = Some("x".repeat(small_limits().max_text_bytes + 1));
    assert!(matches!(engine.classify_many(long).await, Err(EngineError::OverLimit { .. })));
    let mut refused = ask(&["mood".to_owned()], Mode::Shared);
    refused.input.text = Some("word ".repeat(100));
    refused.reading.truncation = Truncation::Refuse;
    let many = engine.classify_many(refused).await.unwrap();
    assert!(matches!(&many.tasks[0], Err(EngineError::OverLimit { what, .. }) if what == "inputs[0] in tokens"));
}

#[tokio::test]
async fn one_output_is_scored_for_all_heads_at_once_and_after_a_change() {
    let engine = engine(&Arc::default()).await;
    publish(&engine, "mood", HeadKind::Classification, 1);
    let output = RowOutput { pooled: Some([0.5; HIDDEN].into()), ..RowOutput::default() };
    let head = |task: &str| Arc::clone(&engine.find(&key(task), &live()).unwrap().head);
    let mood = head("mood");
    let alone = crate::score(&mood, &output);
    assert_eq!(engine.score_all(std::slice::from_ref(&mood), &output), std::slice::from_ref(&alone));
    publish(&engine, "mood", HeadKind::Classification, 2);
    assert_eq!(engine.score_all(&[mood, head("mood")], &output), [alone, crate::score(&head("mood"), &output)]);
}

#[tokio::test]
async fn tasks_about_a_text_in_windows_answer_as_each_alone_and_share_its_rows() {
    let rows = Arc::default();
    let engine = engine(&rows).await;
    let tasks = [&publish_forty(&engine)[..], &["missing".to_owned()]].concat();
    let mut ask = ask(&tasks, Mode::Shared);
    ask.input.text = Some((0..150).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" "));
    ask.reading.truncation = Truncation::Windows(crate::Aggregation::Mean);
    let before = rows.load(Ordering::SeqCst);
    let many = engine.classify_many(ask.clone()).await.unwrap();
    assert_eq!(many.tasks[40], Err(EngineError::NotFound));
    let computed = rows.load(Ordering::SeqCst) - before;
    assert!(computed < 40 * 3, "{computed} rows were computed");
    for (task, answer) in tasks.iter().zip(&many.tasks).take(40) {
        let answer = answer.as_ref().unwrap();
        let inputs = vec![ask.input.clone()];
        let alone = Ask { key: key(task), selector: live(), inputs, mode: Some(Mode::Shared), reading: ask.reading };
        let alone = engine.classify(alone).await.unwrap();
        assert_eq!((answer.rows, answer.tokens_used), (3, alone.inputs[0].tokens_used));
        assert_eq!(ranked(&answer.prediction), ranked(&alone.inputs[0].prediction), "{task}");
    }
}

#[tokio::test]
async fn each_kind_reads_the_fields_it_has_a_use_for() {
    let engine = engine(&Arc::default()).await;
    publish(&engine, "mood", HeadKind::Classification, 1);
    publish(&engine, "ending", HeadKind::MultipleChoice, 2);
    publish(&engine, "names", HeadKind::TokenClassification, 3);
    let tasks = ["mood", "ending", "names"].map(String::from);
    let mut all = ask(&tasks, Mode::Exact);
    all.input.text_pair = Some("and another".to_owned());
    all.input.choices = ["one", "another"].map(String::from).to_vec();
    all.input.tokens = ["other", "words"].map(String::from).to_vec();
    let together = engine.classify_many(all.clone()).await.unwrap();
    let Input { text, text_pair, choices, tokens } = all.input;
    let read = [
        Input { text: text.clone(), text_pair, ..Input::default() },
        Input { text, choices, ..Input::default() },
        Input { tokens, ..Input::default() },
    ];
    for ((task, input), answer) in tasks.iter().zip(read).zip(&together.tasks) {
        let answer = answer.as_ref().unwrap();
        let inputs = vec![input.clone()];
        let alone =
            Ask { key: key(task), selector: live(), inputs, mode: Some(Mode::Exact), reading: Reading::default() };
        let alone = engine.classify(alone).await.unwrap();
        assert_eq!((&*answer.input, &answer.prediction), (&input, &alone.inputs[0].prediction), "{task}");
    }
}

#[tokio::test]
async fn more_tasks_or_rows_than_may_be_are_refused_with_the_limit() {
    let engine = engine(&Arc::default()).await;
    publish(&engine, "ending", HeadKind::MultipleChoice, 1);
    let limits = small_limits();
    let too_many = ask(&vec!["ending".to_owned(); limits.max_tasks + 1], Mode::Exact);
    let refused = engine.classify_many(too_many).await.unwrap_err();
    assert_eq!(refused, EngineError::OverLimit { what: "tasks".into(), limit: 1_000, actual: 1_001 });
    let tasks: Vec<String> = (0..100).map(|number| format!("ending-{number}")).collect();
    tasks.iter().enumerate().for_each(|(seed, task)| publish(&engine, task, HeadKind::MultipleChoice, seed));
    let mut wide = ask(&tasks, Mode::Exact);
    wide.input.choices = (0..limits.max_choices).map(|number| format!("choice {number}")).collect();
    let refused = engine.classify_many(wide).await.unwrap_err();
    let rows = EngineError::OverLimit { what: "rows of all tasks together".into(), limit: 4_096, actual: 6_400 };
    assert_eq!(refused, rows);
}

#[tokio::test]
async fn what_is_known_is_sent_before_what_is_not() {
    let limits = Limits { cache_bytes: 1 << 20, ..small_limits() };
    let (engine, gate) = gated(limits).await;
    let tasks = publish_forty(&engine);
    engine.classify_many(ask(&tasks[..1], Mode::Exact)).await.unwrap();
    gate.store(true, Ordering::SeqCst);
    let (sender, mut outcomes) = mpsc::channel(64);
    let names = ["task-1", "missing", "task-0"].map(String::from);
    let asking = async {
        let spent = engine.classify_each(ask(&names, Mode::Exact), &sender).await;
        drop(sender);
        spent.unwrap()
    };
    let receiving = async {
        let first = outcomes.recv().await.unwrap();
        assert_eq!((first.index, first.answer), (1, Err(EngineError::NotFound)));
        let second = outcomes.recv().await.unwrap();
        assert!(second.index == 2 && second.answer.is_ok(), "the cache has the row of task-0");
        assert!(outcomes.try_recv().is_err(), "the model is held back");
        gate.store(false, Ordering::SeqCst);
        let third = outcomes.recv().await.unwrap();
        assert!(third.index == 0 && third.answer.is_ok());
        assert!(outcomes.recv().await.is_none());
    };
    let (spent, ()) = tokio::join!(asking, receiving);
    assert_eq!(spent.rows, 2);
}

#[tokio::test]
async fn heads_with_an_adapter_share_rows_with_its_other_heads_alone() {
    let rows = Arc::default();
    let engine = engine(&rows).await;
    publish(&engine, "plain", HeadKind::Classification, 1);
    publish(&engine, "plain-too", HeadKind::Classification, 2);
    let part = LowRank::new(1, vec![0.5; HIDDEN].into(), vec![0.5; HIDDEN].into());
    let adapter = Arc::new(Adapter::new(HIDDEN, [((0, Site::Value), part)].into(), None).unwrap());
    for task in ["adapted", "adapted-too"] {
        let parts = HeadParts {
            weight: vec![0.25; 3 * HIDDEN].into(),
            bias: vec![0.0; 3].into(),
            adapter: Some(Arc::clone(&adapter)),
            ..HeadParts::default()
        };
        publish_head(&engine, task, Head::new(HeadKind::Classification, HIDDEN, parts).unwrap());
    }
    let tasks = ["plain", "adapted", "plain-too", "adapted-too"].map(str::to_owned);
    let before = rows.load(Ordering::SeqCst);
    let answer = engine.classify_many(ask(&tasks, Mode::Shared)).await.unwrap();
    assert!(answer.tasks.iter().all(Result::is_ok));
    assert_eq!((answer.spent.rows, rows.load(Ordering::SeqCst) - before), (2, 2));
}

/// An engine whose model waits while the flag is set.
async fn gated(limits: Limits) -> (Engine, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&gate);
    let engine = Engine::start(EngineParts {
        factory: Box::new(move || {
            let model = CountingModel::new("sha256:00".to_owned(), HIDDEN, Arc::default());
            Ok(Box::new(HeldModel { model, held: Arc::clone(&held) }) as Box<dyn Model>)
        }),
        replicas: 1,
        tokenizer: Arc::new(WordTokenizer { max_tokens: 64 }),
        limits,
    })
    .unwrap();
    engine.worker_state().wait_for(|state| *state == WorkerState::Ready).await.unwrap();
    (engine, gate)
}

struct HeldModel {
    model: CountingModel,
    held: Arc<AtomicBool>,
}

impl Model for HeldModel {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
        while self.held.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        self.model.forward(rows)
    }
}
