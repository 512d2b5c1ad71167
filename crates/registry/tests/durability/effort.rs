//! How much is tried: the core of each test, or all of it where there is time.

use std::env;
use std::sync::LazyLock;

/// Set by `make torture`.
const VARIABLE: &str = "HEADWATER_TORTURE";

static ALL: LazyLock<bool> = LazyLock::new(|| env::var_os(VARIABLE).is_some());

/// `core` in an ordinary run, `all` under `make torture`.
pub(crate) fn effort<T>(core: T, all: T) -> T {
    if *ALL { all } else { core }
}

/// Of the points of a series, an ordinary run tries one in so many.
pub(crate) fn stride() -> usize {
    effort(2, 1)
}

/// One line on what was tried and found, for the table of `make torture`.
pub(crate) fn found(what: &str) {
    println!("found: {what}");
}
