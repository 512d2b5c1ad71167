//! `headwater registry stats`: counts and bytes.

use api::v1::{GetRegistryStatsRequest, GetRegistryStatsResponse};
use serde_json::{Value, json};

use crate::config::Format;
use crate::error::CliError;
use crate::output::table;
use crate::session::{Outcome, Session};

pub(crate) async fn run(session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.registry().await?;
    let call = session.call(GetRegistryStatsRequest {});
    let stats = client.get_registry_stats(call).await.map_err(|status| session.failed(status))?.into_inner();
    let figures = figures(&stats);
    match session.printer.format() {
        Format::Json => {
            let mut object: serde_json::Map<String, Value> =
                figures.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            object.insert("read_only_reason".to_owned(), json!(stats.read_only_reason));
            session.printer.json(&object)?;
        }
        Format::Table => {
            let mut shown = table(["WHAT", "HOW MUCH"]);
            for (name, value) in figures {
                shown.add_row([name.replace('_', " "), value.to_string()]);
            }
            session.printer.table(&shown)?;
            if !stats.read_only_reason.is_empty() {
                session.printer.line(&format!("no changes are taken: {}", stats.read_only_reason))?;
            }
        }
    }
    Ok(Outcome::Done)
}

fn figures(stats: &GetRegistryStatsResponse) -> [(&'static str, u64); 16] {
    [
        ("generation", stats.generation),
        ("tenants", stats.tenants),
        ("tasks", stats.tasks),
        ("versions", stats.versions),
        ("damaged_versions", stats.damaged_versions),
        ("history", stats.history),
        ("records", stats.records),
        ("record_bytes", stats.record_bytes),
        ("objects", stats.objects),
        ("object_bytes", stats.object_bytes),
        ("unused_objects", stats.unused_objects),
        ("unused_bytes", stats.unused_bytes),
        ("store_bytes", stats.store_bytes),
        ("journal_bytes", stats.journal_bytes),
        ("set_aside_bytes", stats.set_aside_bytes),
        ("free_bytes", stats.free_bytes),
    ]
}
