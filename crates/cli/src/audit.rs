//! `headwater audit`: who changed what, newest first.

use api::v1::{AuditEntry, AuditField, ListAuditEntriesRequest};
use clap::Args;
use serde_json::{Value, json};

use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, one_line, table_of_lines};
use crate::session::{Outcome, Session};
use crate::tokens::moment;

/// Entries of one call.
const PAGE: u32 = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only changes of this tenant's heads, tokens and quota.
    #[arg(long = "of", value_name = "TENANT")]
    of_tenant: Option<String>,
    /// Only the newest changes [default: all that are kept].
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let Arguments { of_tenant, limit } = arguments;
    let tenant = of_tenant.unwrap_or_default();
    let mut left = limit.unwrap_or(usize::MAX);
    let mut client = session.audit().await?;
    let mut shown = table_of_lines(["GENERATION", "AT", "WHO", "METHOD", "TENANT", "WHAT", "CHANGE"]);
    let mut page_token = String::new();
    while left > 0 {
        let page_size = u32::try_from(left).map_or(PAGE, |left| left.min(PAGE));
        let request = ListAuditEntriesRequest { page_size, page_token, tenant: tenant.clone() };
        let reply = client.list_audit_entries(session.call(request)).await;
        let reply = reply.map_err(|status| session.failed(status))?.into_inner();
        left = left.saturating_sub(reply.entries.len());
        for entry in &reply.entries {
            match session.printer.format() {
                Format::Json => session.printer.json(&fields(entry))?,
                Format::Table => drop(shown.add_row(one_high(cells(entry)))),
            }
        }
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if session.printer.format() == Format::Table {
        session.printer.table(&shown)?;
    }
    Ok(Outcome::Done)
}

fn fields(entry: &AuditEntry) -> Value {
    let field = |field: &AuditField| json!({"name": field.name, "before": field.before, "after": field.after});
    json!({
        "generation": entry.generation,
        "changed_at": moment(entry.changed_at.as_ref()),
        "caller_tenant": entry.caller_tenant,
        "actor": entry.actor,
        "method": entry.method,
        "tenant": entry.tenant,
        "subject": entry.subject,
        "fields": entry.fields.iter().map(field).collect::<Vec<_>>(),
        "omitted_fields": entry.omitted_fields,
    })
}

fn cells(entry: &AuditEntry) -> [String; 7] {
    let or_nothing = |text: &str| if text.is_empty() { "nothing".to_owned() } else { one_line(text) };
    let change = |field: &AuditField| {
        format!("{}: {} to {}", one_line(&field.name), or_nothing(&field.before), or_nothing(&field.after))
    };
    let mut changes: Vec<_> = entry.fields.iter().map(change).collect();
    if entry.omitted_fields > 0 {
        changes.push(format!("and {} more", entry.omitted_fields));
    }
    [
        entry.generation.to_string(),
        moment(entry.changed_at.as_ref()).unwrap_or_default(),
        one_line(&format!("{} of {}", entry.actor, entry.caller_tenant)),
        one_line(entry.method.rsplit('/').next().unwrap_or_default()),
        entry.tenant.clone(),
        one_line(&entry.subject),
        changes.join("; "),
    ]
}
