//! The configuration read again while the server runs: checked as a whole first, then recorded, then in force as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Engine;
use registry::{AuditField, Author};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, watch};
use tracing::{error, info, warn};

use crate::adjustable::Adjustable;
use crate::auth::Known;
use crate::changes::Changes;
use crate::identities::Identities;
use crate::metrics::Metrics;
use crate::recording::{RecordError, record};
use crate::tls::{self, Tls, TlsError, tell_of_bad_certificates};

/// Where the value of an option comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody has said anything.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

/// One option of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigOption {
    /// Its name, as the configuration file spells it.
    pub name: String,
    /// Its value as text; `None` where it has none.
    pub value: Option<String>,
    /// Where that comes from.
    pub source: Source,
    /// Whether it changes without a restart.
    pub live: bool,
}

/// A whole configuration that was read and found good.
pub struct Configured {
    /// Every option.
    pub options: Vec<ConfigOption>,
    /// What the server itself takes over.
    pub adjustable: Adjustable,
    /// Whom client certificates stand for.
    pub identities: Identities,
    /// What else is to be done when it comes into force, such as setting the level of the log.
    pub effect: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Configured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configured").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The configuration cannot be used; nothing of it is in force.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigurationError(pub String);

/// Reads the configuration from wherever it lies.
pub type ReadConfiguration = Arc<dyn Fn() -> Result<Configured, ConfigurationError> + Send + Sync>;

/// How a server's configuration is read again.
pub struct Reloading {
    /// What the server was started with.
    pub options: Vec<ConfigOption>,
    /// Reads it anew.
    pub read: ReadConfiguration,
    /// Says when to, beside the calls that ask for it; whoever hears signals holds the other end.
    pub asked: mpsc::Receiver<()>,
}

impl std::fmt::Debug for Reloading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloading").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] TlsError),
    /// The thread that read them, or the task that put them in force, has panicked.
    #[error("the reload ended unexpectedly")]
    Lost,
    /// The audit log did not take its entry.
    #[error("the reload was not recorded: {0}")]
    NotRecorded(#[from] RecordError),
}

/// An option with another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionChange {
    pub(crate) before: Option<String>,
    pub(crate) after: ConfigOption,
}

/// What a reload has done, or would do.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// In force from now on.
    pub(crate) changed: Vec<OptionChange>,
    /// In force after the next start.
    pub(crate) restart: Vec<OptionChange>,
    /// Whether new certificates are in use.
    pub(crate) certificates: bool,
    /// Whether certificates of clients stand for others than before.
    pub(crate) identities: bool,
}

/// A configuration that was read, is good, and is not yet in force.
struct Prepared {
    adjustable: Adjustable,
    identities: Identities,
    effect: Box<dyn FnOnce() + Send>,
    certificates: Option<tls::Prepared>,
    outcome: Reloaded,
}

/// What a reload changes.
pub(crate) struct Reloader {
    pub(crate) read: ReadConfiguration,
    /// The options in force; held while they change, so that there is one reload at a time.
    pub(crate) in_force: Arc<Mutex<Vec<ConfigOption>>>,
    /// The way to the audit log.
    pub(crate) changes: Changes,
    pub(crate) engine: Arc<Engine>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Whom the door lets in, where it asks.
    pub(crate) known: Option<Arc<Known>>,
    /// The accept loop, the drain and the fits hold the other end.
    pub(crate) adjusting: watch::Sender<Adjustable>,
}

impl Reloader {
    /// Every option with the value in force.
    pub(crate) async fn options(&self) -> Vec<ConfigOption> {
        self.in_force.lock().await.clone()
    }

    /// Reads everything and says what would change. Nothing does.
    pub(crate) async fn check(&self) -> Result<Reloaded, ReloadError> {
        let in_force = self.in_force.lock().await;
        Ok(self.prepare(&in_force).await?.outcome)
    }

    /// Reads everything, records what differs as `author`'s doing, and puts it in force. Whatever is wrong, nothing
    /// changes.
    pub(crate) async fn reload(self: &Arc<Self>, author: &Author) -> Result<Reloaded, ReloadError> {
        let in_force = Arc::clone(&self.in_force).lock_owned().await;
        let alone = match &self.tls {
            Some(tls) => Some(tls.alone().await),
            None => None,
        };
        let prepared = self.prepare(&in_force).await.inspect_err(|error| {
            if let ReloadError::Certificates(error) = error {
                tell_of_bad_certificates(error, &self.metrics);
            }
        })?;
        let (reloader, author, fields) = (Arc::clone(self), author.clone(), self.audit_fields(&prepared));
        // A task of its own, so that what is recorded comes into force also where the caller leaves between the two.
        let changing = tokio::spawn(async move {
            record(&reloader.changes, &author, fields).await?;
            let reloaded = reloader.put_in_force(prepared, in_force);
            drop(alone);
            tell(&reloaded);
            Ok(reloaded)
        });
        changing.await.map_err(|_| ReloadError::Lost)?
    }

    async fn prepare(&self, in_force: &[ConfigOption]) -> Result<Prepared, ReloadError> {
        let (read, tls) = (Arc::clone(&self.read), self.tls.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let configured = read()?;
            let certificates = tls.as_deref().map(Tls::prepare).transpose()?;
            Ok::<_, ReloadError>((configured, certificates))
        });
        let (configured, certificates) = reading.await.map_err(|_| ReloadError::Lost).flatten()?;
        let Configured { options, adjustable, identities, effect } = configured;
        let (changed, restart) = differences(in_force, options);
        let others = self.known.as_ref().is_some_and(|known| *known.identities() != identities);
        let outcome = Reloaded { changed, restart, certificates: false, identities: others };
        Ok(Prepared { adjustable, identities, effect, certificates, outcome })
    }

    /// What the audit log is to say: options, identities and certificates that differ; of a certificate its digest, and
    /// of a key that there is another one.
    fn audit_fields(&self, prepared: &Prepared) -> Vec<AuditField> {
        let options = prepared.outcome.changed.iter().map(|OptionChange { before, after }| {
            let ConfigOption { name, value, .. } = after;
            AuditField::of(name.clone(), before.clone(), value.clone())
        });
        let lists = self.known.as_ref().map(|known| known.identities().differences(&prepared.identities));
        let identities = lists.into_iter().flatten();
        let identities =
            identities.map(|(name, (before, after))| AuditField::of(format!("identity {name}"), before, after));
        let files = self.tls.as_ref().zip(prepared.certificates.as_ref()).map(|(tls, new)| tls.differences(new));
        options.chain(identities).flatten().chain(files.into_iter().flatten()).collect()
    }

    fn put_in_force(&self, prepared: Prepared, mut in_force: OwnedMutexGuard<Vec<ConfigOption>>) -> Reloaded {
        let Prepared { adjustable, identities, effect, certificates, outcome } = prepared;
        let certificates = match (&self.tls, certificates) {
            (Some(tls), Some(prepared)) => tls.publish(prepared, &self.metrics),
            (None | Some(_), _) => false,
        };
        if let Some(known) = &self.known {
            known.replace_identities(identities);
        }
        self.engine.set_limits(adjustable.limits);
        self.adjusting.send_replace(adjustable);
        effect();
        for change in &outcome.changed {
            if let Some(option) = in_force.iter_mut().find(|option| option.name == change.after.name) {
                *option = change.after.clone();
            }
        }
        Reloaded { certificates, ..outcome }
    }

    /// Reloads as often as it is asked to.
    pub(crate) async fn follow(self: Arc<Self>, mut asked: mpsc::Receiver<()>) {
        while let Some(()) = asked.recv().await {
            if let Err(failure) = self.reload(&Author::signal("SIGHUP")).await {
                error!(%failure, "the configuration was not reloaded; the old one stays in force");
            }
        }
    }
}

/// Says what a reload has done.
fn tell(reloaded: &Reloaded) {
    for OptionChange { before, after } in &reloaded.changed {
        info!(option = %after.name, before = before.as_deref(), after = after.value.as_deref(), "option changed");
    }
    for OptionChange { after, .. } in &reloaded.restart {
        warn!(option = %after.name, "the option has another value now, which needs a restart");
    }
    let Reloaded { changed, certificates, identities, .. } = reloaded;
    info!(changed = changed.len(), certificates, identities, "configuration reloaded");
}

/// The options that differ: those that change now, and those that wait for a restart.
fn differences(in_force: &[ConfigOption], options: Vec<ConfigOption>) -> (Vec<OptionChange>, Vec<OptionChange>) {
    let before: BTreeMap<_, _> = in_force.iter().map(|option| (option.name.as_str(), &option.value)).collect();
    let differ = options.into_iter().filter_map(|after| {
        let before = (*before.get(after.name.as_str())?).clone();
        (before != after.value).then_some(OptionChange { before, after })
    });
    differ.partition(|change| change.after.live)
}
