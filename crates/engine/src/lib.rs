//! Takes a tenant, a task and a text and gives a prediction; owns what a head is.
//!
//! The modules stand in the order in which a request meets them: its words ([`TaskKey`], [`Head`]), what is served
//! ([`LiveTable`]), what is asked ([`Ask`]), rows and the model that reads them, the queue and the worker between, and
//! the way from scores to an answer. [`Engine`] is the whole path as calls.

mod task;
mod quota;
mod adapter;
mod head;
mod trust;
mod traffic;
mod retention;
mod fit_record;
mod golden;
mod live;
mod ask;
mod tokens;
mod truncation;
mod offsets;
mod rows;
mod model;
mod row_key;
mod cache;
mod limits;
mod bucket;
mod allowance;
mod admission;
mod shares;
mod batch;
mod turns;
mod pace;
mod line;
mod batcher;
mod worker;
mod scoring;
mod aggregation;
mod head_matrix;
mod ood;
mod similarity;
mod prediction;
mod spans;
mod shadow;
mod counters;
mod error;
mod engine;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
#[cfg(feature = "models")]
mod models;

pub use adapter::{
    Adapter, AdapterError, LowRank, MAX_ADAPTER_LAYERS, MAX_ADAPTER_NUMBERS, MAX_ADAPTER_RANK, OwnPooler, Site,
};
pub use admission::Permit;
pub use allowance::{Limited, Use};
pub use ask::{Aggregation, Ask, Input, Mode, Priority, Reading, Truncation};
pub use counters::{Counter, Counters};
pub use engine::{
    Answer, Answered, Candidate, EmbedAsk, Embedded, Embedding, Engine, EngineParts, ManyAnswer, ManyAsk, RewardAnswer,
    RewardAsk, RewardInput, Rewarded, Spent, TaskAnswer, TaskOutcome, Timing, Tokenized, Vectors, ZeroShotAnswer,
    ZeroShotAnswered, ZeroShotAsk, ZeroShotInput, preferences, trial_input,
};
pub use error::{EngineError, Resource, Stage};
pub use fit_record::FitRecord;
pub use golden::{DEFAULT_TOLERANCE, Golden, MAX_GOLDENS};
pub use head::{About, Head, HeadError, HeadKind, HeadParts, MAX_LABEL_BYTES, MAX_LABELS};
pub use limits::Limits;
pub use live::{LiveTable, LiveTask, ServedHead};
pub use model::{Lesson, Lessons, Model, ModelError, ModelInfo, Reads, Row, RowOutput, Scores, Upstream, VectorKind};
pub use offsets::CodePoints;
pub use ood::{MIN_OOD_VECTORS, OOD_UNIT, OodError, OodStatistics};
pub use prediction::{Confidence, Prediction, Scored, softmax};
pub use quota::Quota;
pub use retention::Retention;
pub use scoring::score;
pub use shadow::{LiveTraffic, TrafficCounts, judges_alike};
pub use shares::{Lane, Shares};
pub use similarity::{HeadDirections, LabelSet, MAX_COMPARED_ROWS, cosine};
pub use spans::{Span, TokenPrediction, WordLabel};
pub use task::{
    Alias, LIVE, MAX_SHORT_NAME_BYTES, MAX_TASK_NAME_BYTES, NameError, Selector, TaskKey, TaskName, TenantName, Version,
};
pub use tokens::{Cut, Origin, Text, TokenizeError, TokenizeRequest, Tokenizer, Tokens, Window};
pub use traffic::{Call, Canary, MAX_TRAFFIC_KEY_BYTES, Shadow, Share, Split, Traffic};
pub use truncation::{Fit, Kept, Side, Strategy, overlap, windows};
pub use trust::{Trust, TrustError};
pub use worker::{ModelFactory, WorkerState};
