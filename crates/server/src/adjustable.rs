//! What an operator may change while the server runs.

use std::time::Duration;

use engine::Limits;

/// Numbers that are looked up anew each time they are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjustable {
    /// The engine's limits. Those on asks and on what is in flight change at once, the others with the next start.
    pub limits: Limits,
    /// Connections at the same time; further ones wait.
    pub max_connections: usize,
    /// How long calls in flight may take to end once the server stops.
    pub drain: Duration,
    /// Bytes that a fit may hold in memory.
    pub fit_memory_bytes: usize,
}
