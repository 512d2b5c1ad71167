//! Why an ask has no answer.

use std::fmt;
use std::time::Duration;

use crate::allowance::Limited;
use crate::model::ModelError;
use crate::tokens::TokenizeError;

/// Where an ask was when its deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before or while its text became ids.
    Tokenize,
    /// Waiting for the worker.
    Queue,
    /// In a batch.
    Encode,
}

impl Stage {
    /// The stage's name in error details.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tokenize => "tokenize",
            Self::Queue => "queue",
            Self::Encode => "encode",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Rows in flight.
    Rows,
    /// Bytes of text in flight.
    Bytes,
    /// Memory of the device.
    DeviceMemory,
}

impl Resource {
    /// The resource's name in error details.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "in_flight_rows",
            Self::Bytes => "in_flight_bytes",
            Self::DeviceMemory => "device_memory",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an ask has no answer. Every variant is something the caller could act on, but for the last two.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No such task, version or alias for this tenant.
    #[error("no such task, version or alias")]
    NotFound,
    /// A field is missing, empty, or wrong for the head's kind.
    #[error("{field}: {reason}")]
    InvalidField {
        /// Path of the field in the ask, such as `inputs[2].text`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit that the ask can never meet as it is.
    #[error("{what}: {actual}, the limit is {limit}")]
    OverLimit {
        /// Path of the field or name of the measure.
        what: String,
        /// The limit.
        limit: usize,
        /// What was found.
        actual: usize,
    },
    /// Too much is in flight; a later try may succeed.
    #[error("too much is in flight ({0})")]
    Overloaded(Resource),
    /// The tenant uses what it may.
    #[error("the tenant's quota of {what} is used up")]
    OverQuota {
        /// Which part of the quota.
        what: Limited,
        /// When a try may succeed; `None` for never.
        retry: Option<Duration>,
    },
    /// The deadline passed.
    #[error("the deadline passed in stage {0}")]
    DeadlineExceeded(Stage),
    /// The worker is still loading the encoder.
    #[error("the encoder is still loading")]
    Starting,
    /// The engine takes no new asks.
    #[error("the server is draining")]
    Draining,
    /// The worker has been at one batch for too long.
    #[error("the encoder has been at one batch for far longer than batches take")]
    WorkerStuck,
    /// The worker gave up after repeated failures, or never came up.
    #[error("the inference worker is down")]
    WorkerDown,
    /// The head does not fit the encoder that is served.
    #[error("the head does not fit this encoder: {0}")]
    Misfit(String),
    /// The encoder has no such thing, such as derivatives.
    #[error("{0}")]
    Unsupported(String),
    /// The logits hold NaN or infinity.
    #[error("the logits are not finite")]
    NotFinite,
    /// A worker or the backend failed. Details are for the log.
    #[error("internal: {0}")]
    Internal(String),
}

impl EngineError {
    /// When to try again where rows of one's own are in the way.
    pub(crate) const RETRY_SOON: Duration = Duration::from_millis(100);
    /// The same, naming the input whose tokens are over the limit.
    pub(crate) fn of_input(self, index: usize) -> Self {
        let name = || format!("inputs[{index}]");
        self.of_fields(name, name)
    }

    /// The same, naming the field whose tokens are over the limit: that of the sequence, or that of its pair alone.
    pub(crate) fn of_fields(self, sequence: impl Fn() -> String, pair: impl Fn() -> String) -> Self {
        let Self::OverLimit { what, limit, actual } = self else { return self };
        let field = match what.as_str() {
            Self::TOKENS => sequence(),
            Self::PAIR_TOKENS => pair(),
            _ => return Self::OverLimit { what, limit, actual },
        };
        Self::OverLimit { what: format!("{field} in tokens"), limit, actual }
    }

    /// What is over the limit where a sequence is.
    pub(crate) const TOKENS: &str = "tokens";
    /// What is over the limit where a pair that may not be cut is.
    const PAIR_TOKENS: &str = "tokens of the pair";
}

impl From<ModelError> for EngineError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::RowMisfit { reason, .. } => Self::Misfit(reason),
            ModelError::OutOfMemory => Self::Overloaded(Resource::DeviceMemory),
            ModelError::NotFinite { .. } => Self::NotFinite,
            ModelError::Unsupported(reason) => Self::Unsupported(reason),
            ModelError::Load(reason) | ModelError::Backend(reason) => Self::Internal(reason),
        }
    }
}

impl From<TokenizeError> for EngineError {
    fn from(error: TokenizeError) -> Self {
        match error {
            TokenizeError::Refused(reason) => Self::Internal(reason),
            TokenizeError::NoRoom { .. } => {
                Self::InvalidField { field: "max_tokens".into(), reason: error.to_string() }
            }
            TokenizeError::PairTooLong { pair, limit } => {
                Self::OverLimit { what: Self::PAIR_TOKENS.into(), limit, actual: pair }
            }
        }
    }
}
