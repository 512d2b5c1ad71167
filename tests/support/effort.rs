//! How much is tried: the core of a test, or all of it where there is time.

use std::env;

/// `core` in an ordinary run, `all` under `make torture`.
#[must_use]
pub fn effort<T>(core: T, all: T) -> T {
    if env::var_os("HEADWATER_TORTURE").is_some() { all } else { core }
}

/// One line on what was tried and found, for the table of `make torture`.
#[expect(clippy::print_stdout, reason = "the table is made of what tests print")]
pub fn found(what: &str) {
    println!("found: {what}");
}
