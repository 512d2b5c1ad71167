//! Messages to asks. Empty, oversized and malformed input ends here or in the engine's own checks.

use api::v1;
use engine::{
    Aggregation, Ask, Call, EmbedAsk, EngineError, HeadKind, Input, MAX_TRAFFIC_KEY_BYTES, Mode, NameError, Reading,
    Selector, TaskKey, TaskName, Truncation, VectorKind,
};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Status};

use crate::caller::Caller;
use crate::deadline::Deadline;
use crate::status::{invalid_field, of_name};
use crate::view::View;

/// The options of a call, as far as this side of the engine needs them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) logits: bool,
    pub(crate) top_k: Option<usize>,
    pub(crate) whole_words: bool,
}

/// What the options of a call say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) wanted: Wanted,
    pub(crate) mode: Option<Mode>,
    pub(crate) reading: Reading,
}

/// A task of the caller's own, to be changed.
pub(crate) fn task_key(field: &str, task: &str, caller: &Caller) -> Result<TaskKey, Status> {
    let task: TaskName = task.parse().map_err(|error: NameError| of_name(field, &error))?;
    Ok(TaskKey { tenant: caller.tenant().clone(), task })
}

/// A version number, an alias, or nothing for `live`.
pub(crate) fn selector(version: &str) -> Result<Selector, Status> {
    version.parse().map_err(|error: NameError| of_name("version", &error))
}

/// The header by which a call asks for the canary.
const CANARY_HEADER: &str = "headwater-canary";

/// As [`selector`], but a call that names no version is left to the task's traffic rule.
pub(crate) fn divided(key: &TaskKey, version: &str, traffic_key: &str) -> Result<Selector, Status> {
    if traffic_key.len() > MAX_TRAFFIC_KEY_BYTES {
        let reason = format!("{} bytes, the limit is {MAX_TRAFFIC_KEY_BYTES}", traffic_key.len());
        return Err(invalid_field("options.traffic_key", &reason));
    }
    match version {
        "" => Ok(Selector::Traffic(Call::new(&key.task, traffic_key, false))),
        version => selector(version),
    }
}

/// Whether a call carries the header `headwater-canary: 1`.
pub(crate) fn asks_for_canary(metadata: &MetadataMap) -> bool {
    metadata.get(CANARY_HEADER).is_some_and(|value| value == "1")
}

/// The selector of a call whose header says so.
pub(crate) fn with_header(selector: Selector, by_header: bool) -> Selector {
    match selector {
        Selector::Traffic(call) => Selector::Traffic(call.with_header(by_header)),
        Selector::Version(_) | Selector::Alias(_) => selector,
    }
}

/// The caller's deadline, if it has one.
pub(crate) fn deadline(extensions: &Extensions) -> Option<tokio::time::Instant> {
    extensions.get::<Deadline>().map(|deadline| deadline.0)
}

/// One task and its inputs.
pub(crate) fn classify(
    request: v1::ClassifyRequest,
    deadline: Option<tokio::time::Instant>,
    view: &View<'_>,
) -> Result<(Ask, Wanted), Status> {
    let Options { wanted, mode, reading } = options(request.options.as_ref(), deadline, view)?;
    let traffic_key = request.options.map_or_else(String::new, |options| options.traffic_key);
    let key = view.key("task", &request.task)?;
    let ask = Ask {
        selector: divided(&key, &request.version, &traffic_key)?,
        key,
        inputs: request.inputs.into_iter().map(input).collect(),
        mode,
        reading,
    };
    Ok((ask, wanted))
}

/// The options of a call to a head, which may combine windows.
pub(crate) fn options(
    options: Option<&v1::ClassifyOptions>,
    deadline: Option<tokio::time::Instant>,
    view: &View<'_>,
) -> Result<Options, Status> {
    let options = options.cloned().unwrap_or_default();
    let aggregation = match v1::Aggregation::try_from(options.aggregation) {
        Ok(v1::Aggregation::Unspecified | v1::Aggregation::Mean) => Aggregation::Mean,
        Ok(v1::Aggregation::Max) => Aggregation::Max,
        Err(_) => return Err(unknown_number("options.aggregation", options.aggregation)),
    };
    let truncation = match truncation("options.truncation", options.truncation)? {
        Truncation::Windows(_) => Truncation::Windows(aggregation),
        other @ (Truncation::Cut | Truncation::Refuse) => other,
    };
    let max_tokens = options.max_tokens.map(|tokens| tokens as usize);
    let reading = Reading { truncation, max_tokens, deadline, lane: Some(view.lane), ..Reading::default() };
    Ok(Options { wanted: wanted(&options)?, mode: mode(options.mode)?, reading })
}

/// The engine's complaint with its field named as a request with a single input names it.
pub(crate) fn with_single_input(mut error: EngineError) -> EngineError {
    if let EngineError::InvalidField { field: path, .. } | EngineError::OverLimit { what: path, .. } = &mut error
        && let Some(rest) = path.strip_prefix("inputs[0]").or_else(|| path.strip_prefix("inputs"))
    {
        *path = format!("input{rest}");
    }
    error
}

/// Texts whose vectors are wanted.
pub(crate) fn embed(
    request: v1::EmbedRequest,
    deadline: Option<tokio::time::Instant>,
    view: &View<'_>,
) -> Result<EmbedAsk, Status> {
    let task = match (request.task.as_str(), request.version.as_str()) {
        ("", "") => None,
        ("", _) => return Err(invalid_field("version", "a version without a task")),
        (task, version) => Some((view.key("task", task)?, selector(version)?)),
    };
    let kind = match v1::VectorKind::try_from(request.vector) {
        Ok(v1::VectorKind::Unspecified | v1::VectorKind::Pooled) => VectorKind::Pooled,
        Ok(v1::VectorKind::Cls) => VectorKind::Cls,
        Err(_) => return Err(unknown_number("vector", request.vector)),
    };
    Ok(EmbedAsk {
        inputs: request.inputs.into_iter().map(input).collect(),
        task,
        kind,
        reading: Reading { deadline, lane: Some(view.lane), ..reading(request.truncation, request.max_tokens)? },
    })
}

/// Inputs whose tokens are wanted.
pub(crate) fn tokenize(
    request: v1::TokenizeRequest,
    (deadline, caller): (Option<tokio::time::Instant>, &Caller),
) -> Result<(Vec<Input>, Reading), Status> {
    let lane = Some(caller.lane());
    let reading = Reading { deadline, lane, ..reading(request.truncation, request.max_tokens)? };
    Ok((request.inputs.into_iter().map(input).collect(), reading))
}

/// A kind of task.
pub(crate) fn kind(field: &str, number: i32) -> Result<HeadKind, Status> {
    match v1::TaskKind::try_from(number) {
        Ok(v1::TaskKind::Classification) => Ok(HeadKind::Classification),
        Ok(v1::TaskKind::MultiLabel) => Ok(HeadKind::MultiLabel),
        Ok(v1::TaskKind::Regression) => Ok(HeadKind::Regression),
        Ok(v1::TaskKind::MultipleChoice) => Ok(HeadKind::MultipleChoice),
        Ok(v1::TaskKind::TokenClassification) => Ok(HeadKind::TokenClassification),
        Ok(v1::TaskKind::Reward) => Ok(HeadKind::Reward),
        Ok(v1::TaskKind::Unspecified) | Err(_) => Err(unknown_number(field, number)),
    }
}

/// One input. An empty text is none.
pub(crate) fn input(input: v1::Input) -> Input {
    Input {
        text: (!input.text.is_empty()).then_some(input.text),
        text_pair: input.text_pair,
        choices: input.choices,
        tokens: input.tokens,
    }
}

/// What the reply is to hold.
pub(crate) fn wanted(options: &v1::ClassifyOptions) -> Result<Wanted, Status> {
    let whole_words = match v1::SpanGrouping::try_from(options.spans) {
        Ok(v1::SpanGrouping::Unspecified | v1::SpanGrouping::Entities) => false,
        Ok(v1::SpanGrouping::Words) => true,
        Err(_) => return Err(unknown_number("options.spans", options.spans)),
    };
    if options.top_k == Some(0) {
        return Err(invalid_field("options.top_k", "must be at least 1"));
    }
    Ok(Wanted { logits: options.logits, top_k: options.top_k.map(|k| k as usize), whole_words })
}

/// With or without task embeddings; `None` leaves it to the head.
pub(crate) fn mode(number: i32) -> Result<Option<Mode>, Status> {
    match v1::Mode::try_from(number) {
        Ok(v1::Mode::Unspecified) => Ok(None),
        Ok(v1::Mode::Exact) => Ok(Some(Mode::Exact)),
        Ok(v1::Mode::Shared) => Ok(Some(Mode::Shared)),
        Err(_) => Err(unknown_number("options.mode", number)),
    }
}

/// How texts are to be read that no head reads.
fn reading(truncation_number: i32, max_tokens: Option<u32>) -> Result<Reading, Status> {
    let truncation = truncation("truncation", truncation_number)?;
    if let Truncation::Windows(_) = truncation {
        return Err(invalid_field("truncation", "windows combine what a head makes of them: nothing here has a head"));
    }
    Ok(Reading { truncation, max_tokens: max_tokens.map(|tokens| tokens as usize), ..Reading::default() })
}

fn truncation(field: &str, number: i32) -> Result<Truncation, Status> {
    match v1::Truncation::try_from(number) {
        Ok(v1::Truncation::Unspecified | v1::Truncation::Cut) => Ok(Truncation::Cut),
        Ok(v1::Truncation::Refuse) => Ok(Truncation::Refuse),
        Ok(v1::Truncation::Windows) => Ok(Truncation::Windows(Aggregation::default())),
        Err(_) => Err(unknown_number(field, number)),
    }
}

/// An enum number that the contract does not have.
pub(crate) fn unknown_number(field: &str, number: i32) -> Status {
    invalid_field(field, &format!("{number} is not a value of this enum"))
}
