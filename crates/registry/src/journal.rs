//! Our own second account of the registry, beside the record store: snapshots, and a tail of changes behind each.
//!
//! ```text
//! <generation, 16 hexadecimal digits>.snapshot   the registry at that generation
//! <the same>.tail                                the changes after it, until the next snapshot
//! ```
//! The newest valid snapshot and the tails from it on give every acknowledged change. Five snapshots are kept, with
//! their tails: if the newest is damaged, the one before and its tail lead to the same place.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::error::RegistryError;
use crate::files;
use crate::snapshot;
use crate::store::{RecordBatch, Records};
use crate::tail;

const SNAPSHOTS_KEPT: usize = 5;
const SNAPSHOT: &str = "snapshot";
const TAIL: &str = "tail";
/// A tail below this size is never worth a snapshot.
const MIN_TAIL_BYTES: u64 = 1 << 20;

/// The journal being written.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    /// Held open so that a failed write-back of the directory is reported to it.
    handle: File,
    tail: File,
    tail_bytes: u64,
    snapshot_bytes: u64,
}

/// What a journal on disk says.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) generation: u64,
    pub(crate) records: Records,
    /// Whether the newest snapshot alone says all of it.
    pub(crate) is_absorbed: bool,
}

/// Reads the journal in `dir`; `None` if no snapshot in it is valid.
pub(crate) fn load(dir: &Path) -> Result<Option<Account>, RegistryError> {
    let snapshots = generations(dir, SNAPSHOT)?;
    let Some((base, (generation, mut records))) = snapshots.iter().rev().find_map(|&base| {
        let bytes = fs::read(file_path(dir, base, SNAPSHOT)).ok()?;
        snapshot::decode(&bytes).filter(|(generation, _)| *generation == base).map(|decoded| (base, decoded))
    }) else {
        return Ok(None);
    };
    let mut reached = generation;
    for tail_base in generations(dir, TAIL)? {
        // A tail that cannot be read is a tail that ends: the record store may still know more.
        let bytes = fs::read(file_path(dir, tail_base, TAIL)).unwrap_or_default();
        for (generation, batch) in tail::decode(&bytes) {
            if generation == reached + 1 {
                batch.apply_to(&mut records);
                reached = generation;
            }
        }
    }
    let is_absorbed = base == reached && snapshots.last() == Some(&base);
    Ok(Some(Account { generation: reached, records, is_absorbed }))
}

/// Which snapshots are not as they were written, in words.
pub(crate) fn damaged_snapshots(dir: &Path) -> Result<Vec<String>, RegistryError> {
    let is_valid = |generation: u64| {
        let bytes = fs::read(file_path(dir, generation, SNAPSHOT)).unwrap_or_default();
        snapshot::decode(&bytes).is_some_and(|(found, _)| found == generation)
    };
    let damaged = generations(dir, SNAPSHOT)?.into_iter().filter(|generation| !is_valid(*generation));
    Ok(damaged.map(|generation| format!("the snapshot of generation {generation} is damaged")).collect())
}

impl Journal {
    /// Goes on from `generation`; writes a snapshot unless `is_absorbed` says that there is one.
    pub(crate) fn start(
        dir: &Path,
        generation: u64,
        records: &Records,
        is_absorbed: bool,
    ) -> Result<Self, RegistryError> {
        let handle = File::open(dir).map_err(RegistryError::io("open", dir))?;
        let bytes = snapshot::encode(generation, records);
        if !is_absorbed {
            write_snapshot(dir, generation, &bytes)?;
        }
        let tail = new_tail(dir, generation)?;
        handle.sync_all().map_err(RegistryError::io("sync", dir))?;
        prune(dir);
        Ok(Self { dir: dir.to_owned(), handle, tail, tail_bytes: 0, snapshot_bytes: bytes.len() as u64 })
    }

    /// Makes one change durable.
    pub(crate) fn append(&mut self, generation: u64, batch: &RecordBatch) -> Result<(), RegistryError> {
        let frame = tail::encode(generation, batch);
        tail::append(&mut self.tail, &frame).map_err(RegistryError::io("append to", &self.dir))?;
        self.tail_bytes += frame.len() as u64;
        Ok(())
    }

    /// Whether the tail has grown so long that a snapshot is due.
    pub(crate) fn is_long(&self) -> bool {
        self.tail_bytes > self.snapshot_bytes.max(MIN_TAIL_BYTES)
    }

    /// Writes a snapshot that takes the place of the tail.
    pub(crate) fn absorb(&mut self, generation: u64, records: &Records) -> Result<(), RegistryError> {
        if self.tail_bytes == 0 {
            return Ok(());
        }
        let bytes = snapshot::encode(generation, records);
        write_snapshot(&self.dir, generation, &bytes)?;
        self.tail = new_tail(&self.dir, generation)?;
        self.handle.sync_all().map_err(RegistryError::io("sync", &self.dir))?;
        (self.tail_bytes, self.snapshot_bytes) = (0, bytes.len() as u64);
        prune(&self.dir);
        Ok(())
    }
}

/// Puts a snapshot's bytes into the journal; the caller syncs the directory.
pub(crate) fn write_snapshot(dir: &Path, generation: u64, bytes: &[u8]) -> Result<(), RegistryError> {
    let path = file_path(dir, generation, SNAPSHOT);
    files::replace(&path, bytes)
}

/// An empty tail, in place of any unfinished one of the same name.
fn new_tail(dir: &Path, generation: u64) -> Result<File, RegistryError> {
    let path = file_path(dir, generation, TAIL);
    files::replace(&path, &[])?;
    OpenOptions::new().append(true).open(&path).map_err(RegistryError::io("open", &path))
}

/// Removes what is older than the snapshots kept. Failing is harmless: the next snapshot tries again.
fn prune(dir: &Path) {
    let Ok(snapshots) = generations(dir, SNAPSHOT) else { return };
    let Some(&oldest) = snapshots.iter().rev().take(SNAPSHOTS_KEPT).next_back() else { return };
    for kind in [SNAPSHOT, TAIL] {
        let older = generations(dir, kind).unwrap_or_default().into_iter().filter(|generation| *generation < oldest);
        older.for_each(|generation| drop(fs::remove_file(file_path(dir, generation, kind))));
    }
}

fn file_path(dir: &Path, generation: u64, kind: &str) -> PathBuf {
    dir.join(format!("{generation:016x}.{kind}"))
}

/// The generations that have a file of this kind, ascending.
fn generations(dir: &Path, kind: &str) -> Result<Vec<u64>, RegistryError> {
    let entries = fs::read_dir(dir).map_err(RegistryError::io("list", dir))?;
    let mut generations = Vec::new();
    for entry in entries {
        let name = entry.map_err(RegistryError::io("list", dir))?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(kind)?.strip_suffix('.'));
        if let Some(digits) = digits.filter(|digits| digits.len() == 16)
            && let Ok(generation) = u64::from_str_radix(digits, 16)
        {
            generations.push(generation);
        }
    }
    generations.sort_unstable();
    Ok(generations)
}

#[cfg(test)]
impl Journal {
    /// Puts a file that refuses writing in the tail's place.
    pub(crate) fn break_tail(&mut self, tail: File) {
        self.tail = tail;
    }
}
