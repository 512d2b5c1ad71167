//! `headwater registry`: what the server has stored, counted, checked, saved and swept.

mod backup;
mod stats;
mod verify;

use api::v1::CollectGarbageRequest;
use clap::Subcommand;
use serde_json::json;

use crate::config::Format;
use crate::error::CliError;
use crate::session::{Outcome, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Counts and bytes.
    Stats,
    /// Prove every record and every object while the server goes on.
    Verify,
    /// Save everything, as of one generation, in a file that `headwater-server registry import` takes.
    Backup(backup::Arguments),
    /// Remove stored objects that no version needs.
    Gc,
}

pub(crate) async fn run(verb: Verb, session: &mut Session) -> Result<Outcome, CliError> {
    match verb {
        Verb::Stats => stats::run(session).await,
        Verb::Verify => verify::run(session).await,
        Verb::Backup(arguments) => backup::run(arguments, session).await,
        Verb::Gc => collect_garbage(session).await,
    }
}

async fn collect_garbage(session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.registry().await?;
    let call = session.call(CollectGarbageRequest {});
    let swept = client.collect_garbage(call).await.map_err(|status| session.failed(status))?.into_inner();
    match session.printer.format() {
        Format::Json => session.printer.json(&json!({"files": swept.files, "bytes": swept.bytes}))?,
        Format::Table => session.printer.line(&format!("{} files removed, {} bytes", swept.files, swept.bytes))?,
    }
    Ok(Outcome::Done)
}
