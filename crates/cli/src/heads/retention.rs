//! `headwater heads retention`: which versions are kept without anybody naming them.

use api::v1::{Retention, SetRetentionRequest};
use clap::Args;
use serde_json::{Value, json};

use crate::config::Format;
use crate::error::CliError;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("rule").multiple(true).required(true))]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2.
    task: String,
    /// Keep so many of the newest versions.
    #[arg(long, value_name = "N", group = "rule")]
    keep_last: Option<u32>,
    /// Keep versions that are not older, such as 90m, 12h or 30d.
    #[arg(long, value_name = "TIME", value_parser = parse_age, group = "rule")]
    keep_for: Option<u64>,
    /// Keep every version.
    #[arg(long, group = "rule", conflicts_with_all = ["keep_last", "keep_for"])]
    keep_all: bool,
    /// Refuse if the task has changed since this generation.
    #[arg(long, value_name = "N")]
    expect_generation: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.heads().await?;
    let Arguments { task, keep_last, keep_for, keep_all, expect_generation } = arguments;
    let rule = Retention { keep_last, keep_for_seconds: keep_for };
    let request = SetRetentionRequest {
        task: task.clone(),
        retention: (!keep_all).then_some(rule),
        expected_generation: expect_generation,
    };
    let call = session.call(request);
    let reply = client.set_retention(call).await.map_err(|status| session.failed(status))?.into_inner();
    match session.printer.format() {
        Format::Json => session.printer.json(&json!({
            "task": task,
            "retention": fields(reply.retention.as_ref()),
            "deleted_versions": reply.deleted_versions,
            "generation": reply.generation,
        }))?,
        Format::Table => {
            let words = in_words(reply.retention.as_ref());
            session.printer.line(&format!("{task}: {words}; {} versions deleted", reply.deleted_versions.len()))?;
        }
    }
    Ok(Outcome::Done)
}

/// A rule as JSON; null where there is none.
pub(super) fn fields(rule: Option<&Retention>) -> Value {
    rule.map_or(Value::Null, |rule| json!({"keep_last": rule.keep_last, "keep_for_seconds": rule.keep_for_seconds}))
}

/// A rule for people.
pub(super) fn in_words(rule: Option<&Retention>) -> String {
    let Some(rule) = rule else { return "every version is kept".to_owned() };
    let last = rule.keep_last.map(|last| format!("the last {last} versions"));
    let age = rule.keep_for_seconds.map(|seconds| format!("those of the last {}", age_in_words(seconds)));
    let parts: Vec<_> = last.into_iter().chain(age).collect();
    format!("kept are {} and what an alias or the traffic rule names", parts.join(", "))
}

/// Seconds from a number and a unit.
fn parse_age(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        number.checked_mul(*seconds).filter(|seconds| *seconds > 0)
    });
    parsed.ok_or_else(|| "a whole number above 0 and one of s, m, h and d is needed".to_owned())
}

fn age_in_words(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60)];
    let unit = units.iter().find(|(_, length)| seconds.is_multiple_of(*length));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, length)| format!("{}{unit}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_read_as_it_is_written() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(parse_age(text), Ok(seconds));
            assert_eq!(age_in_words(seconds), text);
        }
        for bad in ["", "0d", "5", "-1h", "1w", "99999999999999999999d", "9999999999999999d"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }
}
