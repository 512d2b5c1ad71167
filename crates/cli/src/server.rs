//! `headwater server`: the configuration of the running process, and the command to read it again.

use api::v1::server_service_client::ServerServiceClient;
use api::v1::{ConfigChange, ConfigOption, GetConfigRequest, OptionSource, ReloadConfigRequest};
use clap::{Args, Subcommand};
use comfy_table::Row;
use serde_json::{Value, json};

use crate::config::Format;
use crate::connect::Connection;
use crate::error::CliError;
use crate::output::table;
use crate::session::{Outcome, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show every option with the value in force and where it comes from.
    Config,
    /// Read configuration file, certificates and identities again.
    Reload(ReloadArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ReloadArguments {
    /// Say what would change, and change nothing.
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(verb: Verb, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.server().await?;
    match verb {
        Verb::Config => config(&mut client, session).await,
        Verb::Reload(arguments) => reload(&arguments, &mut client, session).await,
    }
}

async fn config(client: &mut ServerServiceClient<Connection>, session: &mut Session) -> Result<Outcome, CliError> {
    let request = session.call(GetConfigRequest {});
    let reply = client.get_config(request).await.map_err(|status| session.failed(status))?.into_inner();
    match session.printer.format() {
        Format::Json => {
            for ConfigOption { name, value, source, live } in reply.options {
                let source = source_name(source);
                session.printer.json(&json!({"name": name, "value": value, "source": source, "live": live}))?;
            }
        }
        Format::Table => {
            let mut shown = table(["OPTION", "VALUE", "FROM", "CHANGES"]);
            for ConfigOption { name, value, source, live } in reply.options {
                let changes = if live { "while it runs" } else { "with a restart" };
                let cells = [name, value.unwrap_or_default(), source_name(source).to_owned(), changes.to_owned()];
                shown.add_row(Row::from(cells));
            }
            session.printer.table(&shown)?;
        }
    }
    Ok(Outcome::Done)
}

async fn reload(
    arguments: &ReloadArguments,
    client: &mut ServerServiceClient<Connection>,
    session: &mut Session,
) -> Result<Outcome, CliError> {
    let request = session.call(ReloadConfigRequest { check_only: arguments.check });
    let reply = client.reload_config(request).await.map_err(|status| session.failed(status))?.into_inner();
    if session.printer.format() == Format::Json {
        let fields = |changes: &[ConfigChange]| changes.iter().map(fields).collect::<Vec<Value>>();
        session.printer.json(&json!({
            "changed": fields(&reply.changed),
            "needs_restart": fields(&reply.needs_restart),
            "certificates_changed": reply.certificates_changed,
            "identities_changed": reply.identities_changed,
        }))?;
        return Ok(Outcome::Done);
    }
    for change in &reply.changed {
        session.printer.line(&in_words(change))?;
    }
    for change in &reply.needs_restart {
        session.printer.line(&format!("{} (needs a restart)", in_words(change)))?;
    }
    if reply.certificates_changed {
        session.printer.line("new certificates are in use")?;
    }
    if reply.identities_changed {
        let verb = if arguments.check { "would stand" } else { "stand" };
        session.printer.line(&format!("certificates of clients {verb} for others than before"))?;
    }
    let options_differ = !(reply.changed.is_empty() && reply.needs_restart.is_empty());
    if !options_differ && !reply.certificates_changed && !reply.identities_changed {
        session.printer.line("nothing changes")?;
    }
    Ok(Outcome::Done)
}

fn fields(change: &ConfigChange) -> Value {
    let ConfigChange { name, before, after, source } = change;
    json!({"name": name, "before": before, "after": after, "source": source_name(*source)})
}

fn in_words(change: &ConfigChange) -> String {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    format!("{}: {} -> {}", change.name, word(&change.before), word(&change.after))
}

fn source_name(source: i32) -> &'static str {
    match OptionSource::try_from(source) {
        Ok(OptionSource::Default) => "default",
        Ok(OptionSource::File) => "file",
        Ok(OptionSource::Environment) => "environment",
        Ok(OptionSource::Flag) => "flag",
        Ok(OptionSource::Unspecified) | Err(_) => "",
    }
}
