//! `headwater heads traffic`: which share of a task's calls another version answers, and which one judges unseen.

use api::v1::{Canary, CanarySplit, SetTrafficRequest, Shadow, Traffic};
use clap::{Args, ValueEnum};
use serde_json::json;

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
        Format::Json => session.printer.json(&json!({
            "task": arguments.task,
            "canary": traffic.canary.map(|canary| json!({"version": canary.version, "share": canary.share})),
            "shadow": traffic.shadow.map(|shadow| json!({"version": shadow.version, "share": shadow.share})),
            "generation": reply.generation,
        }))?,
        Format::Table => {
            let canary = traffic
                .canary
                .map(|canary| format!("version {} answers {:.1} %", canary.version, canary.share * 100.0));
            let shadow = traffic.shadow.map(|shadow| format!("version {} judges unseen", shadow.version));
            let rules: Vec<String> = canary.into_iter().chain(shadow).collect();
            let rules = if rules.is_empty() { "live answers all calls".to_owned() } else { rules.join(", ") };
            session.printer.line(&format!("{}: {rules}", arguments.task))?;
        }
    }
    Ok(Outcome::Done)
}
