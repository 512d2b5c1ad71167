//! Behaviour across crates, without weights: a real server, real sockets and files, and a model that counts.

mod asking;
mod classifying;
mod deadlines;
mod draining;
mod health;
mod installing;
mod listing;
mod overload;
mod panics;
mod reflecting;
mod refusing;
mod streaming;
mod tidy;
mod tokenizing;
