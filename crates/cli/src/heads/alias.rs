//! `headwater heads alias` and `headwater heads rollback`: which version a name stands for.

use api::v1::set_alias_request::Change;
use api::v1::{RollbackRequest, SetAliasRequest};
use clap::Args;
use serde_json::json;

use crate::config::Format;
use crate::error::CliError;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2.
    task: String,
    /// Alias, such as live.
    alias: String,
    /// Version that it is to name.
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    version: Option<u64>,
    /// Remove the alias.
    #[arg(long)]
    remove: bool,
    /// Refuse if the task has changed since this generation.
    #[arg(long, value_name = "N")]
    expect_generation: Option<u64>,
    /// Refuse if the alias names another version than this one; 0 where it is not there yet.
    #[arg(long, value_name = "N")]
    expect_version: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    /// Task, such as glue/sst2.
    task: String,
    /// Alias to move back.
    #[arg(long, default_value = "live")]
    alias: String,
    /// Refuse if the task has changed since this generation.
    #[arg(long, value_name = "N")]
    expect_generation: Option<u64>,
    /// Refuse if the alias names another version than this one; 0 where it is not there yet.
    #[arg(long, value_name = "N")]
    expect_version: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.heads().await?;
    let Arguments { task, alias, version, expect_generation, expect_version, .. } = arguments;
    let request = SetAliasRequest {
        task: task.clone(),
        alias: alias.clone(),
        change: Some(version.map_or(Change::Remove(true), Change::Version)),
        expected_generation: expect_generation,
        expected_version: expect_version,
    };
    let reply = client.set_alias(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let moved = Moved { task, alias, version: reply.version, previous: reply.previous_version };
    moved.report(reply.generation, session)
}

pub(crate) async fn roll_back(arguments: RollbackArguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.heads().await?;
    let RollbackArguments { task, alias, expect_generation, expect_version } = arguments;
    let request = RollbackRequest {
        task: task.clone(),
        alias: alias.clone(),
        expected_generation: expect_generation,
        expected_version: expect_version,
    };
    let reply = client.rollback(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let moved = Moved { task, alias, version: Some(reply.version), previous: Some(reply.previous_version) };
    moved.report(reply.generation, session)
}

/// What became of an alias.
struct Moved {
    task: String,
    alias: String,
    version: Option<u64>,
    previous: Option<u64>,
}

impl Moved {
    fn report(&self, generation: u64, session: &mut Session) -> Result<Outcome, CliError> {
        match session.printer.format() {
            Format::Json => session.printer.json(&json!({
                "task": self.task,
                "alias": self.alias,
                "version": self.version,
                "previous_version": self.previous,
                "generation": generation,
            }))?,
            Format::Table => {
                let now = self.version.map_or("is removed".to_owned(), |version| format!("names version {version}"));
                let before = self.previous.map(|version| format!("; it named version {version}")).unwrap_or_default();
                session.printer.line(&format!("{}: alias {} {now}{before}", self.task, self.alias))?;
            }
        }
        Ok(Outcome::Done)
    }
}
