//! `headwater heads delete`: removes a version for good.

use api::v1::DeleteVersionRequest;
use clap::Args;
use serde_json::json;

use crate::config::Format;
use crate::error::CliError;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2.
    task: String,
    /// Number of the version; one that an alias or a traffic rule holds is refused.
    version: u64,
    /// Refuse if the task has changed since this generation.
    #[arg(long, value_name = "N")]
    expect_generation: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.heads().await?;
    let Arguments { task, version, expect_generation } = arguments;
    let request = DeleteVersionRequest { task: task.clone(), version, expected_generation: expect_generation };
    let call = session.call(request);
    let reply = client.delete_version(call).await.map_err(|status| session.failed(status))?.into_inner();
    match session.printer.format() {
        Format::Json => {
            session.printer.json(&json!({"task": task, "deleted_version": version, "generation": reply.generation}))?;
        }
        Format::Table => session.printer.line(&format!("{task} version {version} is deleted"))?,
    }
    Ok(Outcome::Done)
}
