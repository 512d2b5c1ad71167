//! The zip archive around a pickled checkpoint, under caps: only the entries that PyTorch writes, stored as they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::error::CheckpointError;

/// The most entries an archive may list.
const MAX_ENTRIES: usize = 65_536;
/// The longest pickle inside an archive: names and shapes, never numbers.
const MAX_PICKLE_BYTES: u64 = 32 << 20;
/// The longest name of a storage; early releases of PyTorch used addresses.
const MAX_KEY_DIGITS: usize = 20;
/// How much of a file's beginning tells its format.
const MAGIC_BYTES: usize = 512;
/// Where a tar archive says that it is one.
const TAR_MAGIC: std::ops::Range<usize> = 257..262;

/// The archive of one pickled checkpoint.
#[derive(Debug)]
pub(crate) struct Archive {
    file: File,
    zip: ZipArchive<File>,
    pickle: usize,
    storages: BTreeMap<String, usize>,
}

/// Where the numbers of one storage lie in the archive's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StorageRange {
    /// First byte.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) bytes: u64,
}

fn refused(reason: impl Into<String>) -> CheckpointError {
    CheckpointError::BadPickle(reason.into())
}

fn bad_zip(error: ZipError) -> CheckpointError {
    refused(format!("the archive is malformed: {error}"))
}

impl Archive {
    /// Opens the archive in `file` and checks its whole directory.
    ///
    /// # Errors
    /// [`CheckpointError::BadPickle`] for other formats, by name, and for every entry that PyTorch would not write.
    pub(crate) fn open(file: File) -> Result<Self, CheckpointError> {
        let length = file.metadata().map_err(CheckpointError::io("the pickle"))?.len();
        check_magic(&file, length)?;
        let reader = file.try_clone().map_err(CheckpointError::io("the pickle"))?;
        let mut zip = ZipArchive::new(reader).map_err(bad_zip)?;
        if zip.len() > MAX_ENTRIES {
            return Err(refused(format!("{} entries, the limit is {MAX_ENTRIES}", zip.len())));
        }
        if zip.has_duplicate_names() || zip.has_overlapping_entries().map_err(bad_zip)? {
            return Err(refused("entries of the archive repeat or overlap"));
        }
        let mut pickle = None;
        let mut storages = BTreeMap::new();
        let mut total = 0u64;
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(bad_zip)?;
            let name = entry.name().map_err(bad_zip)?.into_owned();
            let shown: String = name.chars().take(100).collect();
            if entry.encrypted() || !entry.is_file() || entry.is_symlink() {
                return Err(refused(format!("entry {shown:?} is encrypted, a folder or a link")));
            }
            if entry.compression() != CompressionMethod::Stored || entry.size() != entry.compressed_size() {
                return Err(refused(format!("entry {shown:?} is compressed; PyTorch stores its entries as they are")));
            }
            total = total.saturating_add(entry.size());
            if total > length {
                return Err(refused(format!("its entries claim more than the {length} bytes of the file")));
            }
            match role(&name).ok_or_else(|| refused(format!("entry {shown:?} is not one that PyTorch writes")))? {
                Role::Pickle if pickle.is_some() => return Err(refused("two pickles in one archive")),
                Role::Pickle => pickle = Some(index),
                Role::Storage(key) => drop(storages.insert(key.to_owned(), index)),
                Role::TorchScript => {
                    return Err(refused(
                        "this is a TorchScript program; save the model's state_dict() with torch.save instead",
                    ));
                }
                Role::ByteOrder => {
                    drop(entry);
                    let mut order = Vec::new();
                    zip.by_index(index).map_err(bad_zip)?.take(16).read_to_end(&mut order).map_err(unreadable)?;
                    if order != b"little" {
                        return Err(refused("its numbers are not little-endian"));
                    }
                }
                Role::Ignored => {}
            }
        }
        let pickle = pickle.ok_or_else(|| refused("the archive has no data.pkl"))?;
        Ok(Self { file, zip, pickle, storages })
    }

    /// The pickle itself, its checksum verified.
    pub(crate) fn pickle(&mut self) -> Result<Vec<u8>, CheckpointError> {
        let entry = self.zip.by_index(self.pickle).map_err(bad_zip)?;
        if entry.size() > MAX_PICKLE_BYTES {
            return Err(refused(format!("data.pkl has {} bytes, the limit is {MAX_PICKLE_BYTES}", entry.size())));
        }
        let mut bytes = Vec::new();
        entry.take(MAX_PICKLE_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    /// Reads the storage `key` through its checksum and says where it lies.
    pub(crate) fn storage(&mut self, key: &str) -> Result<StorageRange, CheckpointError> {
        let index = *self.storages.get(key).ok_or_else(|| refused(format!("storage {key:?} is not in the archive")))?;
        let mut entry = self.zip.by_index(index).map_err(bad_zip)?;
        let start = entry.data_start().ok_or_else(|| refused(format!("storage {key:?} has no data")))?;
        let bytes = io::copy(&mut entry, &mut io::sink()).map_err(unreadable)?;
        Ok(StorageRange { start, bytes })
    }

    /// Fills `bytes` from the archive's file, starting at `start`.
    pub(crate) fn read_at(&self, start: u64, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        self.file.read_exact_at(bytes, start).map_err(unreadable)
    }
}

fn unreadable(error: io::Error) -> CheckpointError {
    refused(format!("the archive cannot be read: {error}"))
}

fn check_magic(file: &File, length: u64) -> Result<(), CheckpointError> {
    let mut first = vec![0; MAGIC_BYTES.min(length as usize)];
    file.read_exact_at(&mut first, 0).map_err(unreadable)?;
    if first.starts_with(b"PK\x03\x04") {
        Ok(())
    } else if first.get(TAR_MAGIC) == Some(b"ustar") {
        Err(refused("this is a tar archive, PyTorch's format of before 2017; load and save it again with torch.save"))
    } else if first.first() == Some(&0x80) {
        Err(refused("this is a bare pickle, PyTorch's format of before 1.6; load and save it again with torch.save"))
    } else {
        Err(refused("it does not begin like a zip archive"))
    }
}

enum Role<'a> {
    Pickle,
    Storage(&'a str),
    ByteOrder,
    TorchScript,
    Ignored,
}

/// What the entry `name` is for; `None` for a name that PyTorch does not write. All names begin with one folder.
fn role(name: &str) -> Option<Role<'_>> {
    let (folder, inside) = name.split_once('/')?;
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0', ':']);
    if !plain(folder) || inside.contains("..") || name.len() > 512 {
        return None;
    }
    match inside {
        "data.pkl" => Some(Role::Pickle),
        "byteorder" => Some(Role::ByteOrder),
        "version" | ".format_version" | ".storage_alignment" | ".data/serialization_id" => Some(Role::Ignored),
        "constants.pkl" => Some(Role::TorchScript),
        _ if inside.starts_with("code/") || inside.starts_with("constants/") => Some(Role::TorchScript),
        _ => {
            let key = inside.strip_prefix("data/")?;
            let is_number =
                !key.is_empty() && key.len() <= MAX_KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then_some(Role::Storage(key))
        }
    }
}
