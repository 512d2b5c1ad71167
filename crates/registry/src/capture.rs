//! One generation of a registry held still: what it said, and leave to read its objects while changes go on.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::archive::{ArchiveWriter, OBJECT_PREFIX, SNAPSHOT_ENTRY};
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::lock::DirectoryLock;
use crate::objects::ObjectFolder;

/// A registry as it stood at one generation. Its objects stay on the disk until it is dropped.
#[derive(Debug)]
pub struct Capture {
    generation: u64,
    /// The records, as a snapshot's bytes.
    snapshot: Vec<u8>,
    objects: BTreeSet<Digest>,
    folder: ObjectFolder,
    _hold: Hold,
}

/// What keeps the objects where they are.
#[derive(Debug)]
#[expect(dead_code, reason = "held, and let go when it is dropped")]
pub(crate) enum Hold {
    /// Nobody may change the directory.
    Directory(Option<DirectoryLock>),
    /// Changes go on, and leave these objects.
    Objects(Pin),
}

/// What an archive has become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archived {
    /// The generation it holds.
    pub generation: u64,
    /// Objects in it.
    pub objects: usize,
    /// Objects that are damaged and so left out; the versions that need them are damaged wherever it is imported.
    pub left_out: Vec<Digest>,
}

impl Capture {
    pub(crate) fn new(
        generation: u64,
        snapshot: Vec<u8>,
        objects: BTreeSet<Digest>,
        folder: ObjectFolder,
        hold: Hold,
    ) -> Self {
        Self { generation, snapshot, objects, folder, _hold: hold }
    }

    /// The generation it holds.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of its objects.
    #[must_use]
    pub fn n_objects(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn objects(&self) -> &BTreeSet<Digest> {
        &self.objects
    }

    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        self.folder.read(digest)
    }

    /// Writes it as an archive, each object proven; `progress` hears how many objects are done.
    ///
    /// # Errors
    /// If `out` does not take it.
    pub fn write_archive(&self, out: impl Write, mut progress: impl FnMut(usize)) -> Result<Archived, RegistryError> {
        let mut archive = ArchiveWriter::new(out);
        archive.add(SNAPSHOT_ENTRY, &self.snapshot)?;
        let mut archived = Archived { generation: self.generation, ..Archived::default() };
        for (done, digest) in self.objects.iter().enumerate() {
            match self.read(digest) {
                Ok(bytes) => {
                    archive.add(&format!("{OBJECT_PREFIX}{}", digest.hex()), &bytes)?;
                    archived.objects += 1;
                }
                Err(error) => {
                    tracing::error!(%digest, %error, "an object is damaged and left out of the archive");
                    archived.left_out.push(*digest);
                }
            }
            progress(done + 1);
        }
        archive.finish()?;
        Ok(archived)
    }
}

/// The objects that captures read, with the number of captures of each. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins(Arc<Mutex<HashMap<Digest, usize>>>);

/// Keeps some objects from being removed until it is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Pins,
    objects: Vec<Digest>,
}

impl Pins {
    pub(crate) fn pin(&self, objects: impl Iterator<Item = Digest>) -> Pin {
        let objects: Vec<_> = objects.collect();
        let mut counts = self.counts();
        objects.iter().for_each(|digest| *counts.entry(*digest).or_default() += 1);
        drop(counts);
        Pin { pins: self.clone(), objects }
    }

    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.counts().contains_key(digest)
    }

    /// Every pinned object.
    pub(crate) fn all(&self) -> Vec<Digest> {
        self.counts().keys().copied().collect()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        // Each change of the counts is whole, so a holder that panicked has broken nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut counts = self.pins.counts();
        for digest in &self.objects {
            if let Some(count) = counts.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(digest);
                }
            }
        }
    }
}
