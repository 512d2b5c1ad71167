//! Why a command as a whole did not work, and the exit status that says so.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use tonic::{Code, Status, TimeoutExpired};

use crate::{INTERRUPTED, REFUSED, UNREACHABLE, USAGE};

/// Why a command did not work. Inputs that fail one by one are answers, not errors.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file named on the command line cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Results cannot be written.
    #[error("cannot write results: {0}")]
    Write(#[from] io::Error),
    /// Nothing answers at the address, or the connection broke.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// The address as given.
        address: String,
        /// The innermost cause.
        reason: String,
    },
    /// The caller has ended it. The text says what that means.
    #[error("{0}")]
    Interrupted(&'static str),
    /// The server refused the call.
    #[error("{}: {}", code_name(status.code()), status.message())]
    Refused {
        /// What it said.
        status: Box<Status>,
    },
}

impl CliError {
    /// Sorts a failed call: a status with a cause was made on this side, when the connection failed or the caller's
    /// own time was up.
    pub(crate) fn from_status(status: Status, address: &str) -> Self {
        let causes = || std::iter::successors(status.source(), |cause| (**cause).source());
        match status.source() {
            Some(_) if causes().any(|cause| cause.is::<TimeoutExpired>()) => {
                Self::Refused { status: Box::new(Status::deadline_exceeded("no answer within the time of --timeout")) }
            }
            Some(cause) => Self::unreachable(address, cause),
            None => Self::Refused { status: Box::new(status) },
        }
    }

    /// Names the innermost cause: the outer ones only say that something failed.
    pub(crate) fn unreachable(address: &str, error: &(dyn Error + 'static)) -> Self {
        let mut innermost = error;
        while let Some(cause) = innermost.source() {
            innermost = cause;
        }
        Self::Unreachable { address: address.to_owned(), reason: innermost.to_string() }
    }

    pub(crate) fn exit_status(&self) -> i32 {
        match self {
            Self::Usage(_) | Self::Read { .. } | Self::Save { .. } | Self::Write(_) => USAGE,
            Self::Unreachable { .. } => UNREACHABLE,
            Self::Refused { .. } => REFUSED,
            Self::Interrupted(_) => INTERRUPTED,
        }
    }
}

/// The name of a gRPC code as documents spell it, such as `NOT_FOUND`.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_and_a_broken_connection_have_their_own_exit_status() {
        let refused = CliError::from_status(Status::not_found("task \"x\" is unknown"), "http://here");
        assert_eq!(refused.exit_status(), REFUSED);
        assert_eq!(refused.to_string(), "NOT_FOUND: task \"x\" is unknown");
        let broken = Status::from_error(Box::new(io::Error::other("connection reset")));
        let unreachable = CliError::from_status(broken, "http://here");
        assert_eq!(unreachable.exit_status(), UNREACHABLE);
        assert_eq!(unreachable.to_string(), "cannot reach http://here: connection reset");
    }

    #[test]
    fn time_that_is_up_is_no_broken_connection() {
        let late = CliError::from_status(Status::from_error(Box::new(TimeoutExpired(()))), "http://here");
        assert_eq!(late.exit_status(), REFUSED);
        assert_eq!(late.to_string(), "DEADLINE_EXCEEDED: no answer within the time of --timeout");
    }
}
