//! `headwater heads export`: saves a version's files in a folder that `heads install` takes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
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
    /// Folder to save in; it is made, whole or not at all, and must hold nothing yet.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Version number or alias [default: live].
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// What the files look like.
    #[arg(long, value_enum, default_value_t = Shape::Head)]
    format: Shape,
    /// Add what the server answers for the head's samples, to which the next server holds it.
    #[arg(long)]
    goldens: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shape {
    /// head.toml and weights.safetensors.
    Head,
    /// A directory that the transformers package loads.
    Transformers,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut unfinished = Unfinished::beside(&arguments.folder)?;
    let mut client = session.heads().await?;
    let format = match arguments.format {
        Shape::Head => ExportFormat::HeadFolder,
        Shape::Transformers => ExportFormat::Transformers,
    };
    let Arguments { task, version, goldens, .. } = &arguments;
    let request =
        ExportHeadRequest { task: task.clone(), version: version.clone(), format: format.into(), goldens: *goldens };
    let reply = client.export_head(session.call(request)).await.map_err(|status| session.failed(status))?;
    let mut parts = reply.into_inner();
    let first = parts.message().await.map_err(|status| session.failed(status))?;
    let Some(Part::Header(header)) = first.and_then(|message| message.part) else {
        return Err(session.failed(Status::internal("the export does not begin with its header")));
    };
    unfinished.make()?;
    let bar = Bar::of_bytes(header.files.iter().map(|file| file.size_bytes).sum());
    while let Some(message) = parts.message().await.map_err(|status| session.failed(status))? {
        let Some(Part::Chunk(chunk)) = message.part else { continue };
        unfinished.append(&chunk, session)?;
        bar.advance(chunk.data.len() as u64);
    }
    bar.finish();
    unfinished.check_complete(&header).map_err(|message| session.failed(Status::data_loss(message)))?;
    unfinished.finish()?;
    report(&header, &arguments.folder, session)?;
    Ok(Outcome::Done)
}

/// The folder while it is filled, beside the place where it will stand. Dropped before it is finished, it goes away.
struct Unfinished {
    target: PathBuf,
    folder: PathBuf,
    made: bool,
    files: Vec<Writing>,
}

/// A file that is being written.
struct Writing {
    name: String,
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Unfinished {
    fn beside(target: &Path) -> Result<Self, CliError> {
        let Some(name) = target.file_name() else {
            return Err(CliError::Usage(format!("{} names no folder that could be made", target.display())));
        };
        if fs::read_dir(target).is_ok_and(|mut files| files.next().is_some()) {
            return Err(CliError::Usage(format!("{} already holds files", target.display())));
        }
        let hidden = format!(".{}.unfinished-{}", name.to_string_lossy(), std::process::id());
        Ok(Self { target: target.to_owned(), folder: target.with_file_name(hidden), made: false, files: Vec::new() })
    }

    fn make(&mut self) -> Result<(), CliError> {
        fs::create_dir_all(&self.folder).map_err(saving(&self.folder))?;
        self.made = true;
        Ok(())
    }

    fn append(&mut self, chunk: &FileChunk, session: &Session) -> Result<(), CliError> {
        if self.files.last().is_none_or(|writing| writing.name != chunk.name) {
            if !is_plain_name(&chunk.name) {
                return Err(session.failed(Status::internal("the export names a file outside the folder")));
            }
            let path = self.folder.join(&chunk.name);
            let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(saving(&path))?;
            self.files.push(Writing { name: chunk.name.clone(), path, file, bytes: 0 });
        }
        let Some(writing) = self.files.last_mut().filter(|writing| writing.bytes == chunk.offset) else {
            return Err(session.failed(Status::data_loss("the export has a gap")));
        };
        writing.file.write_all(&chunk.data).map_err(saving(&writing.path))?;
        writing.bytes += chunk.data.len() as u64;
        Ok(())
    }

    fn check_complete(&self, header: &ExportHeader) -> Result<(), String> {
        for declared in &header.files {
            let written = self.files.iter().find(|writing| writing.name == declared.name);
            let bytes = written.map_or(0, |writing| writing.bytes);
            if bytes != declared.size_bytes {
                return Err(format!("{} has {bytes} of {} bytes", declared.name, declared.size_bytes));
            }
        }
        Ok(())
    }

    /// Puts the folder in its place, files on disk first.
    fn finish(mut self) -> Result<(), CliError> {
        for writing in &self.files {
            writing.file.sync_all().map_err(saving(&writing.path))?;
        }
        fs::rename(&self.folder, &self.target).map_err(saving(&self.target))?;
        self.made = false;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.made {
            // What cannot be removed is found beside the target under a name that says what it is.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn saving(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    move |cause| CliError::Save { path: path.to_owned(), cause }
}

/// Whether the name stays inside the folder, wherever this runs.
fn is_plain_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
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
