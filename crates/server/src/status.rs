//! Errors to gRPC codes and details. The only place that chooses a code.
//!
//! UNAVAILABLE means retry the call; ABORTED, read again and retry; FAILED_PRECONDITION, do not retry before the state
//! is mended. No message holds a path, a credential, or another tenant's names, and text of the caller's is cut.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use engine::{EngineError, Limited, NameError};
use prost::Message;
use registry::RegistryError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::error;

const DOMAIN: &str = "headwater";
/// Text of the caller's travels in headers: no more of it than this.
const MAX_ECHO_BYTES: usize = 256;
/// How the transport says that the bytes of a call are not what they should be.
const CLIENT_FAULTS: [&str; 5] = [
    "failed to decode Protobuf message",
    "compressed-flag but no grpc-encoding",
    "invalid compression flag",
    "Unexpected EOF decoding stream",
    "Missing request message",
];
const RETRY_SOON: Duration = Duration::from_millis(100);
const RETRY_LATER: Duration = Duration::from_secs(1);

/// The status of an ask that has no answer.
pub(crate) fn of_engine(error: EngineError) -> Status {
    let message = error.to_string();
    match error {
        EngineError::NotFound => not_found("no such task, version or alias"),
        EngineError::InvalidField { field, reason } => invalid_field(&field, &reason),
        EngineError::OverLimit { limit, actual, what } => {
            let mut details = reason("OVER_LIMIT", [("limit", limit.to_string()), ("actual", actual.to_string())]);
            let field = [" in bytes", " in tokens", " in rows"].iter().find_map(|unit| what.strip_suffix(unit));
            details.add_bad_request_violation(field.unwrap_or(&what), &message);
            status(Code::InvalidArgument, &message, details)
        }
        EngineError::Overloaded(resource) => {
            let mut details = ErrorDetails::with_quota_failure_violation(resource.as_str(), &message);
            details.set_retry_info(Some(RETRY_SOON));
            status(Code::ResourceExhausted, &message, details)
        }
        EngineError::OverQuota { what, retry } => over_quota(what, &message, retry),
        EngineError::DeadlineExceeded(stage) => {
            let details = reason("DEADLINE_EXCEEDED", [("stage", stage.as_str().to_owned())]);
            status(Code::DeadlineExceeded, &message, details)
        }
        EngineError::Starting | EngineError::Draining | EngineError::WorkerStuck | EngineError::WorkerDown => {
            status(Code::Unavailable, &message, ErrorDetails::with_retry_info(Some(RETRY_LATER)))
        }
        EngineError::Misfit(_) => failed_precondition("HEAD_MISFIT", "head", &message),
        EngineError::Unsupported(_) => failed_precondition("UNSUPPORTED", "encoder", &message),
        EngineError::NotFinite => internal("the logits are not finite", "the logits are not finite"),
        EngineError::Internal(reason) => internal("internal error", &reason),
    }
}

/// The tenant uses what its quota lets it use; `retry` says when a try may go well.
pub(crate) fn over_quota(what: Limited, message: &str, retry: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_quota_failure_violation(what.as_str(), message);
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    status(Code::ResourceExhausted, message, details)
}

/// The status of a change, or a look at the registry, that failed.
pub(crate) fn of_registry(error: RegistryError) -> Status {
    crate::registry_status::of(error)
}

/// A name that cannot be one.
pub(crate) fn of_name(field: &str, error: &NameError) -> Status {
    invalid_field(field, &error.to_string())
}

/// One field is wrong.
pub(crate) fn invalid_field(field: &str, reason: &str) -> Status {
    let message = format!("{}: {}", echo(field), echo(reason));
    let details = ErrorDetails::with_bad_request_violation(echo(field), echo(reason));
    status(Code::InvalidArgument, &message, details)
}

/// Unknown here, or another tenant's: the bytes are the same.
pub(crate) fn not_found(message: &str) -> Status {
    status(Code::NotFound, message, reason("HEAD_NOT_FOUND", []))
}

/// The state must be mended first.
pub(crate) fn failed_precondition(kind: &str, subject: &str, message: &str) -> Status {
    let details = ErrorDetails::with_precondition_failure_violation(kind, subject, message);
    status(Code::FailedPrecondition, message, details)
}

/// No credential, or one that lets nobody in: which of them it was is not told.
pub(crate) fn unauthenticated() -> Status {
    Status::unauthenticated("a valid credential is needed: send authorization: Bearer and a token")
}

/// The credential is good, and not for this method.
pub(crate) fn permission_denied(scope: &str) -> Status {
    Status::permission_denied(format!("this method needs a credential with the scope {scope}"))
}

/// The caller takes itself for another tenant's.
pub(crate) fn other_tenant() -> Status {
    Status::permission_denied("the tenant follows from the credential, and headwater-tenant names another one")
}

/// A path that nobody answers at.
pub(crate) fn no_such_method() -> Status {
    Status::unimplemented("there is no such method")
}

/// A tenant or a token that is not there.
pub(crate) fn no_such(what: &str) -> Status {
    let details = reason(&format!("{}_NOT_FOUND", what.to_uppercase()), []);
    status(Code::NotFound, &format!("no such {what}"), details)
}

/// Our own fault: the details go to the log under an id that the caller gets.
pub(crate) fn internal(message: &str, reason: &str) -> Status {
    let request_id = format!("{:016x}", RandomState::new().build_hasher().finish());
    error!(%request_id, %reason, "internal error");
    let details = ErrorDetails::with_request_info(request_id.clone(), "");
    status(Code::Internal, &format!("{message} (request {request_id})"), details)
}

/// A request that is no gRPC call, or one whose messages are not protobuf.
pub(crate) fn not_grpc() -> Status {
    Status::unimplemented("only POST with content-type application/grpc is answered here")
}

/// A call that was not even well formed.
pub(crate) fn malformed_timeout() -> Status {
    invalid_field("grpc-timeout", "expected at most 8 digits and one of H, M, S, m, u, n")
}

/// The deadline passed while the call itself was still being read or answered.
pub(crate) fn deadline_exceeded() -> Status {
    let details = reason("DEADLINE_EXCEEDED", [("stage", "call".to_owned())]);
    status(Code::DeadlineExceeded, "the deadline passed", details)
}

/// More changes wait for the single writer than may.
pub(crate) fn too_many_changes() -> Status {
    let message = "too many changes wait for the registry";
    let mut details = ErrorDetails::with_quota_failure_violation("waiting_changes", message);
    details.set_retry_info(Some(RETRY_SOON));
    status(Code::ResourceExhausted, message, details)
}

/// Somebody moved the alias since the caller read it; 0 stands for no version.
pub(crate) fn alias_moved(alias: &str, expected: u64, actual: u64) -> Status {
    let words = |version: u64| if version == 0 { "nothing".to_owned() } else { format!("version {version}") };
    let message = format!("alias {alias} names {}, not {}", words(actual), words(expected));
    with_reason(Code::Aborted, &message, "ALIAS_MOVED", [("version", actual.to_string())])
}

/// Work of which there is so much at a time is under way already.
pub(crate) fn no_place(resource: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_quota_failure_violation(resource, message);
    details.set_retry_info(Some(RETRY_LATER));
    status(Code::ResourceExhausted, message, details)
}

/// Whether what was refused may go well later without a change of what was asked.
pub(crate) fn may_pass(refusal: &Status) -> bool {
    matches!(
        refusal.code(),
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted | Code::Internal
    )
}

/// A row that cannot be used, where such rows are not skipped.
pub(crate) fn bad_row(line: u64, field: &str, reason: &str) -> Status {
    let message = format!("row {line}: {}: {}", echo(field), echo(reason));
    let mut details = self::reason("BAD_ROW", [("line", line.to_string())]);
    details.add_bad_request_violation(echo(field), echo(reason));
    status(Code::InvalidArgument, &message, details)
}

/// Bytes that are not what their declaration says.
pub(crate) fn digest_mismatch(message: &str) -> Status {
    status(Code::DataLoss, message, reason("DIGEST_MISMATCH", []))
}

/// Any other code with a machine-readable reason.
pub(crate) fn with_reason<const N: usize>(
    code: Code,
    message: &str,
    name: &str,
    metadata: [(&str, String); N],
) -> Status {
    status(code, message, reason(name, metadata))
}

/// Corrects the codes that the transport chooses for faults of the client: a message over the limit, bytes that are no
/// message, and text that is not UTF-8 are INVALID_ARGUMENT. Only its words tell them from faults of our own.
pub(crate) fn correct_transport(transport: Status) -> Status {
    let words = transport.message();
    let is_fault = |fault: &&str| words.contains(*fault);
    if transport.code() == Code::OutOfRange
        && let Some((actual, limit)) = lengths(words)
    {
        let message = format!("the message has {actual} bytes, the limit is {limit}");
        return with_reason(Code::InvalidArgument, &message, "OVER_LIMIT", [("limit", limit), ("actual", actual)]);
    }
    if transport.code() == Code::Internal && CLIENT_FAULTS.iter().any(is_fault) {
        return invalid_field("message", words.trim_end_matches('.'));
    }
    transport
}

/// What was found and what is allowed, from `… found 5 bytes, the limit is: 4 bytes`.
fn lengths(words: &str) -> Option<(String, String)> {
    let (actual, limit) = words.split_once("length too large: found ")?.1.split_once(" bytes, the limit is: ")?;
    Some((actual.to_owned(), limit.trim_end_matches(" bytes").to_owned()))
}

/// The same status as a message, for rows that fail alone.
pub(crate) fn to_message(status: &Status) -> api::rpc::Status {
    match api::rpc::Status::decode(status.details()) {
        Ok(message) if message.code != 0 => message,
        _ => api::rpc::Status { code: status.code() as i32, message: status.message().to_owned(), details: Vec::new() },
    }
}

/// At most [`MAX_ECHO_BYTES`] of `text`.
pub(crate) fn echo(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_ECHO_BYTES)).unwrap_or_default()
}

fn status(code: Code, message: &str, details: ErrorDetails) -> Status {
    Status::with_error_details(code, echo(message), details)
}

fn reason<const N: usize>(name: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(name, DOMAIN, metadata)
}
