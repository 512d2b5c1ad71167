//! The single writer: every change is durable first, then visible, then acknowledged.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use engine::{Alias, Engine, Head, LiveTask, LiveTraffic, ModelInfo, Reads, ServedHead, TaskKey};
use registry::{Author, Change, Committed, Digest, Installed, Registry, RegistryError, StoredTask, Swept};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{oneshot, watch};
use tonic::Status;
use tracing::{error, info, warn};

use crate::change_log::ChangeLog;
use crate::credentials::Credentials;
use crate::retired_heads::{RetiredHeads, no_longer_served};
use crate::status;

/// Jobs that may wait for the writer; one more is refused. Enough for a hundred callers who install at once and list.
const MAX_WAITING: usize = 256;

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// The way to the writer's thread.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    jobs: mpsc::Sender<Job>,
    log: Arc<ChangeLog>,
    retired: watch::Receiver<usize>,
}

/// Owns the registry, and alone alters the live table.
#[derive(Debug)]
pub(crate) struct Writer {
    registry: Registry,
    engine: Arc<Engine>,
    encoder: Digest,
    /// Whose job runs.
    author: Author,
    /// What the edge knows tokens by.
    credentials: Arc<Credentials>,
    /// Turns true when the disk has failed and changes are taken no more; the server holds the other end.
    failed: watch::Sender<bool>,
    log: Arc<ChangeLog>,
    /// Heads that are served no longer and that calls may still hold.
    retired: RetiredHeads,
}

impl Changes {
    /// Starts the writer on a thread of its own; the thread ends when the last handle is gone.
    pub(crate) fn start(writer: Writer) -> std::io::Result<(Self, std::thread::JoinHandle<Writer>)> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(MAX_WAITING);
        let (log, retired) = (Arc::clone(&writer.log), writer.retired.left());
        let work = move || {
            let mut writer = writer;
            while let Some(job) = waiting.blocking_recv() {
                // A panic drops the job's reply, which tells its caller.
                if catch_unwind(AssertUnwindSafe(|| job(&mut writer))).is_err() {
                    writer.recover();
                }
            }
            writer
        };
        let thread = std::thread::Builder::new().name("registry".into()).spawn(work)?;
        Ok((Self { jobs, log, retired }, thread))
    }

    /// What the writer has shown, generation by generation.
    pub(crate) fn log(&self) -> &ChangeLog {
        &self.log
    }

    /// How many heads are served no longer and still held by calls.
    pub(crate) fn retired_heads(&self) -> watch::Receiver<usize> {
        self.retired.clone()
    }

    /// Runs `job` on the writer's thread, after the jobs before it. What it changes is `author`'s doing.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        author: &Author,
        job: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let author = author.clone();
        let job = Box::new(move |writer: &mut Writer| {
            writer.author = author;
            // A caller who has left finds the change in the registry all the same.
            let _ = reply.send(job(writer));
        });
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => status::too_many_changes(),
            TrySendError::Closed(_) => status::internal("the registry failed", "the writer's thread has ended"),
        })?;
        answer.await.map_err(|_| status::internal("internal error", "a job on the registry's thread panicked"))
    }
}

impl Writer {
    pub(crate) fn new(
        registry: Registry,
        engine: Arc<Engine>,
        encoder: Digest,
        credentials: Arc<Credentials>,
    ) -> (Self, watch::Receiver<bool>) {
        let (failed, failure) = watch::channel(registry.is_read_only().is_some());
        let author = Author::server("start");
        let (log, retired) = (Arc::default(), RetiredHeads::default());
        let writer = Self { registry, engine, encoder, author, credentials, failed, log, retired };
        writer.publish_tenants();
        (writer, failure)
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn encoder(&self) -> Digest {
        self.encoder
    }

    /// Durable, and not yet visible: for what [`Writer::publish_all`] will show.
    pub(crate) fn store(&mut self, change: Change) -> Result<Committed, RegistryError> {
        let committed = self.registry.commit_by(&self.author, change);
        if let Err(RegistryError::OverQuota { what, .. }) = &committed {
            self.engine.shares().count_refusal(&self.author.tenant, *what);
        }
        if self.registry.is_read_only().is_some() {
            self.failed.send_replace(true);
        }
        committed
    }

    /// Durable first, then visible.
    pub(crate) fn apply(&mut self, change: Change) -> Result<Committed, RegistryError> {
        let committed = self.store(change)?;
        if committed.tenants_changed {
            self.publish_tenants();
        }
        for (key, task) in &committed.tasks {
            let Published { retired, .. } = self.publish(key, task.as_deref());
            self.retired.take(retired);
        }
        self.free_retired_heads();
        self.log.note(committed.generation, committed.tasks.iter().map(|(key, _)| key.clone()));
        Ok(committed)
    }

    /// After a job that panicked: whatever is stored is shown again, as the job may have stored what it did not show. A
    /// change that was broken off has made the registry read-only, and what is shown stays.
    fn recover(&mut self) {
        error!("a job on the registry's thread panicked");
        if self.registry.is_read_only().is_some() {
            self.failed.send_replace(true);
            return;
        }
        self.publish_tenants();
        let live = self.engine.live().tasks();
        let shown = live.iter().map(|task| &task.key);
        let keys: BTreeSet<TaskKey> = shown.chain(self.registry.tasks().map(|(key, _)| key)).cloned().collect();
        for key in &keys {
            let Published { retired, .. } = self.publish(key, self.registry.task(key).map(Arc::as_ref));
            self.retired.take(retired);
        }
        self.log.note(self.registry.generation(), keys.into_iter());
    }

    /// Frees the memory of heads that were served and that nobody holds any more.
    pub(crate) fn free_retired_heads(&mut self) {
        if self.retired.free() {
            self.registry.forget_freed();
        }
    }

    /// Removes stored objects that nothing needs.
    pub(crate) fn collect_garbage(&mut self) -> Result<Swept, RegistryError> {
        self.registry.collect_garbage()
    }

    /// Serves everything stored. Returns how many versions do not fit the encoder.
    pub(crate) fn publish_all(&self) -> usize {
        let misfits = self.registry.tasks().map(|(key, task)| self.publish(key, Some(task)).misfits).sum();
        self.log.begin(self.registry.generation());
        misfits
    }

    /// Why a stored version cannot be served, if it cannot.
    pub(crate) fn misfit(&self, installed: &Installed) -> Option<String> {
        let info = self.engine.info()?;
        misfit(installed, self.encoder, info)
    }

    /// A task as it is served now.
    pub(crate) fn live_task(&self, key: &TaskKey) -> Option<Arc<LiveTask>> {
        self.engine.live().find(key)
    }

    /// Writes what is outstanding and lets the data directory go.
    pub(crate) fn close(self) -> Result<(), RegistryError> {
        let generation = self.registry.generation();
        self.registry.close()?;
        info!(generation, "registry closed");
        Ok(())
    }

    /// Tokens and quotas are from now on those of the registry.
    fn publish_tenants(&self) {
        self.credentials.publish(&self.registry);
        let quotas: Vec<_> = self.registry.tenants().into_iter().map(|(name, tenant)| (name, tenant.quota)).collect();
        self.engine.shares().set(&quotas);
    }

    fn publish(&self, key: &TaskKey, task: Option<&StoredTask>) -> Published {
        let before = self.engine.live().find(key);
        let misfits = task.map_or(0, |task| self.publish_task(key, task));
        if task.is_none() {
            self.engine.live().withdraw(key);
        }
        let after = self.engine.live().find(key);
        let retired = before.map(|before| no_longer_served(&before, after.as_deref())).unwrap_or_default();
        Published { misfits, retired }
    }

    /// Serves what of the task fits. Returns how many versions do not.
    fn publish_task(&self, key: &TaskKey, task: &StoredTask) -> usize {
        let live = self.engine.live();
        let mut misfits = 0;
        let mut versions = std::collections::BTreeMap::new();
        for (version, installed) in &task.versions {
            match self.misfit(installed) {
                None => drop(versions.insert(*version, Arc::new(served(installed)))),
                Some(reason) => {
                    misfits += 1;
                    warn!(task = %key.task, %version, %reason, "head does not fit");
                }
            }
        }
        if versions.is_empty() {
            live.withdraw(key);
            return misfits;
        }
        let names_served = |(_, version): &(&Alias, &engine::Version)| versions.contains_key(version);
        let aliases =
            task.aliases.iter().filter(names_served).map(|(alias, version)| (alias.clone(), *version)).collect();
        let traffic = divided(task, live.find(key).as_deref());
        let StoredTask { retention, generation, .. } = *task;
        live.publish(LiveTask { key: key.clone(), versions, aliases, traffic, retention, generation });
        misfits
    }
}

/// What it took to show a task as it is now.
struct Published {
    /// Versions that do not fit the encoder.
    misfits: usize,
    /// Heads that were served until now.
    retired: Vec<Arc<Head>>,
}

/// The task's rule as it is served: what was counted goes on where neither rule nor live version has changed.
fn divided(task: &StoredTask, before: Option<&LiveTask>) -> Option<Arc<LiveTraffic>> {
    if task.traffic.is_empty() {
        return None;
    }
    let live = task.aliases.get(&Alias::live());
    let unchanged = before.filter(|before| before.aliases.get(&Alias::live()) == live);
    let counted = unchanged.and_then(|before| before.traffic.clone()).filter(|traffic| traffic.rule == task.traffic);
    Some(counted.unwrap_or_else(|| Arc::new(LiveTraffic::new(task.traffic))))
}

fn misfit(installed: &Installed, encoder: Digest, info: &ModelInfo) -> Option<String> {
    let head = &installed.head;
    let embedding = head.parts().task_embedding.as_ref().map(|embedding| embedding.len());
    if installed.encoder != encoder && !installed.forced {
        Some(format!("it was trained on encoder {}", installed.encoder))
    } else if head.hidden() != info.hidden {
        Some(format!("its weight is {} wide, the encoder {}", head.hidden(), info.hidden))
    } else if embedding.is_some_and(|width| width != info.embedding) {
        Some(format!("its task embedding is not {} wide", info.embedding))
    } else if !info.has_pooler && Reads::of_head(head).pooled {
        Some("it needs a pooler and the encoder has none".to_owned())
    } else {
        None
    }
}

fn served(installed: &Installed) -> ServedHead {
    ServedHead {
        key: installed.key.clone(),
        version: installed.version,
        digest: installed.digest.to_string(),
        encoder_digest: installed.encoder.to_string(),
        forced: installed.forced,
        created_unix_seconds: installed.created_unix_seconds,
        head: Arc::clone(&installed.head),
    }
}

#[cfg(test)]
mod tests;
