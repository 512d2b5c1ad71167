//! `headwater heads install`: streams head folders to the server, which alone decides what a valid head is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use api::v1::install_head_request::Part;
use api::v1::{FileChunk, FileDeclaration, InstallHeadRequest, InstallHeadResponse, InstallHeader};
use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::answer::Failure;
use crate::config::Format;
use crate::error::CliError;
use crate::progress::Bar;
use crate::session::{Outcome, Session};

/// The files of a head folder, in the order in which they are sent.
const FILES: [&str; 2] = ["head.toml", "weights.safetensors"];
/// Bytes of a chunk.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks read ahead of the network.
pub(super) const AHEAD: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folders that hold head.toml and weights.safetensors.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Task to install for [default: the one named in head.toml].
    #[arg(long)]
    task: Option<String>,
    /// Number that the version must get [default: the next one].
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Move the alias live to the new version. A task's first version becomes live in any case.
    #[arg(long)]
    live: bool,
    /// Install although the head was trained on another encoder.
    #[arg(long)]
    force_encoder: bool,
    /// Digest that the head must turn out to have.
    #[arg(long, value_name = "DIGEST")]
    expect_digest: Option<String>,
    /// Label names in the head's order, in place of those in head.toml; give one for each label.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    if arguments.folders.len() > 1 && (arguments.task.is_some() || arguments.version.is_some()) {
        return Err(CliError::Usage("--task and --version name one head; give one folder with them".to_owned()));
    }
    let mut folders = Vec::new();
    for folder in &arguments.folders {
        folders.push((folder, declare(folder)?));
    }
    let bar = Bar::of_bytes(folders.iter().flat_map(|(_, files)| files).map(|file| file.size_bytes).sum());
    let one = folders.len() == 1;
    let mut failed = 0;
    for (folder, files) in folders {
        match install(folder, files, &arguments, &bar, session).await {
            Ok(installed) => report(&installed, session)?,
            // One of many: the others still have their turn.
            Err(CliError::Refused { status }) if !one => {
                failed += 1;
                let failure = Failure::from(&*status);
                let folder = folder.display();
                match session.printer.format() {
                    Format::Json => session.printer.json(&json!({"folder": folder.to_string(), "error": failure}))?,
                    Format::Table => {
                        session.printer.line(&format!("{folder}: {}: {}", failure.code, failure.message))?;
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    bar.finish();
    Ok(Outcome::of_failures(failed))
}

/// The files of a head folder with their sizes.
pub(super) fn declare(folder: &Path) -> Result<Vec<FileDeclaration>, CliError> {
    let declare = |name: &str| {
        let path = folder.join(name);
        let metadata = std::fs::metadata(&path).map_err(|cause| CliError::Read { path, cause })?;
        Ok(FileDeclaration { name: name.to_owned(), size_bytes: metadata.len(), sha256: String::new() })
    };
    FILES.into_iter().map(declare).collect()
}

async fn install(
    folder: &Path,
    files: Vec<FileDeclaration>,
    arguments: &Arguments,
    bar: &Bar,
    session: &mut Session,
) -> Result<InstallHeadResponse, CliError> {
    let mut client = session.heads().await?;
    let header = InstallHeader {
        task: arguments.task.clone().unwrap_or_default(),
        version: arguments.version,
        expected_digest: arguments.expect_digest.clone(),
        make_live: arguments.live,
        force_encoder: arguments.force_encoder,
        labels: arguments.labels.clone(),
        files,
    };
    let (sender, requests) = mpsc::channel(AHEAD);
    let reader = tokio::task::spawn_blocking({
        let (folder, bar) = (folder.to_owned(), bar.clone());
        move || send_folder(&folder, header, &sender, &bar)
    });
    let call = session.call(ReceiverStream::new(requests));
    let reply = client.install_head(call).await;
    reader.await.expect("reading a folder does not panic")?;
    Ok(reply.map_err(|status| session.failed(status))?.into_inner())
}

/// Sends the header and the files; stops early where the server no longer listens.
fn send_folder(
    folder: &Path,
    header: InstallHeader,
    sender: &mpsc::Sender<InstallHeadRequest>,
    bar: &Bar,
) -> Result<(), CliError> {
    let send = |part| sender.blocking_send(InstallHeadRequest { part: Some(part) }).is_ok();
    if send(Part::Header(header)) {
        each_chunk(folder, |chunk| {
            bar.advance(chunk.data.len() as u64);
            send(Part::Chunk(chunk))
        })?;
    }
    Ok(())
}

/// Reads the files of a head folder in pieces; stops where `give` says that nobody takes more, and says so.
pub(super) fn each_chunk(folder: &Path, mut give: impl FnMut(FileChunk) -> bool) -> Result<bool, CliError> {
    for name in FILES {
        let path = folder.join(name);
        let read = |cause| CliError::Read { path: path.clone(), cause };
        let mut file = File::open(&path).map_err(read)?;
        let mut offset = 0;
        loop {
            let mut data = Vec::with_capacity(CHUNK_BYTES);
            let bytes = file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut data).map_err(read)? as u64;
            if bytes == 0 {
                break;
            }
            if !give(FileChunk { name: name.to_owned(), offset, data }) {
                return Ok(false);
            }
            offset += bytes;
        }
    }
    Ok(true)
}

fn report(installed: &InstallHeadResponse, session: &mut Session) -> Result<(), CliError> {
    match session.printer.format() {
        Format::Json => session.printer.json(&json!({
            "task": installed.task,
            "version": installed.version,
            "head_digest": installed.head_digest,
            "already_installed": installed.already_installed,
            "live": installed.live,
            "generation": installed.generation,
            "warnings": installed.warnings,
        })),
        Format::Table => {
            let what = if installed.already_installed { "is already installed as" } else { "is installed as" };
            let live = if installed.live { ", live" } else { "" };
            let line =
                format!("{} {what} version {}{live} ({})", installed.task, installed.version, installed.head_digest);
            session.printer.line(&line)?;
            installed.warnings.iter().try_for_each(|warning| session.printer.line(&format!("  note: {warning}")))
        }
    }
}
