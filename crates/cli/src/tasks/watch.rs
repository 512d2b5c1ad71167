//! `headwater tasks --watch`: what is served, and every change of it as it comes.

use api::v1::watch_tasks_response::Event;
use api::v1::{SnapshotReason, Task, TaskSelector, TaskSnapshot, WatchTasksRequest, WatchTasksResponse};
use serde_json::{Value, json};

use super::{kind_name, object};
use crate::config::Format;
use crate::error::CliError;
use crate::output::one_line;
use crate::session::{Outcome, Session};

/// Shows events until the server ends the stream.
pub(super) async fn run(selector: TaskSelector, from: Option<u64>, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.catalog().await?;
    let request = WatchTasksRequest { selector: Some(selector), from_generation: from };
    let reply = client.watch_tasks(session.call(request)).await.map_err(|status| session.failed(status))?;
    let mut events = reply.into_inner();
    while let Some(response) = events.message().await.map_err(|status| session.failed(status))? {
        match session.printer.format() {
            Format::Json => session.printer.json(&as_json(response))?,
            Format::Table => {
                if let Some(line) = in_words(&response) {
                    session.printer.line(&line)?;
                }
            }
        }
        session.printer.flush()?;
    }
    Ok(Outcome::Done)
}

/// An event of this program's own time as an object; one of a later server says only where to resume.
fn as_json(response: WatchTasksResponse) -> Value {
    let resume = response.resume_generation;
    match response.event {
        Some(Event::Snapshot(snapshot)) => {
            json!({"event": "snapshot", "reason": reason(snapshot), "tasks": snapshot.tasks})
        }
        Some(Event::Served(task)) => json!({"event": "served", "task": object(&task), "resume_generation": resume}),
        Some(Event::Withdrawn(task)) => {
            json!({"event": "withdrawn", "task": {"task": task}, "resume_generation": resume})
        }
        Some(Event::UpToDate(_)) => json!({"event": "up_to_date", "resume_generation": resume}),
        None => json!({"resume_generation": resume}),
    }
}

/// A line for people, in columns: what happened, at which generation, to which task.
fn in_words(response: &WatchTasksResponse) -> Option<String> {
    Some(match response.event.as_ref()? {
        Event::Snapshot(snapshot) => match reason(*snapshot) {
            "missed" => format!("changes were missed: {} tasks follow", snapshot.tasks),
            "not_remembered" => {
                format!("the server does not remember that generation: {} tasks follow", snapshot.tasks)
            }
            _ => format!("{:<9} {:>10}  TASK", "EVENT", "GENERATION"),
        },
        Event::Served(task) => format!("{:<9} {:>10}  {}", "served", task.generation, described(task)),
        Event::Withdrawn(task) => {
            format!("{:<9} {:>10}  {}", "withdrawn", response.resume_generation, one_line(task))
        }
        Event::UpToDate(_) => format!("{:<9} {:>10}", "current", response.resume_generation),
    })
}

fn described(task: &Task) -> String {
    let kind = kind_name(task.kind()).unwrap_or("unknown");
    let aliases = task.aliases.iter().map(|alias| format!(", {} {}", alias.name, alias.version));
    one_line(&format!("{}  {kind}, version {}{}", task.name, task.version, aliases.collect::<String>()))
}

fn reason(snapshot: TaskSnapshot) -> &'static str {
    match snapshot.reason() {
        SnapshotReason::Unspecified => "unknown",
        SnapshotReason::Beginning => "beginning",
        SnapshotReason::NotRemembered => "not_remembered",
        SnapshotReason::Missed => "missed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_lines_for_people() {
        let line = |event| in_words(&WatchTasksResponse { event: Some(event), resume_generation: 7 });
        let task = Task { name: "a/b".into(), version: 2, generation: 6, ..Task::default() };
        assert_eq!(line(Event::Served(task)).unwrap(), "served             6  a/b  unknown, version 2");
        assert_eq!(line(Event::Withdrawn("a\u{1b}b".into())).unwrap(), "withdrawn          7  a b");
        let missed = TaskSnapshot { reason: SnapshotReason::Missed.into(), tasks: 3 };
        assert_eq!(line(Event::Snapshot(missed)).unwrap(), "changes were missed: 3 tasks follow");
    }
}
