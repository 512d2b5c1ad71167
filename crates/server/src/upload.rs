//! A head folder as it comes over the wire: a header, then the pieces of its two files.

use api::v1;
use api::v1::install_head_request::Part;
use registry::{Digest, HeadFolder, MANIFEST_FILE, WEIGHTS_FILE};
use tonic::{Status, Streaming};

use crate::status::{correct_transport, digest_mismatch, invalid_field};

/// A head is at most this large, both files together.
const MAX_HEAD_BYTES: usize = 64 << 20;
const MAX_CHUNK_BYTES: usize = 1 << 20;

/// Reads a whole upload. Nothing is kept of one that is refused.
pub(crate) async fn receive(
    mut parts: Streaming<v1::InstallHeadRequest>,
) -> Result<(v1::InstallHeader, HeadFolder), Status> {
    let header = match next(&mut parts).await? {
        Some(Part::Header(header)) => header,
        Some(Part::Chunk(_)) | None => return Err(invalid_field("header", "the first message must be the header")),
    };
    let mut folder = HeadFolder { head_toml: Vec::new(), weights: Vec::new() };
    while let Some(part) = next(&mut parts).await? {
        match part {
            Part::Chunk(chunk) => append(&mut folder, chunk)?,
            Part::Header(_) => return Err(invalid_field("header", "a second header")),
        }
    }
    check_whole(&folder, &header.files)?;
    Ok((header, folder))
}

/// Whether both files arrived, as they were declared.
pub(crate) fn check_whole(folder: &HeadFolder, declared: &[v1::FileDeclaration]) -> Result<(), Status> {
    for (name, bytes) in [(MANIFEST_FILE, &folder.head_toml), (WEIGHTS_FILE, &folder.weights)] {
        if bytes.is_empty() {
            return Err(invalid_field(name, "the file did not arrive"));
        }
    }
    declared.iter().try_for_each(|declared| check_declaration(declared, folder))
}

async fn next(parts: &mut Streaming<v1::InstallHeadRequest>) -> Result<Option<Part>, Status> {
    match parts.message().await.map_err(correct_transport)? {
        Some(v1::InstallHeadRequest { part: None }) => Err(invalid_field("part", "neither header nor chunk")),
        Some(message) => Ok(message.part),
        None => Ok(None),
    }
}

/// Takes the next piece of a file.
pub(crate) fn append(folder: &mut HeadFolder, chunk: v1::FileChunk) -> Result<(), Status> {
    let total = folder.head_toml.len() + folder.weights.len() + chunk.data.len();
    if chunk.data.len() > MAX_CHUNK_BYTES {
        let reason = format!("{} bytes, the limit of a chunk is {MAX_CHUNK_BYTES}", chunk.data.len());
        return Err(invalid_field("chunk.data", &reason));
    }
    if total > MAX_HEAD_BYTES {
        return Err(invalid_field("chunk.data", &format!("the head is larger than {MAX_HEAD_BYTES} bytes")));
    }
    let file = file_of(folder, &chunk.name)?;
    if chunk.offset != file.len() as u64 {
        let reason = format!("{}, the next byte expected is {}", chunk.offset, file.len());
        return Err(invalid_field("chunk.offset", &reason));
    }
    file.extend_from_slice(&chunk.data);
    Ok(())
}

fn file_of<'a>(folder: &'a mut HeadFolder, name: &str) -> Result<&'a mut Vec<u8>, Status> {
    match name {
        MANIFEST_FILE => Ok(&mut folder.head_toml),
        WEIGHTS_FILE => Ok(&mut folder.weights),
        _ => Err(invalid_field("chunk.name", &format!("expected {MANIFEST_FILE} or {WEIGHTS_FILE}"))),
    }
}

fn check_declaration(declared: &v1::FileDeclaration, folder: &HeadFolder) -> Result<(), Status> {
    let bytes = match declared.name.as_str() {
        MANIFEST_FILE => &folder.head_toml,
        WEIGHTS_FILE => &folder.weights,
        _ => return Err(invalid_field("header.files.name", &format!("expected {MANIFEST_FILE} or {WEIGHTS_FILE}"))),
    };
    if declared.size_bytes != bytes.len() as u64 {
        let message =
            format!("{}: {} bytes arrived, {} were declared", declared.name, bytes.len(), declared.size_bytes);
        return Err(digest_mismatch(&message));
    }
    if !declared.sha256.is_empty() && !declared.sha256.eq_ignore_ascii_case(&Digest::of(bytes).hex()) {
        return Err(digest_mismatch(&format!("{}: the bytes that arrived have another sha256", declared.name)));
    }
    Ok(())
}
