//! The whole path as calls: classify, embed, tokenize, try a head, drain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tracing::error;

use crate::admission::{Admission, Permit};
use crate::ask::{Ask, Input, Mode, Reading, Truncation};
use crate::batch::Budget;
use crate::batcher::{Done, Entry, Queue};
use crate::counters::Counters;
use crate::error::{EngineError, Stage};
use crate::head::Head;
use crate::limits::Limits;
use crate::live::{LiveTable, ServedHead};
use crate::model::{ModelInfo, Row, VectorKind};
use crate::prediction::{Prediction, predict};
use crate::rows::{self, Sequence};
use crate::task::{Selector, TaskKey};
use crate::tokens::{Cut, Text, TokenizeRequest, Tokenizer, Tokens};
use crate::worker::{self, ModelFactory, WorkerParts, WorkerState};

/// What an engine is made of.
pub struct EngineParts {
    /// Builds the model on the worker's thread.
    pub factory: ModelFactory,
    /// The encoder's tokenizer.
    pub tokenizer: Arc<dyn Tokenizer>,
    /// Bounds on everything.
    pub limits: Limits,
}

impl std::fmt::Debug for EngineParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineParts").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Where the time of an answer went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Text to ids, with the wait for a tokenizer thread.
    pub tokenize: Duration,
    /// In line for the worker.
    pub queue: Duration,
    /// In the model, heads included: the time of the whole batch.
    pub encode: Duration,
    /// Logits to answer.
    pub head: Duration,
}

/// The answer to one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The answer in the head's kind.
    pub prediction: Prediction,
    /// Tokens of all its rows, special tokens included.
    pub tokens_used: usize,
    /// What was cut: the row's position among the input's rows, and where.
    pub cuts: Vec<(usize, Cut)>,
    /// Where the time went.
    pub timing: Timing,
}

/// The answers to an ask, in the order of its inputs.
#[derive(Debug)]
pub struct Answer {
    /// The version that answered, the same for every input.
    pub served: Arc<ServedHead>,
    /// With or without the task embedding.
    pub mode: Mode,
    /// One an input.
    pub inputs: Vec<Answered>,
    _permit: Permit,
}

/// A request for vectors.
#[derive(Debug, Clone)]
pub struct EmbedAsk {
    /// Texts, each with an optional second text.
    pub inputs: Vec<Input>,
    /// Whose task embedding the rows carry, if any.
    pub task: Option<(TaskKey, Selector)>,
    /// Which vector.
    pub kind: VectorKind,
    /// How the inputs are to be read.
    pub reading: Reading,
}

/// One vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// `[hidden]`.
    pub vector: Vec<f32>,
    /// Tokens of the row.
    pub tokens_used: usize,
    /// What was cut.
    pub cut: Option<Cut>,
    /// Where the time went.
    pub timing: Timing,
}

/// The vectors of an ask, in the order of its inputs.
#[derive(Debug)]
pub struct Embedding {
    /// The head whose task embedding the rows carried.
    pub served: Option<Arc<ServedHead>>,
    /// One an input.
    pub inputs: Vec<Embedded>,
    _permit: Permit,
}

/// One encoder, its queue, and the heads it serves.
pub struct Engine {
    tokenizer: Arc<dyn Tokenizer>,
    live: Arc<LiveTable>,
    limits: Limits,
    admission: Admission,
    tokenizing: Semaphore,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    state: watch::Receiver<WorkerState>,
    info: Arc<OnceLock<ModelInfo>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.limits).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the worker, which begins to load the encoder at once.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn start(parts: EngineParts) -> std::io::Result<Self> {
        let EngineParts { factory, tokenizer, limits } = parts;
        let counters = Arc::new(Counters::default());
        let budget = Budget { tokens: limits.batch_tokens, rows: limits.batch_rows };
        let queue = Arc::new(Queue::new(budget, Arc::clone(&counters)));
        let (state_sender, state) = watch::channel(WorkerState::Starting);
        let info = Arc::new(OnceLock::new());
        let worker = worker::spawn(WorkerParts {
            factory,
            tokenizer: Arc::clone(&tokenizer),
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            state: state_sender,
            info: Arc::clone(&info),
        })?;
        Ok(Self {
            tokenizer,
            live: Arc::default(),
            limits,
            admission: Admission::new(&limits),
            tokenizing: Semaphore::new(limits.tokenizer_threads),
            queue,
            counters,
            state,
            info,
            worker: Mutex::new(Some(worker)),
        })
    }

    /// What is served. Only the single writer of changes alters it.
    #[must_use]
    pub fn live(&self) -> &LiveTable {
        &self.live
    }

    /// How the worker is, now and from now on.
    #[must_use]
    pub fn worker_state(&self) -> watch::Receiver<WorkerState> {
        self.state.clone()
    }

    /// What the model says of itself, once it has been loaded.
    #[must_use]
    pub fn info(&self) -> Option<&ModelInfo> {
        self.info.get()
    }

    /// What the engine has counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The limits it was started with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Rows admitted and not yet answered.
    #[must_use]
    pub fn in_flight_rows(&self) -> usize {
        self.admission.in_flight_rows()
    }

    /// Rows in line for the worker.
    #[must_use]
    pub fn queued_rows(&self) -> usize {
        self.queue.len()
    }

    /// The vocabulary's piece for `id`.
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.piece(id)
    }

    /// The longest sequence this encoder is given, special tokens included.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.tokenizer.max_tokens()
    }

    /// Answers every input of `ask` with one version of one head, or none of them.
    ///
    /// # Errors
    /// [`EngineError`], for the first input that has no answer.
    pub async fn classify(&self, ask: Ask) -> Result<Answer, EngineError> {
        self.check_up()?;
        let served = self.find(&ask.key, &ask.selector)?;
        let mode = rows::mode(ask.mode, &served.head);
        let cost = rows::check(&ask, &served.head, &self.limits)?;
        let permit =
            self.admission.admit(cost.rows, cost.bytes).inspect_err(|_| self.counters.overloaded_asks.add(1))?;
        let head = Arc::clone(&served.head);
        let reading = ask.reading;
        let inputs = ask.inputs;
        let started = Instant::now();
        let (inputs, tokens) = self
            .tokenize_off_thread(reading, move |tokenizer, limit| {
                let tokens: Result<Vec<Vec<_>>, _> = inputs
                    .iter()
                    .map(|input| {
                        let sequences = rows::sequences(input, &head);
                        sequences.iter().map(|sequence| read(tokenizer, sequence, limit, reading)).collect()
                    })
                    .collect();
                tokens.map(|tokens| (inputs, tokens))
            })
            .await?;
        let tokenize = started.elapsed();
        let task_embedding = match mode {
            Mode::Exact => served.head.parts().task_embedding.clone(),
            Mode::Shared => None,
        };
        let row = |tokens: &Arc<Tokens>| Row {
            tokens: Arc::clone(tokens),
            task_embedding: task_embedding.clone(),
            heads: vec![Arc::clone(&served.head)],
            vector: None,
        };
        let done = self.run(tokens.iter().flatten().map(row).collect(), reading.deadline).await?;
        let mut done = done.into_iter();
        let answered = inputs
            .iter()
            .zip(tokens)
            .map(|(input, tokens)| {
                let rows: Vec<_> = tokens.into_iter().zip(done.by_ref()).collect();
                answer(&served.head, input, &rows, tokenize)
            })
            .collect();
        Ok(Answer { served, mode, inputs: answered, _permit: permit })
    }

    /// The vectors of texts.
    ///
    /// # Errors
    /// [`EngineError`], for the first input that has no vector.
    pub async fn embed(&self, ask: EmbedAsk) -> Result<Embedding, EngineError> {
        self.check_up()?;
        let served = match &ask.task {
            Some((key, selector)) => Some(self.find(key, selector)?),
            None => None,
        };
        let bytes = self.check_texts(&ask.inputs)?;
        let permit =
            self.admission.admit(ask.inputs.len(), bytes).inspect_err(|_| self.counters.overloaded_asks.add(1))?;
        let reading = ask.reading;
        let inputs = ask.inputs;
        let started = Instant::now();
        let tokens = self
            .tokenize_off_thread(reading, move |tokenizer, limit| {
                inputs.iter().map(|input| read(tokenizer, &plain(input), limit, reading)).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let tokenize = started.elapsed();
        let row = |tokens: &Arc<Tokens>| Row {
            tokens: Arc::clone(tokens),
            task_embedding: served.as_ref().and_then(|served| served.head.parts().task_embedding.clone()),
            heads: Vec::new(),
            vector: Some(ask.kind),
        };
        let done = self.run(tokens.iter().map(row).collect(), reading.deadline).await?;
        let inputs = tokens
            .into_iter()
            .zip(done)
            .map(|(tokens, done)| Embedded {
                vector: done.output.vector.unwrap_or_default(),
                tokens_used: tokens.len(),
                cut: tokens.cut,
                timing: Timing { tokenize, queue: done.queued, encode: done.encoded, head: Duration::ZERO },
            })
            .collect();
        Ok(Embedding { served, inputs, _permit: permit })
    }

    /// The tokens of texts, as an ask would read them.
    ///
    /// # Errors
    /// [`EngineError`], for the first input that has no tokens.
    pub async fn tokenize(&self, inputs: Vec<Input>, reading: Reading) -> Result<Vec<Arc<Tokens>>, EngineError> {
        let bytes = self.check_texts(&inputs)?;
        let _permit = self.admission.admit(inputs.len(), bytes)?;
        self.tokenize_off_thread(reading, move |tokenizer, limit| {
            inputs.iter().map(|input| read(tokenizer, &plain(input), limit, reading)).collect()
        })
        .await
    }

    /// Whether `head` can be served here: its widths, and one trial row through the encoder.
    ///
    /// # Errors
    /// [`EngineError::Misfit`] or [`EngineError::NotFinite`] where it cannot.
    pub async fn try_head(&self, head: Arc<Head>) -> Result<(), EngineError> {
        self.check_up()?;
        let info = self.info().ok_or(EngineError::Starting)?;
        let misfit = |what: &str, found: usize, wanted: usize| {
            EngineError::Misfit(format!("{what} is {found} wide, this encoder's is {wanted}"))
        };
        if head.hidden() != info.hidden {
            return Err(misfit("the weight", head.hidden(), info.hidden));
        }
        if let Some(embedding) = head.parts().task_embedding.as_ref().filter(|z| z.len() != info.embedding) {
            return Err(misfit("the task embedding", embedding.len(), info.embedding));
        }
        if !info.has_pooler && !head.kind().reads_tokens() {
            return Err(EngineError::Misfit(format!("a {} head needs a pooler, this encoder has none", head.kind())));
        }
        let reading = Reading::default();
        let input = Input { text: Some("A trial row.".to_owned()), ..Input::default() };
        let tokens = self
            .tokenize_off_thread(reading, move |tokenizer, limit| read(tokenizer, &plain(&input), limit, reading))
            .await?;
        let task_embedding = head.parts().task_embedding.clone();
        let row = Row { tokens, task_embedding, heads: vec![head], vector: None };
        self.run(vec![row], None).await.map(drop)
    }

    /// Takes no new asks from now on.
    pub fn begin_drain(&self) {
        self.admission.close();
    }

    /// Returns once every admitted ask has been answered and its reply has left.
    pub async fn drained(&self) {
        self.admission.idle().await;
    }

    /// Ends the worker once its queue is empty and waits for it, but no longer than until `deadline`. Whether it ended.
    pub async fn stop(&self, deadline: Instant) -> bool {
        self.admission.close();
        self.queue.close(EngineError::Draining);
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(worker) = worker else { return true };
        timeout_at(deadline, tokio::task::spawn_blocking(move || worker.join())).await.is_ok()
    }

    fn find(&self, key: &TaskKey, selector: &Selector) -> Result<Arc<ServedHead>, EngineError> {
        self.live.find(key).and_then(|task| task.select(selector)).ok_or(EngineError::NotFound)
    }

    fn check_up(&self) -> Result<(), EngineError> {
        match &*self.state.borrow() {
            // A worker that is rebuilt after a panic keeps its queue, so asks may wait for it.
            WorkerState::Starting if self.info.get().is_none() => Err(EngineError::Starting),
            WorkerState::Starting | WorkerState::Ready => Ok(()),
            WorkerState::Down(_) => Err(EngineError::WorkerDown),
        }
    }

    fn check_texts(&self, inputs: &[Input]) -> Result<usize, EngineError> {
        if inputs.is_empty() {
            let reason = "at least one input is needed".to_owned();
            return Err(EngineError::InvalidField { field: "inputs".into(), reason });
        }
        rows::over("inputs".into(), inputs.len(), self.limits.max_inputs)?;
        let mut bytes = 0;
        for (index, input) in inputs.iter().enumerate() {
            let refuse = |field: &str, reason: &str| {
                Err(EngineError::InvalidField { field: format!("inputs[{index}].{field}"), reason: reason.to_owned() })
            };
            if !input.choices.is_empty() {
                return refuse("choices", "only text and text_pair are read here");
            }
            let text = match (&input.text, input.tokens.is_empty()) {
                (Some(text), true) => text,
                (None, true) => return refuse("text", "text is needed"),
                (_, false) => return refuse("tokens", "only text and text_pair are read here"),
            };
            rows::check_text(format!("inputs[{index}].text"), text, &self.limits)?;
            bytes += text.len();
            if let Some(pair) = &input.text_pair {
                rows::check_text(format!("inputs[{index}].text_pair"), pair, &self.limits)?;
                bytes += pair.len();
            }
        }
        Ok(bytes)
    }

    /// Runs `job` on one of the few tokenizer threads, with the length limit that `reading` comes to.
    async fn tokenize_off_thread<T: Send + 'static>(
        &self,
        reading: Reading,
        job: impl FnOnce(&dyn Tokenizer, usize) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let limit = reading.max_tokens.unwrap_or(usize::MAX).min(self.tokenizer.max_tokens());
        let work = async {
            // The semaphore is never closed.
            let _thread = self.tokenizing.acquire().await;
            let tokenizer = Arc::clone(&self.tokenizer);
            tokio::task::spawn_blocking(move || job(tokenizer.as_ref(), limit)).await
        };
        let finished = match reading.deadline {
            Some(deadline) => {
                timeout_at(deadline, work).await.map_err(|_| EngineError::DeadlineExceeded(Stage::Tokenize))?
            }
            None => work.await,
        };
        finished.unwrap_or_else(|failure| {
            error!(%failure, "tokenizer thread failed");
            Err(EngineError::Internal("a tokenizer thread failed".to_owned()))
        })
    }

    /// Queues `rows` and waits for all of them, in order.
    async fn run(&self, rows: Vec<Row>, deadline: Option<Instant>) -> Result<Vec<Done>, EngineError> {
        let taken = Arc::new(AtomicBool::new(false));
        let queued_at = Instant::now();
        let (entries, replies): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .map(|row| {
                let (reply, receiver) = oneshot::channel();
                (Entry { row, reply, deadline, queued_at, taken: Arc::clone(&taken) }, receiver)
            })
            .unzip();
        self.queue.push(entries)?;
        let all = async {
            let mut done = Vec::with_capacity(replies.len());
            for reply in replies {
                // A dropped reply means that the worker panicked with the row in hand.
                let lost = || EngineError::Internal("the inference worker panicked".to_owned());
                done.push(reply.await.map_err(|_| lost())??);
            }
            Ok(done)
        };
        let Some(deadline) = deadline else { return all.await };
        timeout_at(deadline, all).await.unwrap_or_else(|_| {
            let stage = if taken.load(Ordering::Acquire) { Stage::Encode } else { Stage::Queue };
            Err(EngineError::DeadlineExceeded(stage))
        })
    }
}

fn plain(input: &Input) -> Sequence<'_> {
    let text = Text::Raw(input.text.as_deref().unwrap_or_default());
    Sequence { text, pair: input.text_pair.as_deref().map(Text::Raw) }
}

fn read(
    tokenizer: &dyn Tokenizer,
    sequence: &Sequence<'_>,
    limit: usize,
    reading: Reading,
) -> Result<Arc<Tokens>, EngineError> {
    let request = TokenizeRequest { text: sequence.text, pair: sequence.pair, max_tokens: limit };
    let tokens = tokenizer.tokenize(request)?;
    match (reading.truncation, tokens.cut) {
        (Truncation::Refuse, Some(cut)) => {
            Err(EngineError::OverLimit { what: "tokens".into(), limit, actual: cut.tokens_before })
        }
        (Truncation::Refuse, None) | (Truncation::Cut, _) => Ok(Arc::new(tokens)),
    }
}

fn answer(head: &Head, input: &Input, rows: &[(Arc<Tokens>, Done)], tokenize: Duration) -> Answered {
    let started = Instant::now();
    let prediction = predict(head, input, rows);
    let longest =
        |duration: fn(&Done) -> Duration| rows.iter().map(|(_, done)| duration(done)).max().unwrap_or_default();
    Answered {
        prediction,
        tokens_used: rows.iter().map(|(tokens, _)| tokens.len()).sum(),
        cuts: rows.iter().enumerate().filter_map(|(row, (tokens, _))| Some((row, tokens.cut?))).collect(),
        timing: Timing {
            tokenize,
            queue: longest(|done| done.queued),
            encode: longest(|done| done.encoded),
            head: started.elapsed(),
        },
    }
}
