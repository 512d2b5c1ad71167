//! Content-addressed files: a tensor, a manifest or an adapter each, named by the SHA-256 of its bytes, written once, never changed.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::RegistryError;
use crate::files;
use crate::weights::little_endian;

/// From this many new objects on, one sync of the whole file system replaces a sync of each file.
const SYNC_TOGETHER: usize = 16;
const PARTIAL_SUFFIX: &str = ".part";

/// The content of an object that is not stored yet.
#[derive(Debug, Clone)]
pub(crate) enum NewObject {
    /// A canonical `head.toml`, or the tensors of an adapter.
    File(Vec<u8>),
    /// A tensor, stored as little-endian F32.
    Numbers(Arc<[f32]>),
}

/// The folder of objects.
#[derive(Debug)]
pub(crate) struct ObjectFolder {
    dir: PathBuf,
    /// Held open so that a failed write-back of the directory is reported to it.
    handle: File,
}

/// What was removed because nothing needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Object files, the half-written ones included.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl NewObject {
    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::File(bytes) => Cow::Borrowed(bytes),
            Self::Numbers(numbers) => Cow::Owned(little_endian(numbers)),
        }
    }

    /// Number of bytes it takes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File(bytes) => bytes.len() as u64,
            Self::Numbers(numbers) => 4 * numbers.len() as u64,
        }
    }
}

impl ObjectFolder {
    /// Opens the folder `dir`, which exists.
    pub(crate) fn open(dir: &Path) -> Result<Self, RegistryError> {
        let handle = File::open(dir).map_err(RegistryError::io("open", dir))?;
        Ok(Self { dir: dir.to_owned(), handle })
    }

    /// Stores `objects` durably. On an error nothing half-written is left under a final name.
    pub(crate) fn write(&self, objects: &[(Digest, NewObject)]) -> Result<(), RegistryError> {
        let fresh: Vec<_> = objects.iter().filter(|(digest, _)| self.read(digest).is_err()).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let together = fresh.len() >= SYNC_TOGETHER;
        let written = fresh.iter().try_for_each(|(digest, object)| {
            let path = self.partial(digest);
            let _ = fs::remove_file(&path);
            let file = files::write_new(&path, &object.bytes())?;
            if together { Ok(()) } else { file.sync_all().map_err(RegistryError::io("sync", &path)) }
        });
        let synced = written.and_then(|()| if together { files::sync_file_system(&self.dir) } else { Ok(()) });
        let moved = synced.and_then(|()| {
            fresh.iter().try_for_each(|(digest, _)| {
                let path = self.path(digest);
                fs::rename(self.partial(digest), &path).map_err(RegistryError::io("move", &path))
            })
        });
        if moved.is_err() {
            fresh.iter().for_each(|(digest, _)| drop(fs::remove_file(self.partial(digest))));
        }
        moved?;
        self.handle.sync_all().map_err(RegistryError::io("sync", &self.dir))
    }

    /// The bytes of an object, proven by its digest.
    ///
    /// # Errors
    /// [`RegistryError::Damaged`] if they are not what they were.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        files::open_regular(&path)?.read_to_end(&mut bytes).map_err(RegistryError::io("read", &path))?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(RegistryError::Damaged { what: format!("object {digest}") })
        }
    }

    /// A tensor object as numbers.
    pub(crate) fn read_numbers(&self, digest: &Digest) -> Result<Arc<[f32]>, RegistryError> {
        let bytes = self.read(digest)?;
        let (fours, []) = bytes.as_chunks::<4>() else {
            return Err(RegistryError::Damaged { what: format!("object {digest}") });
        };
        Ok(fours.iter().map(|four| f32::from_le_bytes(*four)).collect())
    }

    /// The digests of all objects, unchecked.
    pub(crate) fn list(&self) -> Result<Vec<Digest>, RegistryError> {
        Ok(self.names()?.iter().filter_map(|name| Digest::from_hex(name).ok()).collect())
    }

    /// Removes an object that nothing refers to any more. Failing is harmless: the next start tries again.
    pub(crate) fn remove(&self, digest: &Digest) {
        if let Err(error) = fs::remove_file(self.path(digest)) {
            tracing::warn!(%digest, %error, "an unused object stays");
        }
    }

    /// Digest and size of every object, unchecked.
    pub(crate) fn sizes(&self) -> Result<Vec<(Digest, u64)>, RegistryError> {
        // One that goes away meanwhile has no bytes.
        let size = |digest: Digest| (digest, fs::metadata(self.path(&digest)).map_or(0, |metadata| metadata.len()));
        Ok(self.list()?.into_iter().map(size).collect())
    }

    /// Removes whatever a crash left: partial files, and objects that are not in `kept`. Nothing may be written meanwhile.
    pub(crate) fn sweep(&self, kept: &HashSet<Digest>) -> Result<Swept, RegistryError> {
        let mut swept = Swept::default();
        for name in self.names()? {
            let unused = Digest::from_hex(&name).is_ok_and(|digest| !kept.contains(&digest));
            if unused || name.ends_with(PARTIAL_SUFFIX) {
                let path = self.dir.join(name);
                let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
                fs::remove_file(&path).map_err(RegistryError::io("remove", &path))?;
                swept.files += 1;
                swept.bytes += bytes;
            }
        }
        Ok(swept)
    }

    fn names(&self) -> Result<Vec<String>, RegistryError> {
        let entries = fs::read_dir(&self.dir).map_err(RegistryError::io("list", &self.dir))?;
        entries
            .map(|entry| Ok(entry.map_err(RegistryError::io("list", &self.dir))?.file_name()))
            .filter_map(|name| name.map(|name| name.into_string().ok()).transpose())
            .collect()
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    fn partial(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}{PARTIAL_SUFFIX}", digest.hex()))
    }
}
