//! `headwater registry verify`: everything stored, proven while the server goes on.

use api::v1::VerifyRegistryRequest;
use api::v1::verify_registry_response::Event;
use serde_json::json;
use tonic::Status;

use crate::config::Format;
use crate::error::CliError;
use crate::progress::StageBar;
use crate::session::{Outcome, Session};

pub(crate) async fn run(session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.registry().await?;
    let call = session.call(VerifyRegistryRequest {});
    let mut events = client.verify_registry(call).await.map_err(|status| session.failed(status))?.into_inner();
    let bar = StageBar::new();
    let report = loop {
        match events.message().await.map_err(|status| session.failed(status))?.and_then(|message| message.event) {
            Some(Event::Progress(progress)) => bar.show(&progress),
            Some(Event::Report(report)) => break report,
            None => return Err(session.failed(Status::internal("the check ended without a report"))),
        }
    };
    bar.finish();
    let wrong = report.damaged_versions.len() + report.problems.len();
    match session.printer.format() {
        Format::Json => {
            let damaged = report.damaged_versions.iter().map(|damaged| {
                json!({
                    "tenant": damaged.tenant,
                    "task": damaged.task,
                    "version": damaged.version,
                    "reason": damaged.reason,
                })
            });
            session.printer.json(&json!({
                "generation": report.generation,
                "whole_versions": report.whole_versions,
                "damaged_versions": damaged.collect::<Vec<_>>(),
                "unused_objects": report.unused_objects,
                "problems": report.problems,
            }))?;
        }
        Format::Table => {
            for damaged in &report.damaged_versions {
                let line =
                    format!("{}/{} version {}: {}", damaged.tenant, damaged.task, damaged.version, damaged.reason);
                session.printer.line(&line)?;
            }
            report.problems.iter().try_for_each(|problem| session.printer.line(problem))?;
            session.printer.line(&format!(
                "generation {}: {} versions are whole, {} damaged, {} unused objects",
                report.generation,
                report.whole_versions,
                report.damaged_versions.len(),
                report.unused_objects
            ))?;
        }
    }
    Ok(Outcome::of_failures(wrong as u64))
}
