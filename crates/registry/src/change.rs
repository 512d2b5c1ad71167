//! A change to the registry as a plain value, what it leaves behind, and what is stored for a task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::{About, Alias, Head, Quota, Retention, Selector, TaskKey, TenantName, Traffic, Version};

use crate::audit_log::AuditField;
use crate::digest::Digest;
use crate::tenants::{NewToken, TokenId};

/// The most aliases a task may have.
pub const MAX_ALIASES: usize = 32;

/// One change: all of it becomes durable, or none.
#[derive(Debug, Clone)]
pub enum Change {
    /// Adds one version of a task.
    Install(Install),
    /// Adds many at once, such as the heads of a bundle.
    InstallMany(Vec<Install>),
    /// Points an alias at a version, which must exist; makes the alias if it is new.
    SetAlias {
        /// The task.
        key: TaskKey,
        /// The alias to move.
        alias: Alias,
        /// Where it shall point.
        version: Version,
        /// The task's generation as the caller read it; `None` does not compare.
        expected_generation: Option<u64>,
    },
    /// Removes an alias.
    RemoveAlias {
        /// The task.
        key: TaskKey,
        /// The alias to remove.
        alias: Alias,
        /// The task's generation as the caller read it; `None` does not compare.
        expected_generation: Option<u64>,
    },
    /// Says other things about a version, whose answers stay what they are; its digest changes with its manifest.
    Describe {
        /// The task.
        key: TaskKey,
        /// The version to describe.
        version: Version,
        /// All that is said about it from now on.
        about: Box<About>,
        /// The task's generation as the caller read it; `None` does not compare.
        expected_generation: Option<u64>,
    },
    /// Points an alias at the version it named before its last move, which must still be there. This is a move, too: the
    /// next rollback takes it back.
    Rollback {
        /// The task.
        key: TaskKey,
        /// The alias to move back.
        alias: Alias,
        /// The task's generation as the caller read it; `None` does not compare.
        expected_generation: Option<u64>,
    },
    /// Sets the task's traffic rule as a whole; the versions it names must exist.
    SetTraffic {
        /// The task.
        key: TaskKey,
        /// The rule; an empty one removes the one there is.
        traffic: Traffic,
        /// The task's generation as the caller read it; `None` does not compare.
        expected_generation: Option<u64>,
    },
    /// Sets which versions of a task are kept without anybody naming them, and gives up the others in the same step.
    SetRetention {
        /// The task.
        key: TaskKey,
        /// The rule; an empty one keeps everything.
        retention: Retention,
        /// The task's generation as the caller read it; `None` does not compare.
        expected_generation: Option<u64>,
    },
    /// Gives up what has grown too old by the rule of its task. Every other change does so for the tasks it touches.
    Retire,
    /// Removes a version for good; its number is never given again.
    DeleteVersion {
        /// The task.
        key: TaskKey,
        /// The version to remove.
        version: Version,
        /// Removes the aliases that name it as well, and the parts of a traffic rule. Without this, a version that has
        /// an alias or a part in the rule is refused, except the only version of a task, which takes both with it.
        with_aliases: bool,
    },
    /// Makes a tenant.
    CreateTenant {
        /// Its name.
        name: TenantName,
        /// For people.
        description: String,
        /// What it may use.
        quota: Quota,
    },
    /// Sets a tenant's quota as a whole.
    SetQuota {
        /// The tenant.
        name: TenantName,
        /// What it may use.
        quota: Quota,
    },
    /// Removes a tenant and its tokens.
    DeleteTenant {
        /// The tenant.
        name: TenantName,
        /// Removes its heads as well; without this, a tenant with heads is refused.
        with_heads: bool,
    },
    /// Makes a token of a tenant that exists.
    CreateToken(NewToken),
    /// Ends a token; one that has ended stays so.
    RevokeToken {
        /// The token.
        id: TokenId,
    },
    /// Changes nothing that is stored beside the audit log, which is to say that the server's configuration changes.
    Configure {
        /// What of it differs; without any, nothing changes.
        fields: Vec<AuditField>,
    },
}

/// One version to add.
#[derive(Debug, Clone)]
pub struct Install {
    /// The task.
    pub key: TaskKey,
    /// The number it shall have. `None`: the newest version if that is the same head already, else the next number.
    pub version: Option<Version>,
    /// The head.
    pub head: Arc<Head>,
    /// The encoder it was trained on.
    pub encoder: Digest,
    /// Whether it was installed although that is not the encoder being served.
    pub forced: bool,
    /// Aliases to point at it in the same step.
    pub aliases: Vec<Alias>,
}

/// What a change has made durable.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The registry's generation afterwards.
    pub generation: u64,
    /// Whether anything changed; installing what is there already changes nothing.
    pub changed: bool,
    /// For each [`Install`] in order, the version that now holds the head.
    pub installed: Vec<Arc<Installed>>,
    /// Every task that changed, with what is stored for it now; `None` where no version is left.
    pub tasks: Vec<(TaskKey, Option<Arc<StoredTask>>)>,
    /// Whether tenants or tokens changed.
    pub tenants_changed: bool,
}

/// A version of a task, as stored.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The task.
    pub key: TaskKey,
    /// Its number.
    pub version: Version,
    /// The digest of the head's content: the SHA-256 of its exported `head.toml`, which names the SHA-256 of its
    /// exported weights.
    pub digest: Digest,
    /// The encoder it was trained on.
    pub encoder: Digest,
    /// Whether it was installed on another encoder by force.
    pub forced: bool,
    /// The generation of the change that installed it, or described it anew.
    pub generation: u64,
    /// When that was, by the clock of the machine; orders nothing.
    pub created_unix_seconds: u64,
    /// The head itself.
    pub head: Arc<Head>,
    pub(crate) objects: HeadObjects,
}

/// The objects that a stored version consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadObjects {
    /// The canonical `head.toml`.
    pub(crate) manifest: Digest,
    pub(crate) weight: Digest,
    pub(crate) bias: Digest,
    pub(crate) task_embedding: Option<Digest>,
    /// The tensors of an adapter, as one file.
    pub(crate) adapter: Option<Digest>,
}

/// Everything stored for a task.
#[derive(Debug, Clone, Default)]
pub struct StoredTask {
    /// Its versions that can be served.
    pub versions: BTreeMap<Version, Arc<Installed>>,
    /// Its aliases. One may name a damaged version; [`StoredTask::resolve`] then finds nothing.
    pub aliases: BTreeMap<Alias, Version>,
    /// The version that each alias named before its last move, where it has moved and that version is still there.
    pub previous: BTreeMap<Alias, Version>,
    /// How its calls are divided.
    pub traffic: Traffic,
    /// Which versions are kept without anybody naming them.
    pub retention: Retention,
    /// Versions whose objects are damaged: known, never served, can be deleted.
    pub damaged: BTreeSet<Version>,
    /// The generation of the last change to the task.
    pub generation: u64,
    /// The highest version number ever given.
    pub last_version: Option<Version>,
}

impl HeadObjects {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Digest> {
        [self.manifest].into_iter().chain(self.tensors()).chain(self.adapter)
    }

    /// The objects that are a tensor each.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = Digest> {
        [self.weight, self.bias].into_iter().chain(self.task_embedding)
    }
}

impl Installed {
    /// Bytes of its numbers, each in fp32.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        let parts = self.head.parts();
        let embedding = parts.task_embedding.as_ref().map_or(0, |numbers| numbers.len());
        let adapter = parts.adapter.as_ref().map_or(0, |adapter| adapter.numbers());
        let numbers = parts.weight.len() + parts.bias.len() + embedding + adapter;
        (numbers * size_of::<f32>()) as u64
    }
}

impl StoredTask {
    /// The version that `selector` means.
    #[must_use]
    pub fn resolve(&self, selector: &Selector) -> Option<&Arc<Installed>> {
        let version = match selector {
            Selector::Version(version) => version,
            Selector::Alias(alias) => self.aliases.get(alias)?,
            Selector::Traffic(_) => self.aliases.get(&Alias::live())?,
        };
        self.versions.get(version)
    }

    /// Whether an alias names `version` or named it before its last move, or the traffic rule needs it.
    pub(crate) fn holds(&self, version: Version) -> bool {
        self.aliases.values().chain(self.previous.values()).any(|named| *named == version)
            || self.traffic.holds(version)
    }

    pub(crate) fn has_version(&self, version: Version) -> bool {
        self.versions.contains_key(&version) || self.damaged.contains(&version)
    }

    /// Whether the task has no version left, served or damaged.
    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.damaged.is_empty()
    }
}

/// One entry of the registry's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The generation the change made.
    pub generation: u64,
    /// When, by the clock of the machine; orders nothing.
    pub unix_seconds: u64,
    /// What was done.
    pub action: Action,
    /// The task; for many at once, the first of them.
    pub key: TaskKey,
    /// The version installed, pointed at or deleted.
    pub version: Option<Version>,
    /// The alias set or removed.
    pub alias: Option<Alias>,
    /// Where the alias pointed before.
    pub previous: Option<Version>,
    /// How many versions were installed; of a retention rule that was set or applied alone, how many it gave up.
    pub heads: u32,
}

/// The kind of a change, in its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// One or more versions were installed.
    Install,
    /// An alias was set.
    SetAlias,
    /// An alias was removed.
    RemoveAlias,
    /// A version was deleted.
    DeleteVersion,
    /// A version was described anew.
    Describe,
    /// An alias was moved back.
    Rollback,
    /// The traffic rule was set.
    SetTraffic,
    /// The retention rule was set.
    SetRetention,
    /// Versions were given up because they had grown too old.
    Retire,
}
