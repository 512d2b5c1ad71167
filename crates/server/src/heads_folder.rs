//! A folder of heads that is kept served: what lies in it answers, and nothing else of the registry is touched.
//!
//! The folder is looked at again and again instead of being told of its changes, because file systems over a network and
//! mounted secrets tell nothing. A head folder is read once two looks have found the same files.

mod listing;
mod plan;
mod scan;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{Alias, Head, TaskKey, TaskName, TenantName, Version};
use registry::{Author, Change, Digest, EncoderWidths, HeadFolder, Install};
use tonic::Status;
use tracing::{info, warn};

use crate::changes::Writer;
use crate::refusals::Refusal;
use crate::serving::Serving;
use crate::status;

pub(crate) use listing::{Folder, Listing, State};
use plan::{Plan, Read, Stored, Verdict, plan};
use scan::{Print, scan};

/// The alias of the version that came from the folder. It says whose the task is, and it is a person's to remove.
const ALIAS: &str = "watched";

/// Why nothing is done about a folder yet.
const CHANGED: &str = "its files have just changed";

/// Which folder is kept served, and how often it is looked at.
#[derive(Debug, Clone)]
pub struct WatchedFolder {
    /// Any folder above head folders, such as a bundle.
    pub dir: PathBuf,
    /// Whose heads they are; a tenant that exists.
    pub tenant: TenantName,
    /// Time between two looks.
    pub every: Duration,
}

/// The one who keeps it so.
#[derive(Debug)]
pub(crate) struct Keeper {
    serving: Arc<Serving>,
    watched: WatchedFolder,
    listing: Arc<Listing>,
    alias: Alias,
    seen: BTreeMap<PathBuf, Seen>,
    /// Whether the folder was looked at before.
    looked: bool,
    /// The registry's generation when everything was last found as it should be.
    settled_at: Option<u64>,
}

#[derive(Debug)]
struct Seen {
    print: Print,
    /// `None` until it was read.
    read: Option<Read>,
    /// Whether two looks have found the same files.
    steady: bool,
}

/// Nobody has the heads of the folder: its tenant was deleted while the server ran.
struct NoSuchTenant;

/// A head as it was read.
struct Loaded {
    task: TaskName,
    digest: Digest,
    head: Head,
    encoder: Digest,
}

impl Keeper {
    pub(crate) fn new(serving: Arc<Serving>, watched: WatchedFolder, listing: Arc<Listing>) -> Option<Self> {
        let alias = ALIAS.parse().ok()?;
        let seen = BTreeMap::new();
        Some(Self { serving, watched, listing, alias, seen, looked: false, settled_at: None })
    }

    /// Looks again and again, for ever.
    pub(crate) async fn keep(mut self) -> Infallible {
        loop {
            tokio::time::sleep(self.watched.every).await;
            self.look().await;
        }
    }

    /// Looks once, and makes what is served what lies there. The first look takes files as they are.
    pub(crate) async fn look(&mut self) {
        let root = self.watched.dir.clone();
        let found = tokio::task::spawn_blocking(move || scan(&root)).await;
        let found = found.map_err(|failure| failure.to_string()).and_then(|scan| scan.map_err(|e| e.to_string()));
        let problem = match found {
            Ok(scan) if scan.is_empty => "it is empty".to_owned(),
            Ok(scan) => {
                let is_settled = !self.take_in(scan.folders) && self.settled_at == Some(self.generation());
                let kept = if is_settled { Ok(()) } else { self.reconcile().await };
                match kept {
                    Ok(()) => return self.listing.solve(),
                    Err(NoSuchTenant) => format!("there is no tenant {}", self.watched.tenant),
                }
            }
            Err(problem) => problem,
        };
        if self.listing.complain(&problem) {
            warn!(%problem, "the folder of heads is not kept: what is served of it stays as it is");
        }
    }

    fn generation(&self) -> u64 {
        self.serving.changes().log().generation()
    }

    /// Notes the prints. Whether something is new, or has become steady.
    fn take_in(&mut self, found: BTreeMap<PathBuf, Print>) -> bool {
        let before = self.seen.len();
        self.seen.retain(|folder, _| found.contains_key(folder));
        let mut changed = self.seen.len() < before || !self.looked;
        for (folder, print) in found {
            match self.seen.get_mut(&folder).filter(|seen| seen.print == print) {
                Some(seen) => {
                    changed |= !seen.steady;
                    seen.steady = true;
                }
                None => {
                    changed = true;
                    self.seen.insert(folder, Seen { print, read: None, steady: !self.looked });
                }
            }
        }
        self.looked = true;
        changed
    }

    async fn reconcile(&mut self) -> Result<(), NoSuchTenant> {
        let generation = self.generation();
        self.settled_at = None;
        self.read_what_is_steady().await;
        let reads =
            self.seen.iter().map(|(folder, seen)| (folder.clone(), seen.read.clone().unwrap_or(Read::Unsettled)));
        let reads: BTreeMap<PathBuf, Read> = reads.collect();
        // A writer that has no room is asked again with the next look.
        let Ok(stored) = self.stored().await else { return Ok(()) };
        let stored = stored.ok_or(NoSuchTenant)?;
        let Plan { folders, withdrawn } = plan(&reads, &stored);
        let mut settled = true;
        let mut listed = Vec::with_capacity(folders.len());
        for (folder, verdict) in folders {
            let task = match reads.get(&folder) {
                Some(Read::Head { task, .. } | Read::Refused { task: Some(task), .. }) => Some(task.clone()),
                Some(Read::Unsettled | Read::Refused { task: None, .. }) | None => None,
            };
            let state = match verdict {
                Verdict::Wait => State::Waiting(CHANGED.to_owned()),
                Verdict::Served(version) => State::Served(version),
                Verdict::Refuse(reason) => State::Refused(reason),
                Verdict::Install(version) => self.install(&folder, version).await,
            };
            settled &= !matches!(state, State::Waiting(_));
            listed.push(Folder { path: folder.display().to_string(), task, state });
        }
        for task in withdrawn {
            settled &= self.withdraw(task).await;
        }
        for Folder { path, task, state } in self.listing.replace(listed) {
            let State::Refused(reason) = state else { continue };
            warn!(folder = %path, %reason, "a head of the folder is not served");
            if let Some(task) = task {
                let refusal = Refusal::new(&reason, String::new(), format!("watched folder, {path}"));
                self.serving.refusals().note(self.key(task), refusal);
            }
        }
        self.settled_at = settled.then_some(generation);
        Ok(())
    }

    fn key(&self, task: TaskName) -> TaskKey {
        TaskKey { tenant: self.watched.tenant.clone(), task }
    }

    async fn read_what_is_steady(&mut self) {
        let Some((widths, encoder)) = self.encoder() else { return };
        for (folder, seen) in self.seen.iter_mut().filter(|(_, seen)| seen.steady && seen.read.is_none()) {
            let dir = self.watched.dir.join(folder);
            let read = tokio::task::spawn_blocking(move || match load(&dir, widths, encoder) {
                Ok(Loaded { task, digest, .. }) => Read::Head { task, digest },
                Err((task, reason)) => Read::Refused { task, reason },
            });
            // A thread that failed is tried again with the next look.
            seen.read = read.await.ok();
        }
    }

    fn encoder(&self) -> Option<(EncoderWidths, Digest)> {
        let info = self.serving.engine().info()?;
        let widths = EncoderWidths { hidden: info.hidden, embedding: info.embedding };
        Some((widths, info.encoder_digest.parse().ok()?))
    }

    /// The tenant's tasks as they are stored; `None` where there is no such tenant any more.
    async fn stored(&self) -> Result<Option<BTreeMap<TaskName, Stored>>, Status> {
        let (alias, tenant) = (self.alias.clone(), self.watched.tenant.clone());
        let read = move |writer: &mut Writer| {
            writer.registry().tenant(&tenant)?;
            let tasks = writer.registry().tasks().filter(|(key, _)| key.tenant == tenant);
            let stored = tasks.map(|(key, task)| {
                let versions = task.versions.iter().map(|(version, installed)| (*version, installed.digest)).collect();
                let named = |alias: &Alias| task.aliases.get(alias).copied();
                (key.task.clone(), Stored { versions, watched: named(&alias), live: named(&Alias::live()) })
            });
            Some(stored.collect())
        };
        self.serving.changes().run(&author(), read).await
    }

    /// Reads the folder again, tries its head and makes it live; what was served before serves until then.
    async fn install(&mut self, folder: &Path, version: Option<Version>) -> State {
        let planned = match self.seen.get(folder).and_then(|seen| seen.read.as_ref()) {
            Some(Read::Head { digest, .. }) => *digest,
            Some(Read::Unsettled | Read::Refused { .. }) | None => return State::Waiting(CHANGED.to_owned()),
        };
        let done = match self.load_again(folder).await {
            Ok(loaded) if loaded.digest != planned => return State::Waiting(CHANGED.to_owned()),
            Ok(loaded) => self.install_loaded(loaded, version).await,
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(version) => State::Served(version),
            Err(refusal) if status::may_pass(&refusal) => State::Waiting(refusal.message().to_owned()),
            Err(refusal) => {
                let reason = refusal.message().to_owned();
                if let Some(seen) = self.seen.get_mut(folder)
                    && let Some(Read::Head { task, .. }) = &seen.read
                {
                    seen.read = Some(Read::Refused { task: Some(task.clone()), reason: reason.clone() });
                }
                State::Refused(reason)
            }
        }
    }

    async fn load_again(&self, folder: &Path) -> Result<Loaded, Status> {
        let (widths, encoder) = self.encoder().ok_or_else(|| status::of_engine(engine::EngineError::Starting))?;
        let dir = self.watched.dir.join(folder);
        let loaded = tokio::task::spawn_blocking(move || load(&dir, widths, encoder)).await;
        let loaded = loaded.map_err(|failure| status::internal("reading the folder failed", &failure.to_string()))?;
        loaded.map_err(|(_, reason)| status::failed_precondition("HEAD_FOLDER", "folder", &reason))
    }

    async fn install_loaded(&self, loaded: Loaded, version: Option<Version>) -> Result<Version, Status> {
        let Loaded { task, head, encoder, .. } = loaded;
        let head = Arc::new(head);
        self.serving.engine().try_head(Arc::clone(&head)).await.map_err(status::of_engine)?;
        let key = self.key(task);
        let (alias, task) = (self.alias.clone(), key.clone());
        let install = move |writer: &mut Writer| {
            if writer.registry().tenant(&key.tenant).is_none() {
                let message = "the tenant has just been deleted";
                return Err(status::failed_precondition("HEAD_FOLDER", "tenant", message));
            }
            if writer.registry().task(&key).is_some_and(|task| !task.aliases.contains_key(&alias)) {
                let message = "the task was not installed from this folder";
                return Err(status::failed_precondition("HEAD_FOLDER", "task", message));
            }
            let aliases = vec![Alias::live(), alias];
            let change = Change::Install(Install { key, version, head, encoder, forced: false, aliases });
            let committed = writer.apply(change).map_err(status::of_registry)?;
            Ok(committed.installed.first().map_or(Version::FIRST, |installed| installed.version))
        };
        let version = self.serving.changes().run(&author(), install).await??;
        self.serving.refusals().clear(&task);
        info!(task = %task.task, %version, "a head of the folder is live");
        Ok(version)
    }

    /// Deletes every version of a task that the folder no longer has, the folder's own last: should this end half-way,
    /// the task is still known as the folder's. Whether it is done.
    async fn withdraw(&self, task: TaskName) -> bool {
        let key = self.key(task.clone());
        let alias = self.alias.clone();
        let delete = move |writer: &mut Writer| {
            let Some(stored) = writer.registry().task(&key).cloned() else { return Ok(()) };
            let Some(own) = stored.aliases.get(&alias).copied() else { return Ok(()) };
            let others = stored.versions.keys().chain(&stored.damaged).copied().filter(|version| *version != own);
            for version in others.chain([own]) {
                let key = key.clone();
                writer.apply(Change::DeleteVersion { key, version, with_aliases: true })?;
            }
            Ok::<_, registry::RegistryError>(())
        };
        match self.serving.changes().run(&author(), delete).await {
            Ok(Ok(())) => {
                info!(%task, "a task that the folder no longer has is withdrawn");
                true
            }
            Ok(Err(error)) => {
                warn!(%task, %error, "a task that the folder no longer has stays for now");
                false
            }
            Err(_) => false,
        }
    }
}

/// Whose doing the keeper's changes are.
fn author() -> Author {
    Author::server("watched folder")
}

/// The head in `dir` for this encoder; else the task, where that much is known, and what is wrong.
fn load(dir: &Path, widths: EncoderWidths, encoder: Digest) -> Result<Loaded, (Option<TaskName>, String)> {
    let reason = |error: registry::RegistryError| status::of_registry(error).message().to_owned();
    let manifest = HeadFolder::read_manifest(dir).map_err(|error| (None, reason(error)))?;
    let task = manifest.task;
    let wrong = |reason: String| (Some(task.clone()), reason);
    if manifest.encoder != encoder {
        return Err(wrong(format!("the head was trained on encoder {}, this server runs {encoder}", manifest.encoder)));
    }
    let folder = HeadFolder::read(dir).map_err(|error| wrong(reason(error)))?;
    let (_, head) = folder.parse(widths).map_err(|error| wrong(reason(error)))?;
    let canonical = HeadFolder::of_head(&task, &head, encoder).map_err(|error| wrong(reason(error)))?;
    Ok(Loaded { digest: Digest::of(&canonical.head_toml), task, head, encoder })
}
