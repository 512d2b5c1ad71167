//! One model asked: an engine is started on it, every question put as a caller would, and the logits kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::{
    Alias, Ask, EmbedAsk, Engine, EngineError, EngineParts, Head, HeadKind, Input, Limits, LiveTask, ModelInfo,
    Prediction, Reading, RowOutput, Selector, ServedHead, TaskKey, TaskName, TenantName, VectorKind, Version,
    WorkerState,
};
use tokio::time::Instant;

use super::questions::{Question, Questions};

/// Inputs of one ask.
const INPUTS: usize = 64;
/// How long a worker that has nothing to do may take to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The logits of one model.
#[derive(Debug, Clone)]
pub struct Answers {
    pub(super) dtype: String,
    pub(super) device: String,
    /// One entry a task, as in the questions.
    pub(super) tasks: Vec<TaskAnswers>,
    /// Texts that all heads without rows of their own have read.
    pub(super) shared_rows: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct TaskAnswers {
    pub(super) rows: usize,
    /// One entry an input: a logit a label, a choice, or a token and label.
    pub(super) logits: Vec<Vec<f32>>,
    /// The same of the shared texts.
    pub(super) shared: Vec<Vec<f32>>,
}

/// Why a model gave no answers.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The system gave no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The encoder did not load, or its worker failed.
    #[error("the inference worker is down: {0}")]
    WorkerDown(String),
    /// An ask was refused.
    #[error("cannot ask {what}")]
    Refused {
        /// A task, or all heads.
        what: String,
        /// Why.
        source: EngineError,
    },
}

/// Limits that refuse nothing a file of rows would hold; the budgets of a batch are those of a server.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        max_inputs: INPUTS,
        max_tasks: 1,
        max_text_bytes: 1 << 24,
        max_choices: 1_024,
        max_candidate_labels: 1_024,
        max_in_flight_rows: 1 << 20,
        max_in_flight_bytes: 1 << 32,
        batch_tokens: 1_024,
        batch_rows: 128,
        tokenizer_threads: 2,
        cache_bytes: 0,
        background_permille: 5,
    }
}

/// Puts `questions` to the model of `parts`, which is gone again when this returns.
///
/// # Errors
/// [`AskError`] where the model does not load or an ask is refused.
pub async fn ask(parts: EngineParts, questions: &Questions) -> Result<Answers, AskError> {
    let engine = Engine::start(parts).map_err(AskError::Thread)?;
    let answers = ask_all(&engine, questions).await;
    engine.stop(Instant::now() + PATIENCE).await;
    answers
}

async fn ask_all(engine: &Engine, questions: &Questions) -> Result<Answers, AskError> {
    let info = loaded(engine).await?;
    let vectors = vectors(engine, &questions.shared).await;
    let vectors = vectors.map_err(|source| AskError::Refused { what: "for shared vectors".to_owned(), source })?;
    let mut tasks = Vec::with_capacity(questions.tasks.len());
    for question in &questions.tasks {
        publish_head(engine, &question.task, &question.head, &info);
        let answers = ask_task(engine, question, &vectors).await;
        tasks.push(answers.map_err(|source| AskError::Refused { what: question.task.to_string(), source })?);
    }
    Ok(Answers { dtype: info.dtype, device: info.device, tasks, shared_rows: vectors.len() })
}

/// What the model says of itself, once its worker has answered the warm-up row.
pub(crate) async fn loaded(engine: &Engine) -> Result<ModelInfo, AskError> {
    let lost = || AskError::WorkerDown("it ended while loading".to_owned());
    let mut state = engine.worker_state();
    let settled = state.wait_for(|state| *state != WorkerState::Starting).await.map_err(|_| lost())?.clone();
    match settled {
        WorkerState::Ready => engine.info().cloned().ok_or_else(lost),
        WorkerState::Down(reason) => Err(AskError::WorkerDown(reason)),
        WorkerState::Starting | WorkerState::Stuck => Err(lost()),
    }
}

fn key(task: &TaskName) -> TaskKey {
    TaskKey { tenant: TenantName::default_tenant(), task: task.clone() }
}

/// Serves `head` as the live version of `task`.
pub(crate) fn publish_head(engine: &Engine, task: &TaskName, head: &Arc<Head>, info: &ModelInfo) {
    let version = Version::new(1).expect("versions count from 1");
    let served = ServedHead {
        key: key(task),
        version,
        digest: String::new(),
        encoder_digest: info.encoder_digest.clone(),
        forced: false,
        created_unix_seconds: 0,
        head: Arc::clone(head),
    };
    engine.live().publish(LiveTask {
        key: key(task),
        versions: BTreeMap::from([(version, Arc::new(served))]),
        aliases: BTreeMap::from([(Alias::live(), version)]),
        traffic: None,
        retention: engine::Retention::default(),
        generation: 1,
    });
}

async fn ask_task(engine: &Engine, question: &Question, vectors: &[RowOutput]) -> Result<TaskAnswers, EngineError> {
    let mut answers = TaskAnswers::default();
    if question.is_asked_shared() {
        answers.shared = shared_logits(&question.head, vectors)?;
    }
    for inputs in question.inputs.chunks(INPUTS) {
        let ask = Ask {
            key: key(&question.task),
            selector: Selector::Alias(Alias::live()),
            inputs: inputs.to_vec(),
            mode: None,
            reading: reading(),
        };
        for answered in engine.classify(ask).await?.inputs {
            answers.rows += answered.rows;
            answers.logits.push(logits(answered.prediction, question.head.outputs()));
        }
    }
    Ok(answers)
}

async fn vectors(engine: &Engine, texts: &[Input]) -> Result<Vec<RowOutput>, EngineError> {
    let mut vectors = Vec::with_capacity(texts.len());
    for inputs in texts.chunks(INPUTS) {
        let ask = EmbedAsk { inputs: inputs.to_vec(), task: None, kind: VectorKind::Pooled, reading: reading() };
        let pooled = engine.embed(ask).await?.inputs.into_iter().map(|embedded| embedded.vector);
        vectors.extend(pooled.map(|pooled| RowOutput { pooled: Some(pooled), ..RowOutput::default() }));
    }
    Ok(vectors)
}

fn reading() -> Reading {
    Reading::default()
}

/// The logits in the order of labels or choices; of a token head those of tokens that stand for text.
fn logits(prediction: Prediction, outputs: usize) -> Vec<f32> {
    match prediction {
        Prediction::Labels(mut scored)
        | Prediction::MultiLabel(mut scored)
        | Prediction::Choices(mut scored)
        | Prediction::Rewards(mut scored) => {
            scored.sort_by_key(|scored| scored.index);
            scored.into_iter().map(|scored| scored.logit).collect()
        }
        Prediction::Number(number) => vec![number],
        Prediction::Tokens(tokens) => {
            let of_tokens = tokens.logits.chunks_exact(outputs).zip(&tokens.tokens.origins);
            of_tokens.filter(|(_, origin)| origin.is_some()).flat_map(|(logits, _)| logits).copied().collect()
        }
    }
}

/// What `head` makes of the shared vectors, an entry an answer. A head with one logit a row has a text and the next as
/// its two choices.
fn shared_logits(head: &Head, vectors: &[RowOutput]) -> Result<Vec<Vec<f32>>, EngineError> {
    let rows_of_an_answer = match head.kind() {
        HeadKind::MultipleChoice | HeadKind::Reward => 2,
        HeadKind::Classification | HeadKind::MultiLabel | HeadKind::Regression => 1,
        HeadKind::TokenClassification => return Ok(Vec::new()),
    };
    let answer = |rows: &[RowOutput]| {
        let scores = rows.iter().map(|row| Ok(engine::score(head, row)?.logits));
        scores.collect::<Result<Vec<_>, _>>().map(|logits| logits.concat())
    };
    vectors.chunks_exact(rows_of_an_answer).map(answer).collect()
}
