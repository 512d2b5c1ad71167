//! What the process tells people: events on standard error, results on standard output.

use std::error::Error;
use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;

/// Starts the log: plain lines on a terminal, one JSON object an event elsewhere. `HEADWATER_LOG` sets the level
/// (default `info`). Text of callers is never logged.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("HEADWATER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::io::stderr().is_terminal() {
        log.compact().init();
    } else {
        log.json().flatten_event(true).init();
    }
}

/// Prints a result. A reader that has gone away is no failure.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Says why the process ends, with every cause.
pub(crate) fn say_failure(error: &(dyn Error + 'static)) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    let _ = writeln!(std::io::stderr(), "headwater-server: {text}");
}
