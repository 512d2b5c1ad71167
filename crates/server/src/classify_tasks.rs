//! ClassifyTasks and its stream: one input, many tasks, each with its own outcome.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api::v1;
use engine::{Alias, EngineError, ManyAsk, Mode, Reading, Selector, TaskAnswer, TaskKey};
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use crate::caller::Caller;
use crate::catalog::Filter;
use crate::from_proto::Wanted;
use crate::serving::Serving;
use crate::view::View;
use crate::{from_proto, status, to_proto};

/// Outcomes that wait for a slow reader; the heads wait with them.
const MAX_WAITING: usize = 64;

type Responses = mpsc::Sender<Result<v1::ClassifyTasksStreamResponse, Status>>;

/// A request as the engine takes it. Outcomes have the order of `names`.
#[derive(Debug)]
struct Question {
    names: Vec<String>,
    /// What can be asked of each name; a name that cannot be one is its outcome's error.
    references: Vec<Result<(TaskKey, Selector), Status>>,
    input: engine::Input,
    mode: Mode,
    reading: Reading,
    wanted: Wanted,
}

/// The outcomes of all tasks, in the request's order.
pub(crate) async fn answer(
    serving: &Serving,
    request: v1::ClassifyTasksRequest,
    of_call: (Option<Instant>, &Caller),
) -> Result<v1::ClassifyTasksResponse, Status> {
    let received = Instant::now();
    let (question, mode, wanted) = Question::parse(serving, request, of_call)?.into_parts();
    let Asked { names, mut outcomes, ask, places } = question;
    let (mut rows, mut timing) = (0, engine::Timing::default());
    // The permit of the answer is held until all of it has become messages.
    let _answer = match ask {
        None => None,
        Some(ask) => {
            let mut answer = serving.engine().classify_many(ask).await.map_err(refused)?;
            (rows, timing) = (answer.spent.rows, answer.spent.timing);
            for (place, result) in places.into_iter().zip(std::mem::take(&mut answer.tasks)) {
                if let (Some(outcome), Some(name)) = (outcomes.get_mut(place), names.get(place)) {
                    *outcome = Some(task_outcome(name, result, wanted));
                }
            }
            Some(answer)
        }
    };
    Ok(v1::ClassifyTasksResponse {
        outcomes: outcomes.into_iter().flatten().collect(),
        mode: to_proto::mode(mode).into(),
        timings: Some(to_proto::timings(std::iter::once(timing), received)),
        mode_meaning: meaning(mode).to_owned(),
        rows: rows as u32,
    })
}

/// Sends each outcome as soon as it is known, from a task of its own. The work ends when everything is sent, when the
/// client goes away, or when something concerns all tasks, which ends the stream.
pub(crate) fn start(
    serving: Arc<Serving>,
    request: v1::ClassifyTasksRequest,
    of_call: (Option<Instant>, &Caller),
) -> Result<mpsc::Receiver<Result<v1::ClassifyTasksStreamResponse, Status>>, Status> {
    let received = Instant::now();
    let question = Question::parse(&serving, request, of_call)?;
    let (responses, receiver) = mpsc::channel(MAX_WAITING);
    tokio::spawn(async move {
        let gone = responses.clone();
        // A panic must not look like the end of the outcomes.
        let contained = AssertUnwindSafe(send_all(&serving, question, received, responses)).catch_unwind();
        tokio::select! {
            sent = contained => if sent.is_err() {
                let _ = gone.send(Err(status::internal("internal error", "answering many tasks panicked"))).await;
            },
            () = gone.closed() => {}
        }
    });
    Ok(receiver)
}

async fn send_all(serving: &Serving, question: Question, received: Instant, responses: Responses) {
    let (asked, _, wanted) = question.into_parts();
    let Asked { names, outcomes, ask, places } = asked;
    let total = names.len() as u32;
    let response = |outcome: v1::TaskOutcome, timing: engine::Timing| v1::ClassifyTasksStreamResponse {
        outcome: Some(outcome),
        total,
        timings: Some(to_proto::timings(std::iter::once(timing), received)),
    };
    for outcome in outcomes.into_iter().flatten() {
        if responses.send(Ok(response(outcome, engine::Timing::default()))).await.is_err() {
            return;
        }
    }
    let Some(ask) = ask else { return };
    let (sender, mut arrived) = mpsc::channel(MAX_WAITING);
    let asking = async {
        let ended = serving.engine().classify_each(ask, &sender).await;
        drop(sender);
        ended
    };
    let passing_on = async {
        while let Some(outcome) = arrived.recv().await {
            let name = places.get(outcome.index).and_then(|place| names.get(*place)).map_or("", String::as_str);
            let message = task_outcome(name, outcome.answer, wanted);
            if responses.send(Ok(response(message, outcome.timing))).await.is_err() {
                return;
            }
        }
    };
    let (ended, ()) = tokio::join!(asking, passing_on);
    if let Err(error) = ended {
        // A client that has gone away reads no refusal.
        let _ = responses.send(Err(refused(error))).await;
    }
}

/// A question taken apart: what is known already, and what the engine is asked.
#[derive(Debug)]
struct Asked {
    names: Vec<String>,
    /// Outcomes that need no engine, at their places.
    outcomes: Vec<Option<v1::TaskOutcome>>,
    /// `None` where no task is left to be asked.
    ask: Option<ManyAsk>,
    /// The place of each task of the ask.
    places: Vec<usize>,
}

impl Question {
    fn parse(
        serving: &Serving,
        request: v1::ClassifyTasksRequest,
        (deadline, caller): (Option<Instant>, &Caller),
    ) -> Result<Self, Status> {
        let view = caller.view(serving.engine().live());
        let v1::ClassifyTasksRequest { input, tasks, selector, options } = request;
        let from_proto::Options { wanted, mode, reading } = from_proto::options(options.as_ref(), deadline, &view)?;
        let mode = mode.unwrap_or(Mode::Exact);
        let input = input.ok_or_else(|| status::invalid_field("input", "is missing"))?;
        if tasks.is_empty() && selector.is_none() {
            return Err(status::invalid_field("tasks", "tasks or a selector are needed"));
        }
        let limit = serving.engine().limits().max_tasks;
        over("tasks", tasks.len(), limit)?;
        let (mut names, mut references) = (Vec::new(), Vec::new());
        let mut known = HashSet::new();
        for (index, reference) in tasks.into_iter().enumerate() {
            let parsed = parse_reference(index, &reference, &view);
            let is_new = parsed.as_ref().map_or(true, |reference| known.insert(reference.clone()));
            if is_new {
                names.push(reference.task);
                references.push(parsed);
            }
        }
        if let Some(selector) = selector {
            let live = Selector::Alias(Alias::live());
            for key in selected(&view, selector)? {
                let reference = (key, live.clone());
                if known.insert(reference.clone()) {
                    names.push(reference.0.task.to_string());
                    references.push(Ok(reference));
                }
            }
            over("selector", names.len(), limit)?;
        }
        let (input, reading) = (from_proto::input(input), Reading { deadline, ..reading });
        Ok(Self { names, references, input, mode, reading, wanted })
    }

    fn into_parts(self) -> (Asked, Mode, Wanted) {
        let Self { names, references, input, mode, reading, wanted } = self;
        let mut outcomes = Vec::with_capacity(names.len());
        let (mut heads, mut places) = (Vec::new(), Vec::new());
        for (place, (name, reference)) in names.iter().zip(references).enumerate() {
            match reference {
                Ok(reference) => {
                    heads.push(reference);
                    places.push(place);
                    outcomes.push(None);
                }
                Err(refusal) => outcomes.push(Some(failed(name, &refusal))),
            }
        }
        let ask = (!heads.is_empty()).then_some(ManyAsk { heads, input, mode: Some(mode), reading });
        (Asked { names, outcomes, ask, places }, mode, wanted)
    }
}

fn parse_reference(
    index: usize,
    reference: &v1::TaskReference,
    view: &View<'_>,
) -> Result<(TaskKey, Selector), Status> {
    let key = view.key(&format!("tasks[{index}].task"), &reference.task)?;
    let version = reference.version.parse();
    let version = version.map_err(|error| status::of_name(&format!("tasks[{index}].version"), &error))?;
    Ok((key, version))
}

/// The tasks that meet the selector and have a live version, in order of name.
fn selected(view: &View<'_>, selector: v1::TaskSelector) -> Result<Vec<TaskKey>, Status> {
    let filter = Filter::parse(selector)?;
    let live = Selector::Alias(Alias::live());
    let tasks = view.tasks();
    let meets = |task: &&Arc<engine::LiveTask>| task.select(&live).is_some_and(|served| filter.accepts(task, &served));
    Ok(tasks.iter().filter(meets).map(|task| task.key.clone()).collect())
}

fn over(field: &str, found: usize, limit: usize) -> Result<(), Status> {
    if found <= limit {
        return Ok(());
    }
    Err(status::of_engine(EngineError::OverLimit { what: field.to_owned(), limit, actual: found }))
}

/// What concerns all tasks, or one; the request has a single input.
fn refused(error: EngineError) -> Status {
    status::of_engine(from_proto::with_single_input(error))
}

fn task_outcome(name: &str, result: Result<TaskAnswer, EngineError>, wanted: Wanted) -> v1::TaskOutcome {
    match result {
        Ok(answer) => v1::TaskOutcome {
            task: name.to_owned(),
            outcome: Some(v1::task_outcome::Outcome::Prediction(to_proto::prediction(
                &(&answer).into(),
                &answer.served.head,
                wanted,
            ))),
            served_by: Some(to_proto::served_by(&answer.served, answer.mode)),
        },
        Err(error) => failed(name, &refused(error)),
    }
}

fn failed(name: &str, refusal: &Status) -> v1::TaskOutcome {
    let error = v1::task_outcome::Outcome::Error(status::to_message(refusal));
    v1::TaskOutcome { task: name.to_owned(), outcome: Some(error), served_by: None }
}

fn meaning(mode: Mode) -> &'static str {
    match mode {
        Mode::Exact => {
            "exact: each task read the input with its own embedding, as in training and as a call to it alone"
        }
        Mode::Shared => {
            "shared: heads of a kind read the input once between them, without task embeddings; for heads trained with \
             one this is an approximation"
        }
    }
}
