//! `headwater heads install-bundle`: all heads of a folder in one change.

use std::fs;
use std::path::{Path, PathBuf};

use api::v1::install_bundle_request::Part;
use api::v1::install_bundle_response::Event;
use api::v1::{BadHead, BundleHead, BundleHeader, BundleReport, InstallBundleRequest};
use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::install::{AHEAD, declare, each_chunk};
use crate::config::Format;
use crate::error::CliError;
use crate::progress::StageBar;
use crate::session::{Outcome, Session};

/// What makes a folder a head folder.
const MANIFEST: &str = "head.toml";
/// Where a bundle has its heads.
const HEADS: &str = "heads";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A bundle, or any folder that holds head folders.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Move the alias live of every task to its new version. A task's first version becomes live in any case.
    #[arg(long)]
    live: bool,
    /// Install although heads were trained on another encoder.
    #[arg(long)]
    force_encoder: bool,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let heads_of_bundle = arguments.folder.join(HEADS);
    let root = if heads_of_bundle.is_dir() { heads_of_bundle } else { arguments.folder.clone() };
    let folders = head_folders(&root)?;
    if folders.is_empty() {
        return Err(CliError::Usage(format!("{} holds no folder with {MANIFEST}", root.display())));
    }
    let header = BundleHeader {
        heads: u32::try_from(folders.len()).unwrap_or(u32::MAX),
        make_live: arguments.live,
        force_encoder: arguments.force_encoder,
    };
    let mut client = session.heads().await?;
    let (sender, requests) = mpsc::channel(AHEAD);
    let reader = tokio::task::spawn_blocking(move || send_all(&root, &folders, header, &sender));
    let call = session.call(ReceiverStream::new(requests));
    let reply = client.install_bundle(call).await.map_err(|status| session.failed(status))?;
    let mut events = reply.into_inner();
    let bar = StageBar::new();
    let ended = loop {
        match events.message().await.map(|message| message.and_then(|message| message.event)) {
            Ok(Some(Event::Progress(progress))) => bar.show(&progress),
            Ok(Some(Event::BadHead(bad))) => tell(&bad, session)?,
            Ok(Some(Event::Report(report))) => break Ok(report),
            Ok(None) => break Err(Status::internal("the installation ended without a report")),
            Err(status) => break Err(status),
        }
    };
    bar.finish();
    // Dropped, it ends the call, and with it the reader's.
    drop(events);
    reader.await.expect("reading folders does not panic")?;
    report(&ended.map_err(|status| session.failed(status))?, session)?;
    Ok(Outcome::Done)
}

/// The folders below `root` that hold a head, by their paths inside it, in order.
fn head_folders(root: &Path) -> Result<Vec<String>, CliError> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(inside) = open.pop() {
        let folder = root.join(&inside);
        let read = |cause| CliError::Read { path: folder.clone(), cause };
        if !inside.is_empty() && folder.join(MANIFEST).is_file() {
            found.push(inside.clone());
        }
        for entry in fs::read_dir(&folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            if entry.file_type().map_err(read)?.is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                open.push(if inside.is_empty() { name } else { format!("{inside}/{name}") });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Sends the bundle; stops early where the server no longer listens.
fn send_all(
    root: &Path,
    folders: &[String],
    header: BundleHeader,
    sender: &mpsc::Sender<InstallBundleRequest>,
) -> Result<(), CliError> {
    let send = |part| sender.blocking_send(InstallBundleRequest { part: Some(part) }).is_ok();
    if !send(Part::Header(header)) {
        return Ok(());
    }
    for name in folders {
        let folder = root.join(name);
        let head = BundleHead { name: name.clone(), task: String::new(), files: declare(&folder)? };
        if !send(Part::Head(head)) || !each_chunk(&folder, |chunk| send(Part::Chunk(chunk)))? {
            return Ok(());
        }
    }
    Ok(())
}

fn tell(bad: &BadHead, session: &mut Session) -> Result<(), CliError> {
    match session.printer.format() {
        Format::Json => session.printer.json(&json!({"head": bad.name, "reason": bad.reason})),
        Format::Table => session.printer.line(&format!("{}: {}", bad.name, bad.reason)),
    }
}

fn report(report: &BundleReport, session: &mut Session) -> Result<(), CliError> {
    match session.printer.format() {
        Format::Json => {
            let versions = report.versions.iter().map(|version| {
                json!({
                    "task": version.task,
                    "version": version.version,
                    "head_digest": version.head_digest,
                    "already_installed": version.already_installed,
                    "live": version.live,
                })
            });
            session.printer.json(&json!({
                "versions": versions.collect::<Vec<_>>(),
                "generation": report.generation,
                "warnings": report.warnings,
                "elapsed_millis": report.elapsed_millis,
            }))
        }
        Format::Table => {
            let there = report.versions.iter().filter(|version| version.already_installed).count();
            let live = report.versions.iter().filter(|version| version.live).count();
            let line = format!(
                "{} heads installed in {:.2} s, {there} of them there already, {live} live (generation {})",
                report.versions.len(),
                report.elapsed_millis as f64 / 1000.0,
                report.generation
            );
            session.printer.line(&line)?;
            report.warnings.iter().try_for_each(|warning| session.printer.line(&format!("  note: {warning}")))
        }
    }
}
