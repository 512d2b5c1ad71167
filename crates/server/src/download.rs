//! A head folder as it goes over the wire: a header, then the pieces of its two files.

use api::v1;
use api::v1::export_head_response::Part;
use registry::{Digest, HeadFolder, Installed, MANIFEST_FILE, WEIGHTS_FILE};
use tokio::sync::mpsc;
use tonic::Status;

const CHUNK_BYTES: usize = 512 << 10;
/// Messages that wait for a slow reader; the sender waits with them.
const MAX_WAITING: usize = 4;

/// Sends `folder` on a task of its own, at the reader's pace; ends when the reader goes away.
pub(crate) fn send(
    installed: &Installed,
    folder: HeadFolder,
) -> mpsc::Receiver<Result<v1::ExportHeadResponse, Status>> {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let head_digest = Digest::of(&folder.head_toml);
    let files = [(MANIFEST_FILE, folder.head_toml), (WEIGHTS_FILE, folder.weights)];
    let declaration = |(name, bytes): &(&str, Vec<u8>)| v1::FileDeclaration {
        name: (*name).to_owned(),
        size_bytes: bytes.len() as u64,
        sha256: Digest::of(bytes).hex(),
    };
    let header = v1::ExportHeader {
        task: installed.key.task.to_string(),
        version: installed.version.number(),
        head_digest: head_digest.to_string(),
        encoder_digest: installed.encoder.to_string(),
        files: files.iter().map(declaration).collect(),
    };
    tokio::spawn(async move {
        // A reader that has gone away needs nothing more.
        let _ = send_parts(&sender, header, &files).await;
    });
    receiver
}

async fn send_parts(
    sender: &mpsc::Sender<Result<v1::ExportHeadResponse, Status>>,
    header: v1::ExportHeader,
    files: &[(&str, Vec<u8>)],
) -> Result<(), mpsc::error::SendError<Result<v1::ExportHeadResponse, Status>>> {
    let response = |part| Ok(v1::ExportHeadResponse { part: Some(part) });
    sender.send(response(Part::Header(header))).await?;
    for (name, bytes) in files {
        let mut offset = 0;
        for data in bytes.chunks(CHUNK_BYTES) {
            let chunk = v1::FileChunk { name: (*name).to_owned(), offset, data: data.to_vec() };
            sender.send(response(Part::Chunk(chunk))).await?;
            offset += data.len() as u64;
        }
    }
    Ok(())
}
