//! `headwater heads export`: saves a version's files in a folder that `heads install` takes.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use api::v1::export_head_response::Part;
use api::v1::{ExportFormat, ExportHeadRequest, ExportHeader, FileChunk};
use clap::{Args, ValueEnum};
use serde_json::json;
use tonic::Status;

use crate::config::Format;
use crate::error::CliError;
use crate::progress::Bar;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2.
    task: String,
    /// Folder to save in; it is made, and must hold none of the files yet.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Version number or alias [default: live].
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// What the files look like.
    #[arg(long, value_enum, default_value_t = Shape::Head)]
    format: Shape,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shape {
    /// head.toml and weights.safetensors.
    Head,
    /// A directory that the transformers package loads.
    Transformers,
}

/// The file that is being written.
struct Writing {
    name: String,
    path: PathBuf,
    file: File,
    bytes: u64,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.heads().await?;
    let format = match arguments.format {
        Shape::Head => ExportFormat::HeadFolder,
        Shape::Transformers => ExportFormat::Transformers,
    };
    let request = ExportHeadRequest { task: arguments.task, version: arguments.version, format: format.into() };
    let reply = client.export_head(session.call(request)).await.map_err(|status| session.failed(status))?;
    let mut parts = reply.into_inner();
    let first = parts.message().await.map_err(|status| session.failed(status))?;
    let Some(Part::Header(header)) = first.and_then(|message| message.part) else {
        return Err(session.failed(Status::internal("the export does not begin with its header")));
    };
    let folder = &arguments.folder;
    fs::create_dir_all(folder).map_err(|cause| CliError::Save { path: folder.clone(), cause })?;
    let bar = Bar::of_bytes(header.files.iter().map(|file| file.size_bytes).sum());
    let mut saved: Vec<Writing> = Vec::new();
    while let Some(message) = parts.message().await.map_err(|status| session.failed(status))? {
        let Some(Part::Chunk(chunk)) = message.part else { continue };
        let bytes = chunk.data.len() as u64;
        append(folder, &mut saved, &chunk, session)?;
        bar.advance(bytes);
    }
    bar.finish();
    check_complete(&header, &saved).map_err(|message| session.failed(Status::data_loss(message)))?;
    for writing in &saved {
        writing.file.sync_all().map_err(|cause| CliError::Save { path: writing.path.clone(), cause })?;
    }
    report(&header, folder, session)?;
    Ok(Outcome::Done)
}

fn append(folder: &Path, saved: &mut Vec<Writing>, chunk: &FileChunk, session: &Session) -> Result<(), CliError> {
    let saving = |path: &Path, cause| CliError::Save { path: path.to_owned(), cause };
    if saved.last().is_none_or(|writing| writing.name != chunk.name) {
        if !is_plain_name(&chunk.name) {
            return Err(session.failed(Status::internal("the export names a file outside the folder")));
        }
        let path = folder.join(&chunk.name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(|cause| saving(&path, cause))?;
        saved.push(Writing { name: chunk.name.clone(), path, file, bytes: 0 });
    }
    let Some(writing) = saved.last_mut().filter(|writing| writing.bytes == chunk.offset) else {
        return Err(session.failed(Status::data_loss("the export has a gap")));
    };
    writing.file.write_all(&chunk.data).map_err(|cause| saving(&writing.path, cause))?;
    writing.bytes += chunk.data.len() as u64;
    Ok(())
}

/// Whether the name stays inside the folder, wherever this runs.
fn is_plain_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn check_complete(header: &ExportHeader, saved: &[Writing]) -> Result<(), String> {
    for declared in &header.files {
        let bytes = saved.iter().find(|writing| writing.name == declared.name).map_or(0, |writing| writing.bytes);
        if bytes != declared.size_bytes {
            return Err(format!("{} has {bytes} of {} bytes", declared.name, declared.size_bytes));
        }
    }
    Ok(())
}

fn report(header: &ExportHeader, folder: &Path, session: &mut Session) -> Result<(), CliError> {
    let folder = folder.display();
    match session.printer.format() {
        Format::Json => session.printer.json(&json!({
            "task": header.task,
            "version": header.version,
            "head_digest": header.head_digest,
            "folder": folder.to_string(),
        })),
        Format::Table => {
            session.printer.line(&format!("{} version {} is saved in {folder}", header.task, header.version))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_cannot_name_a_file_outside_the_folder() {
        for name in ["", ".", "..", "../head.toml", "/etc/passwd", "a/b", "a\\b", ".ssh", "a\0", "c:x"] {
            assert!(!is_plain_name(name), "{name:?}");
        }
        assert!(is_plain_name("head.toml"));
        assert!(is_plain_name("weights.safetensors"));
    }
}
