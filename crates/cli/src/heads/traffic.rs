//! `headwater heads traffic`: which share of a task's calls another version answers, and which one judges unseen.

use api::v1::{Canary, CanarySplit, SetTrafficRequest, Shadow, Traffic};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::config::Format;
use crate::error::CliError;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2.
    task: String,
    /// Version that answers a share of the calls.
    #[arg(long, value_name = "VERSION", required_unless_present_any = ["shadow", "clear"])]
    canary: Option<u64>,
    /// That share, 0 to 1.
    #[arg(long, requires = "canary", default_value_t = 0.05, value_name = "SHARE")]
    share: f64,
    /// How calls are assigned to it.
    #[arg(long, requires = "canary", value_enum, default_value_t = Split::Random)]
    split: Split,
    /// Version whose answers are compared and never sent.
    #[arg(long, value_name = "VERSION")]
    shadow: Option<u64>,
    /// Share of calls that it judges, 0 to 1 [default: all].
    #[arg(long, requires = "shadow", value_name = "SHARE")]
    shadow_share: Option<f64>,
    /// Send all calls to the live version again.
    #[arg(long, conflicts_with_all = ["canary", "shadow"])]
    clear: bool,
    /// Refuse if the task has changed since this generation.
    #[arg(long, value_name = "N")]
    expect_generation: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Split {
    /// Call by call.
    Random,
    /// By a stable hash of the call's traffic key.
    Key,
    /// Calls with the header headwater-canary: 1.
    Header,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.heads().await?;
    let split = match arguments.split {
        Split::Random => CanarySplit::Random,
        Split::Key => CanarySplit::Key,
        Split::Header => CanarySplit::Header,
    };
    let canary = arguments.canary.map(|version| Canary { version, share: arguments.share, split: split.into() });
    let shadow = arguments.shadow.map(|version| Shadow { version, share: arguments.shadow_share });
    let traffic = if arguments.clear { None } else { Some(Traffic { canary, shadow }) };
    let request =
        SetTrafficRequest { task: arguments.task.clone(), traffic, expected_generation: arguments.expect_generation };
    let reply = client.set_traffic(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let traffic = reply.traffic.unwrap_or_default();
    match session.printer.format() {
        Format::Json => {
            let mut line = fields(&traffic);
            line["task"] = json!(arguments.task);
            line["generation"] = json!(reply.generation);
            session.printer.json(&line)?;
        }
        Format::Table => session.printer.line(&format!("{}: {}", arguments.task, in_words(&traffic)))?,
    }
    Ok(Outcome::Done)
}

/// A rule as JSON.
pub(super) fn fields(traffic: &Traffic) -> Value {
    let canary = traffic
        .canary
        .as_ref()
        .map(|canary| json!({"version": canary.version, "share": canary.share, "split": split_name(canary.split())}));
    let shadow = traffic.shadow.map(|shadow| json!({"version": shadow.version, "share": shadow.share}));
    json!({"canary": canary, "shadow": shadow})
}

/// A rule for people.
pub(super) fn in_words(traffic: &Traffic) -> String {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let canary = traffic.canary.map(|canary| {
        let calls = match canary.split() {
            CanarySplit::Header => "calls with the header headwater-canary: 1".to_owned(),
            CanarySplit::Key => format!("{} of the keys", percent(canary.share)),
            CanarySplit::Random | CanarySplit::Unspecified => format!("{} of the calls", percent(canary.share)),
        };
        format!("version {} answers {calls}", canary.version)
    });
    let shadow = traffic.shadow.map(|shadow| {
        let calls =
            shadow.share.map_or_else(|| "all calls".to_owned(), |share| format!("{} of the calls", percent(share)));
        format!("version {} judges {calls} unseen", shadow.version)
    });
    let rules: Vec<String> = canary.into_iter().chain(shadow).collect();
    if rules.is_empty() { "live answers all calls".to_owned() } else { rules.join(", ") }
}

fn split_name(split: CanarySplit) -> &'static str {
    match split {
        CanarySplit::Random | CanarySplit::Unspecified => "random",
        CanarySplit::Key => "key",
        CanarySplit::Header => "header",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_a_sentence() {
        let canary = |split: CanarySplit| Some(Canary { version: 2, share: 0.05, split: split.into() });
        let shadow = Some(Shadow { version: 3, share: None });
        assert_eq!(in_words(&Traffic::default()), "live answers all calls");
        assert_eq!(
            in_words(&Traffic { canary: canary(CanarySplit::Key), shadow }),
            "version 2 answers 5.0 % of the keys, version 3 judges all calls unseen"
        );
        let by_header = Traffic { canary: canary(CanarySplit::Header), shadow: None };
        assert!(in_words(&by_header).contains("headwater-canary: 1"));
        assert_eq!(fields(&by_header)["canary"]["split"], "header");
    }
}
