//! Behaviour across crates, without weights: a real server, real sockets and files, and a model that counts.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod asking;
mod backing_up;
mod caching;
mod choosing;
mod classifying;
mod command_line;
mod command_line_asks;
mod command_line_many;
mod contract;
mod deadlines;
mod dividing;
mod draining;
mod evaluating;
mod evaluating_from_the_command_line;
mod finding;
mod fit_command;
mod fitting;
mod health;
mod installing;
mod installing_bundles;
mod listing;
mod many_tasks;
mod overload;
mod panics;
mod raw_calls;
mod reflecting;
mod refusing;
mod repeating;
mod retaining;
mod rolling_back;
mod replicas;
mod rewards;
mod streaming;
mod task_pages;
mod tidy;
mod tokenizing;
mod windows;
mod zero_shot;
mod updating;
