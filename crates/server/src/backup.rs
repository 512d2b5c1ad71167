//! A backup as it goes over the wire: a header, the archive piece by piece, and a trailer with its digest.

use std::io::{self, Write};

use api::v1;
use api::v1::backup_registry_response::Part;
use registry::Capture;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;
use tracing::{info, warn};

use crate::status;

const CHUNK_BYTES: usize = 512 << 10;
/// Messages that wait for a slow reader; the thread waits with them.
const MAX_WAITING: usize = 4;

type Sender = mpsc::Sender<Result<v1::BackupRegistryResponse, Status>>;

/// Sends `capture` at the reader's pace, from a thread that may wait; ends when the reader goes away.
pub(crate) fn send(
    capture: Capture,
    estimated_bytes: u64,
    permit: OwnedSemaphorePermit,
) -> mpsc::Receiver<Result<v1::BackupRegistryResponse, Status>> {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let header = v1::BackupHeader { generation: capture.generation(), estimated_bytes };
        let mut pieces = Pieces { sender, piece: Vec::new(), sum: Sha256::new(), bytes: 0 };
        if pieces.give(Part::Header(header)).is_err() {
            return;
        }
        match capture.write_archive(&mut pieces, |_| {}) {
            Ok(archived) => {
                let trailer = v1::BackupTrailer {
                    size_bytes: pieces.bytes,
                    sha256: format!("{:x}", pieces.sum.clone().finalize()),
                    objects: archived.objects as u64,
                    left_out_objects: archived.left_out.len() as u64,
                };
                info!(generation = archived.generation, bytes = trailer.size_bytes, "backup sent");
                // A reader that has gone away needs nothing more.
                let _ = pieces.give(Part::Trailer(trailer));
            }
            Err(_) if pieces.sender.is_closed() => warn!("the reader of a backup has gone away"),
            Err(error) => drop(pieces.sender.blocking_send(Err(status::of_registry(error)))),
        }
    });
    receiver
}

/// Takes an archive's bytes and sends them on, in pieces.
struct Pieces {
    sender: Sender,
    piece: Vec<u8>,
    sum: Sha256,
    bytes: u64,
}

impl Pieces {
    fn give(&self, part: Part) -> io::Result<()> {
        let response = v1::BackupRegistryResponse { part: Some(part) };
        self.sender.blocking_send(Ok(response)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn give_piece(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.sum.update(&piece);
        self.bytes += piece.len() as u64;
        self.give(Part::Data(piece))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.piece.len());
        self.piece.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.piece.len() == CHUNK_BYTES {
            self.give_piece()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.give_piece()
    }
}
