//! `headwater tokens`: credentials of tenants.

use std::time::{SystemTime, UNIX_EPOCH};

use api::Timestamp;
use api::v1::{AccessToken, CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Scope};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, one_line, table_of_lines};
use crate::session::{Outcome, Session};

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a token and show it, once.
    Create(CreateArguments),
    /// List a tenant's tokens.
    List(ListArguments),
    /// End a token.
    Revoke(RevokeArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// Tenant that it speaks for.
    name: String,
    /// What it is good for.
    #[arg(long, value_enum, value_name = "SCOPE", value_delimiter = ',', default_value = "infer")]
    scopes: Vec<ScopeName>,
    /// A word on it, for people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Days after which it ends by itself [default: never].
    #[arg(long, value_name = "N")]
    days: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Tenant.
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArguments {
    /// The token's id: the part between the first and the second underscore.
    id: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScopeName {
    /// Ask and find heads.
    Infer,
    /// Change heads.
    Heads,
    /// Keep tenants and tokens, and read the audit log.
    Operator,
}

pub(crate) async fn run(verb: Verb, session: &mut Session) -> Result<Outcome, CliError> {
    match verb {
        Verb::Create(arguments) => create(arguments, session).await,
        Verb::List(arguments) => list(arguments, session).await,
        Verb::Revoke(arguments) => revoke(arguments, session).await,
    }
}

async fn create(arguments: CreateArguments, session: &mut Session) -> Result<Outcome, CliError> {
    let CreateArguments { name, scopes, description, days } = arguments;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let end = |days: u32| Timestamp { seconds: (now + u64::from(days) * SECONDS_A_DAY).cast_signed(), nanos: 0 };
    let scopes = scopes.into_iter().map(|scope| i32::from(Scope::from(scope))).collect();
    let request = CreateTokenRequest { tenant: name, scopes, description, expires_at: days.map(end) };
    let mut client = session.tenants().await?;
    let reply = client.create_token(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let token = reply.token.unwrap_or_default();
    match session.printer.format() {
        Format::Json => {
            let mut line = fields(&token);
            line["secret"] = json!(reply.secret);
            session.printer.json(&line)?;
        }
        Format::Table => {
            session.printer.line(&reply.secret)?;
            session.printer.line(&format!("Keep it: it cannot be shown again. Its id is {}.", token.id))?;
        }
    }
    Ok(Outcome::Done)
}

async fn list(arguments: ListArguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.tenants().await?;
    let request = session.call(ListTokensRequest { tenant: arguments.name });
    let reply = client.list_tokens(request).await.map_err(|status| session.failed(status))?.into_inner();
    let mut shown = table_of_lines(["ID", "SCOPES", "MADE", "ENDS", "STATE", "DESCRIPTION"]);
    for token in &reply.tokens {
        match session.printer.format() {
            Format::Json => session.printer.json(&fields(token))?,
            Format::Table => {
                let row = [
                    token.id.clone(),
                    scope_names(token).join(","),
                    moment(token.created_at.as_ref()).unwrap_or_default(),
                    moment(token.expires_at.as_ref()).unwrap_or_default(),
                    if token.revoked { "revoked" } else { "" }.to_owned(),
                    one_line(&token.description),
                ];
                shown.add_row(one_high(row));
            }
        }
    }
    if session.printer.format() == Format::Table {
        session.printer.table(&shown)?;
    }
    Ok(Outcome::Done)
}

async fn revoke(arguments: RevokeArguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.tenants().await?;
    let RevokeArguments { id } = arguments;
    let request = session.call(RevokeTokenRequest { id: id.clone() });
    client.revoke_token(request).await.map_err(|status| session.failed(status))?;
    match session.printer.format() {
        Format::Json => session.printer.json(&json!({"id": id, "revoked": true}))?,
        Format::Table => session.printer.line(&format!("token {id} has ended"))?,
    }
    Ok(Outcome::Done)
}

/// A moment as text, if it is set.
pub(crate) fn moment(at: Option<&Timestamp>) -> Option<String> {
    at.map(ToString::to_string)
}

fn fields(token: &AccessToken) -> Value {
    json!({
        "id": token.id,
        "tenant": token.tenant,
        "scopes": scope_names(token),
        "description": token.description,
        "created_at": moment(token.created_at.as_ref()),
        "expires_at": moment(token.expires_at.as_ref()),
        "revoked": token.revoked,
    })
}

fn scope_names(token: &AccessToken) -> Vec<&'static str> {
    let name = |scope| match scope {
        Scope::Infer => "infer",
        Scope::Heads => "heads",
        Scope::Operator => "operator",
        Scope::Unspecified => "unknown",
    };
    token.scopes().map(name).collect()
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Infer => Self::Infer,
            ScopeName::Heads => Self::Heads,
            ScopeName::Operator => Self::Operator,
        }
    }
}
