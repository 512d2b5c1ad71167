//! Takes a tenant, a task and a text and gives a prediction; owns what a head is.
//!
//! The modules stand in the order in which a request meets them.

mod task;
mod head;
mod tokens;
mod model;

pub use head::{About, Head, HeadError, HeadKind, HeadParts, MAX_LABEL_BYTES, MAX_LABELS};
pub use model::{Model, ModelError, ModelInfo, Row, RowOutput, Scores, VectorKind};
pub use task::{
    Alias, LIVE, MAX_SHORT_NAME_BYTES, MAX_TASK_NAME_BYTES, NameError, Selector, TaskKey, TaskName, TenantName, Version,
};
pub use tokens::{Cut, Origin, Text, TokenizeError, TokenizeRequest, Tokenizer, Tokens, code_points};
