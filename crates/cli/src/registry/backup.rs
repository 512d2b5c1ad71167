//! `headwater registry backup`: one generation of everything stored, in one file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use api::v1::backup_registry_response::Part;
use api::v1::{BackupHeader, BackupRegistryRequest, BackupTrailer};
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};
use tonic::Status;

use crate::config::Format;
use crate::error::CliError;
use crate::progress::Bar;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// File to save in; it is made, whole or not at all, and must not be there yet.
    file: PathBuf,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let target = arguments.file;
    if target.symlink_metadata().is_ok() {
        return Err(CliError::Usage(format!("{} is there already", target.display())));
    }
    let mut client = session.registry().await?;
    let call = session.call(BackupRegistryRequest {});
    let mut parts = client.backup_registry(call).await.map_err(|status| session.failed(status))?.into_inner();
    let first = parts.message().await.map_err(|status| session.failed(status))?;
    let Some(Part::Header(header)) = first.and_then(|message| message.part) else {
        return Err(session.failed(Status::internal("the backup does not begin with its header")));
    };
    let mut unfinished = Unfinished::beside(&target)?;
    let bar = Bar::of_bytes(header.estimated_bytes);
    let trailer = loop {
        match parts.message().await.map_err(|status| session.failed(status))?.and_then(|message| message.part) {
            Some(Part::Data(data)) => {
                unfinished.append(&data)?;
                bar.advance(data.len() as u64);
            }
            Some(Part::Trailer(trailer)) => break trailer,
            Some(Part::Header(_)) | None => {
                return Err(session.failed(Status::data_loss("the backup ended before its trailer")));
            }
        }
    };
    bar.finish();
    if unfinished.bytes != trailer.size_bytes || unfinished.sum() != trailer.sha256 {
        return Err(session.failed(Status::data_loss("the bytes that arrived are not those that were sent")));
    }
    unfinished.finish(&target)?;
    report(&header, &trailer, &target, session)?;
    Ok(Outcome::of_failures(trailer.left_out_objects))
}

/// The file while it is written, beside the place where it will stand. Dropped before it is finished, it goes away.
struct Unfinished {
    path: PathBuf,
    file: File,
    sum: Sha256,
    bytes: u64,
    is_finished: bool,
}

impl Unfinished {
    fn beside(target: &Path) -> Result<Self, CliError> {
        let Some(name) = target.file_name() else {
            return Err(CliError::Usage(format!("{} names no file that could be made", target.display())));
        };
        let path = target.with_file_name(format!(".{}.unfinished-{}", name.to_string_lossy(), std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(saving(&path))?;
        Ok(Self { path, file, sum: Sha256::new(), bytes: 0, is_finished: false })
    }

    fn append(&mut self, data: &[u8]) -> Result<(), CliError> {
        self.file.write_all(data).map_err(saving(&self.path))?;
        self.sum.update(data);
        self.bytes += data.len() as u64;
        Ok(())
    }

    fn sum(&self) -> String {
        format!("{:x}", self.sum.clone().finalize())
    }

    /// On the disk first, then in its place.
    fn finish(mut self, target: &Path) -> Result<(), CliError> {
        self.file.sync_all().map_err(saving(&self.path))?;
        fs::rename(&self.path, target).map_err(saving(target))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed is found beside the target under a name that says what it is.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn saving(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    move |cause| CliError::Save { path: path.to_owned(), cause }
}

fn report(
    header: &BackupHeader,
    trailer: &BackupTrailer,
    target: &Path,
    session: &mut Session,
) -> Result<(), CliError> {
    match session.printer.format() {
        Format::Json => session.printer.json(&json!({
            "file": target.display().to_string(),
            "generation": header.generation,
            "bytes": trailer.size_bytes,
            "sha256": trailer.sha256,
            "objects": trailer.objects,
            "left_out_objects": trailer.left_out_objects,
        })),
        Format::Table => {
            let line = format!(
                "generation {} is saved in {}: {} objects, {} bytes, sha256 {}",
                header.generation,
                target.display(),
                trailer.objects,
                trailer.size_bytes,
                trailer.sha256
            );
            session.printer.line(&line)?;
            if trailer.left_out_objects > 0 {
                let line = format!("{} damaged objects are not in it", trailer.left_out_objects);
                session.printer.line(&line)?;
            }
            Ok(())
        }
    }
}
