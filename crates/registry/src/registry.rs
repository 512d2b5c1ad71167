//! The registry: everything durable about heads, in one data directory, changed by one writer.
//!
//! All calls may block on the disk. They belong on the one thread that applies changes, never on a request's path:
//! requests read what [`Registry::commit`] returned. Reading methods do not touch the disk, [`Registry::export_head`] included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use engine::{TaskKey, TenantName, Version};

use crate::audit_log::{AuditEntry, Author};
use crate::boot::{self, BootReport};
use crate::capture::Pins;
use crate::change::{Change, Committed, HistoryEntry, StoredTask};
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::head_folder::HeadFolder;
use crate::journal::Journal;
use crate::lock::DirectoryLock;
use crate::objects::ObjectFolder;
use crate::plan::{Plan, plan};
use crate::space::Space;
use crate::state::State;
use crate::steady_clock::SteadyClock;
use crate::store::RecordStore;
use crate::tenants::{StoredTenant, StoredToken, TokenId};

const FOR_READING: &str = "it was opened for reading";
const BROKEN_OFF: &str = "a change was broken off by a panic";

/// How to open a data directory.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Serve what is there and change nothing, not even a file.
    pub read_only: bool,
    /// Begin empty where neither the records nor the journal can be read. An operator's decision.
    pub accept_loss: bool,
    /// Take a data directory on a network file system.
    pub allow_network_file_system: bool,
    /// Size of the file that is given up to delete on a full disk; installs need as much free.
    pub ballast_bytes: u64,
    /// Memory of the record store's cache.
    pub cache_bytes: u64,
}

/// An open registry.
pub struct Registry {
    state: State,
    /// `None` where the directory was opened for reading.
    durable: Option<Durable>,
    /// Why no change is taken.
    read_only: Option<String>,
    report: BootReport,
    clock: SteadyClock,
    dir: PathBuf,
    /// Objects that captures read; each capture holds the other end.
    pins: Pins,
    /// Objects that were left without a reference while a capture read them.
    outlived: BTreeSet<Digest>,
    /// Held while the directory is read.
    _shared_lock: Option<DirectoryLock>,
}

/// The parts that write.
pub(crate) struct Durable {
    pub(crate) store: Box<dyn RecordStore>,
    pub(crate) objects: ObjectFolder,
    pub(crate) journal: Journal,
    pub(crate) space: Space,
    pub(crate) _lock: DirectoryLock,
}

impl OpenOptions {
    /// What a server uses.
    pub const SERVER: Self = Self {
        read_only: false,
        accept_loss: false,
        allow_network_file_system: false,
        ballast_bytes: 8 << 20,
        cache_bytes: 32 << 20,
    };
}

impl Registry {
    /// Opens the registry in `dir`, which is made if it is not there, and proves everything in it. Whatever can be
    /// repaired is repaired, and [`Registry::boot_report`] says so.
    ///
    /// # Errors
    /// [`RegistryError::Locked`], [`RegistryError::RecordsLost`], [`RegistryError::NetworkFileSystem`], or what the
    /// system refused.
    pub fn open(dir: &Path, options: &OpenOptions) -> Result<Self, RegistryError> {
        let opened = |state, report| Self {
            state,
            durable: None,
            read_only: None,
            report,
            clock: SteadyClock::set_now(),
            dir: dir.to_owned(),
            pins: Pins::default(),
            outlived: BTreeSet::new(),
            _shared_lock: None,
        };
        if options.read_only {
            let (lock, state, report) = boot::open_read_only(dir)?;
            let read_only = Some(FOR_READING.to_owned());
            return Ok(Self { read_only, _shared_lock: lock, ..opened(state, report) });
        }
        let (durable, state, report) = boot::open(dir, options)?;
        Ok(Self { durable: Some(durable), ..opened(state, report) })
    }

    /// Makes `change`, of the server's own, durable; see [`Registry::commit_by`].
    ///
    /// # Errors
    /// As [`Registry::commit_by`].
    pub fn commit(&mut self, change: Change) -> Result<Committed, RegistryError> {
        self.commit_by(&Author::server("server"), change)
    }

    /// Makes `change` durable, and with it who made it. When this returns `Ok`, the change survives the death of the process and of the
    /// machine; after a refusal nothing has changed.
    ///
    /// # Errors
    /// Refusals, by variant. [`RegistryError::Io`] and [`RegistryError::Store`] mean that the disk failed: the
    /// registry is read-only from then on, and the change is found whole or absent when it is opened again.
    pub fn commit_by(&mut self, author: &Author, change: Change) -> Result<Committed, RegistryError> {
        if let Some(reason) = &self.read_only {
            return Err(RegistryError::ReadOnly { reason: reason.clone() });
        }
        let plan = plan(&self.state, change, (author, self.clock.unix_seconds()))?;
        if !plan.committed.changed {
            return Ok(plan.committed);
        }
        let Some(durable) = &mut self.durable else {
            return Err(RegistryError::ReadOnly { reason: FOR_READING.to_owned() });
        };
        durable.make_space(&plan)?;
        // What a panic on the way leaves behind: nobody knows then how far the change has come.
        self.read_only = Some(BROKEN_OFF.to_owned());
        let written = durable.write(&plan);
        let dropped = plan.dropped.clone();
        let committed = written.map(|()| self.state.publish(plan));
        self.read_only = None;
        let committed = match committed {
            Ok(committed) => committed,
            Err(error @ RegistryError::DiskFull { .. }) => return Err(error),
            Err(error) => return Err(self.latch(error)),
        };
        self.tidy_up(dropped);
        Ok(committed)
    }

    /// Lets go of the memory of heads that were deleted while somebody outside held them, once nobody does.
    pub fn forget_freed(&mut self) {
        self.state.forget_freed();
    }

    /// Every task that has versions, sorted by tenant and name.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskKey, &Arc<StoredTask>)> {
        self.state.tasks()
    }

    /// What is stored for a task; `None` for one without versions.
    #[must_use]
    pub fn task(&self, key: &TaskKey) -> Option<&Arc<StoredTask>> {
        self.state.shared_task(key).filter(|task| !task.is_empty())
    }

    /// The clock by which versions are made and retired, and tokens end.
    #[must_use]
    pub fn clock(&self) -> SteadyClock {
        self.clock
    }

    /// Whether the task ever had a version, also if all of them were deleted.
    #[must_use]
    pub fn knows(&self, key: &TaskKey) -> bool {
        self.state.task(key).is_some()
    }

    /// The number of the last change; it only grows.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.state.generation
    }

    /// Every tenant, by name; among them the one of servers without credentials, whether it was made or not.
    #[must_use]
    pub fn tenants(&self) -> BTreeMap<TenantName, Arc<StoredTenant>> {
        let mut tenants = self.state.tenants.clone();
        tenants.entry(TenantName::default_tenant()).or_insert_with(|| StoredTenant::never_made().into());
        tenants
    }

    /// What is stored of a tenant, if there is such a one.
    #[must_use]
    pub fn tenant(&self, name: &TenantName) -> Option<Arc<StoredTenant>> {
        let made = self.state.tenants.get(name).cloned();
        made.or_else(|| (*name == TenantName::default_tenant()).then(|| StoredTenant::never_made().into()))
    }

    /// Every token, ended ones included.
    pub fn tokens(&self) -> impl Iterator<Item = (TokenId, &Arc<StoredToken>)> {
        self.state.tokens.iter().map(|(id, token)| (*id, token))
    }

    /// The audit log before a generation, newest first.
    pub fn audit(&self, before: u64) -> impl Iterator<Item = AuditEntry> {
        self.state.audit(before)
    }

    /// The last thousand changes of heads, oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = HistoryEntry> {
        self.state.history()
    }

    /// Why no change is taken, if none is.
    #[must_use]
    pub fn is_read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// What opening found and did.
    #[must_use]
    pub fn boot_report(&self) -> &BootReport {
        &self.report
    }

    /// The head folder of a version. Its `head.toml` has the version's digest.
    ///
    /// # Errors
    /// [`RegistryError::UnknownTask`] or [`RegistryError::UnknownVersion`].
    pub fn export_head(&self, key: &TaskKey, version: Version) -> Result<HeadFolder, RegistryError> {
        let task = self.task(key).ok_or_else(|| RegistryError::UnknownTask { key: key.clone() })?;
        let installed =
            task.versions.get(&version).ok_or_else(|| RegistryError::UnknownVersion { key: key.clone(), version })?;
        HeadFolder::of_head(&key.task, &installed.head, installed.encoder)
    }

    /// Writes what is outstanding and lets the directory go.
    ///
    /// # Errors
    /// If something could not be written; what was acknowledged is durable all the same.
    pub fn close(mut self) -> Result<(), RegistryError> {
        let latched = self.read_only.is_some();
        let Some(mut durable) = self.durable.take() else { return Ok(()) };
        if latched {
            // After a failed write the files are left as they are: the next start judges them.
            return Ok(());
        }
        durable.journal.absorb(self.state.generation, &self.state.records)?;
        durable.store.close()
    }

    /// Makes the registry read-only because of `error`, which it hands back.
    fn latch(&mut self, error: RegistryError) -> RegistryError {
        tracing::error!(%error, "the disk failed: the registry is read-only until the next start");
        self.read_only = Some(error.to_string());
        error
    }

    /// Work that a commit leaves and that may fail without taking it back.
    fn tidy_up(&mut self, dropped: BTreeSet<Digest>) {
        let Some(durable) = &mut self.durable else { return };
        self.outlived.extend(dropped);
        if !self.outlived.is_empty() {
            let referenced = self.state.referenced_objects();
            self.outlived.retain(|digest| !referenced.contains(digest));
            let unused = self.outlived.extract_if(.., |digest| !self.pins.holds(digest));
            unused.for_each(|digest| durable.objects.remove(&digest));
            durable.space.restore();
        }
        if durable.journal.is_long()
            && let Err(error) = durable.journal.absorb(self.state.generation, &self.state.records)
        {
            if is_disk_full(&error) {
                tracing::warn!("no room for a snapshot: the tail goes on");
            } else {
                self.latch(error);
            }
        }
    }
}

impl Durable {
    /// Installs need room to spare; anything else may use up the ballast.
    fn make_space(&self, plan: &Plan) -> Result<(), RegistryError> {
        let bytes = plan.objects.iter().map(|(_, object)| object.size()).sum();
        if bytes == 0 { self.space.make_room() } else { self.space.check(bytes) }
    }

    /// Objects, then the record store, then the journal; each on the disk before the next begins.
    fn write(&mut self, plan: &Plan) -> Result<(), RegistryError> {
        if let Err(error) = self.objects.write(&plan.objects) {
            // A full disk before any record was touched has changed nothing.
            return Err(if is_disk_full(&error) { self.space.full() } else { error });
        }
        self.store.apply(&plan.batch)?;
        self.store.barrier()?;
        self.journal.append(plan.committed.generation, &plan.batch)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("generation", &self.state.generation)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// Whether writing failed for want of space. A failed sync is never that: what it leaves on the disk is unknown.
fn is_disk_full(error: &RegistryError) -> bool {
    let RegistryError::Io { action: "create" | "write", source, .. } = error else { return false };
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

mod upkeep;

#[cfg(test)]
mod aliases;
#[cfg(test)]
mod backups;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod first_form;
#[cfg(test)]
mod killed_forms;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod second_form;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod third_form;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod versions;
