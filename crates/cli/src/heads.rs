//! `headwater heads`: the life of a head.

mod install;
mod install_bundle;
mod versions;
mod watched;
mod alias;
mod traffic;
mod retention;
mod delete;
mod export;
mod update;

use clap::Subcommand;

use crate::error::CliError;
use crate::session::{Outcome, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Install heads from their folders.
    Install(install::Arguments),
    /// Install all heads of a bundle in one change, or none.
    InstallBundle(install_bundle::Arguments),
    /// Change what is said about a version, or make a new one of the same weights with other settings.
    Update(Box<update::Arguments>),
    /// List a task's versions.
    Versions(versions::Arguments),
    /// List the head folders that the server keeps served, and what became of each.
    Watched,
    /// Move, make or remove an alias.
    Alias(alias::Arguments),
    /// Move an alias back to the version before.
    Rollback(alias::RollbackArguments),
    /// Divide a task's traffic between versions.
    Traffic(traffic::Arguments),
    /// Say which versions are kept without anybody naming them.
    Retention(retention::Arguments),
    /// Delete a version.
    Delete(delete::Arguments),
    /// Save a version's files in a folder.
    Export(export::Arguments),
}

pub(crate) async fn run(verb: Verb, session: &mut Session) -> Result<Outcome, CliError> {
    match verb {
        Verb::Install(arguments) => install::run(arguments, session).await,
        Verb::InstallBundle(arguments) => install_bundle::run(arguments, session).await,
        Verb::Update(arguments) => update::run(*arguments, session).await,
        Verb::Versions(arguments) => versions::run(arguments, session).await,
        Verb::Watched => watched::run(session).await,
        Verb::Alias(arguments) => alias::run(arguments, session).await,
        Verb::Rollback(arguments) => alias::roll_back(arguments, session).await,
        Verb::Traffic(arguments) => traffic::run(arguments, session).await,
        Verb::Retention(arguments) => retention::run(arguments, session).await,
        Verb::Delete(arguments) => delete::run(arguments, session).await,
        Verb::Export(arguments) => export::run(arguments, session).await,
    }
}
