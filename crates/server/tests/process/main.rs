//! `headwater-server` as a process, on the starter: signals, files, the port, and what it says of itself.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod process;
mod calling;
mod starting;
mod stopping;
mod surviving;
mod reloading;
mod saying;
mod broken_heads;
mod jumping_clock;
