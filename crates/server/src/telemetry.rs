//! What the process tells people: events on standard error, results on standard output.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// What the log says unless somebody asks for more or less.
const DEFAULT_LEVEL: &str = "info";

/// Changes what the log says while the process runs.
pub(crate) type SetFilter = Arc<dyn Fn(EnvFilter) + Send + Sync>;

/// Starts the log: plain lines on a terminal, one JSON object an event elsewhere. Text of callers is never logged.
pub(crate) fn start(filter: EnvFilter) -> SetFilter {
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A line that cannot be written is lost. Telling standard error so would panic, whoever was about to log.
    let log = log.log_internal_errors(false);
    // A handle outlives nothing that the process does, so setting a filter cannot fail.
    if std::io::stderr().is_terminal() {
        let log = log.compact().with_filter_reloading();
        let handle = log.reload_handle();
        log.init();
        Arc::new(move |filter| drop(handle.reload(filter)))
    } else {
        let log = log.json().flatten_event(true).with_filter_reloading();
        let handle = log.reload_handle();
        log.init();
        Arc::new(move |filter| drop(handle.reload(filter)))
    }
}

/// The level that `HEADWATER_LOG` sets, for commands without an option of their own.
pub(crate) fn filter_of_environment() -> EnvFilter {
    let text = std::env::var("HEADWATER_LOG").ok();
    text.and_then(|text| parse_filter(&text).ok()).unwrap_or_else(|| EnvFilter::new(DEFAULT_LEVEL))
}

/// Reads a level such as `debug`, or levels of parts such as `info,server=debug`.
pub(crate) fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    // A word that is no level would be taken for the name of a part, and everything else fall silent.
    let plain = text.split(',').map(str::trim).find(|part| !part.contains('=') && part.parse::<LevelFilter>().is_err());
    match plain {
        Some(word) => Err(format!("`{word}` is no level of the log: error, warn, info, debug or trace")),
        None => EnvFilter::try_new(text).map_err(|error| format!("`{text}` is no filter of the log: {error}")),
    }
}

/// The same for an option's value: as it was written, once it is known to be good.
pub(crate) fn checked(text: &str) -> Result<String, String> {
    parse_filter(text).map(|_| text.to_owned())
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
