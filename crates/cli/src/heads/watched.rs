//! `headwater heads watched`: the head folders that the server keeps served.

use api::v1::{ListWatchedHeadsRequest, WatchedHead, WatchedHeadState};
use serde_json::json;

use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, one_line, table_of_lines};
use crate::session::{Outcome, Session};

/// Shows them. Some being refused, or none being readable, counts as some that failed.
pub(super) async fn run(session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.heads().await?;
    let request = session.call(ListWatchedHeadsRequest {});
    let reply = client.list_watched_heads(request).await.map_err(|status| session.failed(status))?.into_inner();
    let mut shown = table_of_lines(["FOLDER", "TASK", "STATE", "VERSION", "REASON"]);
    for head in &reply.heads {
        match session.printer.format() {
            Format::Json => session.printer.json(&fields(head))?,
            Format::Table => {
                let version = if head.version == 0 { String::new() } else { head.version.to_string() };
                let state = state_name(head.state()).to_owned();
                let row = [one_line(&head.folder), head.task.clone(), state, version, one_line(&head.reason)];
                shown.add_row(one_high(row));
            }
        }
    }
    match session.printer.format() {
        Format::Json if !reply.problem.is_empty() => session.printer.json(&json!({"problem": reply.problem}))?,
        Format::Json => {}
        Format::Table => {
            session.printer.table(&shown)?;
            if !reply.problem.is_empty() {
                session.printer.line(&format!("\nthe folder cannot be read: {}", one_line(&reply.problem)))?;
            }
        }
    }
    let refused = reply.heads.iter().filter(|head| head.state() == WatchedHeadState::Refused).count();
    Ok(Outcome::of_failures(refused as u64 + u64::from(!reply.problem.is_empty())))
}

fn fields(head: &WatchedHead) -> serde_json::Value {
    json!({
        "folder": head.folder,
        "task": head.task,
        "state": state_name(head.state()),
        "version": Some(head.version).filter(|version| *version > 0),
        "reason": head.reason,
    })
}

fn state_name(state: WatchedHeadState) -> &'static str {
    match state {
        WatchedHeadState::Unspecified => "unknown",
        WatchedHeadState::Served => "served",
        WatchedHeadState::Waiting => "waiting",
        WatchedHeadState::Refused => "refused",
    }
}
