//! A registry as one tar file, the same bytes for the same generation wherever it is written.
//!
//! ```text
//! registry.snapshot          the records, as in the journal
//! objects/<sha256>           each object, sorted
//! SHA256SUMS                 a line for each entry before, as sha256sum writes and checks it
//! ```
//! Owner, time and mode of the entries are fixed. The sums come last, so that a file that was cut has none.

use std::io::{Read, Write};
use std::path::Path;

use crate::digest::Digest;
use crate::error::RegistryError;

/// Name of the snapshot.
pub(crate) const SNAPSHOT_ENTRY: &str = "registry.snapshot";
/// What stands before an object's digest.
pub(crate) const OBJECT_PREFIX: &str = "objects/";
const SUMS_ENTRY: &str = "SHA256SUMS";
/// More than any entry can have: a head's weights stay below.
const MAX_ENTRY_BYTES: u64 = 1 << 30;
const MODE: u32 = 0o644;

/// Writes an archive entry by entry.
pub(crate) struct ArchiveWriter<W: Write> {
    tar: tar::Builder<W>,
    sums: String,
}

impl<W: Write> ArchiveWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { tar: tar::Builder::new(out), sums: String::new() }
    }

    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        self.append(name, bytes)?;
        self.sums.push_str(&sum_line(name, bytes));
        Ok(())
    }

    /// Writes the sums and the end.
    pub(crate) fn finish(mut self) -> Result<(), RegistryError> {
        let sums = std::mem::take(&mut self.sums);
        self.append(SUMS_ENTRY, sums.as_bytes())?;
        let mut out = self.tar.into_inner().map_err(RegistryError::io("write", Path::new(SUMS_ENTRY)))?;
        out.flush().map_err(RegistryError::io("write", Path::new(SUMS_ENTRY)))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes.len() as u64);
        header.set_mode(MODE);
        for set in [tar::Header::set_uid, tar::Header::set_gid, tar::Header::set_mtime] {
            set(&mut header, 0);
        }
        self.tar.append_data(&mut header, name, bytes).map_err(RegistryError::io("write", Path::new(name)))
    }
}

/// Hands every entry to `take`, in order, and proves at the end that the archive is whole.
///
/// # Errors
/// [`RegistryError::Damaged`] for anything but what [`ArchiveWriter`] writes, and what `take` refuses.
pub(crate) fn read(
    source: impl Read,
    mut take: impl FnMut(&str, Vec<u8>) -> Result<(), RegistryError>,
) -> Result<(), RegistryError> {
    let reading = || RegistryError::io("read", Path::new("the archive"));
    let mut tar = tar::Archive::new(source);
    let mut sums = String::new();
    let mut is_proven = false;
    for entry in tar.entries().map_err(reading())? {
        let mut entry = entry.map_err(reading())?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if is_proven || !entry.header().entry_type().is_file() || entry.size() > MAX_ENTRY_BYTES {
            return Err(damaged(&format!("entry {name:?} has no place in it")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(reading())?;
        if name == SUMS_ENTRY {
            is_proven = bytes == sums.as_bytes();
            if !is_proven {
                return Err(damaged("its checksums differ from its content"));
            }
        } else {
            sums.push_str(&sum_line(&name, &bytes));
            take(&name, bytes)?;
        }
    }
    if is_proven { Ok(()) } else { Err(damaged("it ends before its checksums")) }
}

pub(crate) fn damaged(problem: &str) -> RegistryError {
    RegistryError::Damaged { what: format!("the archive ({problem})") }
}

fn sum_line(name: &str, bytes: &[u8]) -> String {
    format!("{}  {name}\n", Digest::of(bytes).hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = ArchiveWriter::new(&mut bytes);
        entries.iter().for_each(|(name, content)| archive.add(name, content).unwrap());
        archive.finish().unwrap();
        bytes
    }

    fn entries(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, RegistryError> {
        let mut entries = Vec::new();
        read(bytes, |name, content| {
            entries.push((name.to_owned(), content));
            Ok(())
        })?;
        Ok(entries)
    }

    #[test]
    fn an_archive_with_any_byte_of_its_content_changed_or_cut_anywhere_is_refused() {
        let whole = written(&[("registry.snapshot", b"records"), ("objects/a", &[7; 600])]);
        assert_eq!(entries(&whole).unwrap().len(), 2);
        // The last two blocks are the end mark.
        for cut in 0..whole.len() - 1024 {
            assert!(entries(&whole[..cut]).is_err(), "cut at {cut}");
        }
        // The content of both entries and that of the sums.
        for place in (512..519).chain(1536..2136).chain(3072..3180) {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(entries(&changed).is_err(), "byte {place}");
        }
    }

    #[test]
    fn links_and_entries_behind_the_sums_are_refused() {
        let mut bytes = Vec::new();
        let mut archive = ArchiveWriter::new(&mut bytes);
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.tar.append_link(&mut header, "registry.snapshot", "/etc/hostname").unwrap();
        archive.finish().unwrap();
        assert!(matches!(entries(&bytes), Err(RegistryError::Damaged { .. })));
        let twice = [&written(&[])[..512], &written(&[])].concat();
        assert!(matches!(entries(&twice), Err(RegistryError::Damaged { .. })));
    }
}
