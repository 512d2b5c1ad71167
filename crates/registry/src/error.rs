//! What can go wrong at rest: one variant for each thing a caller could act on.

use std::io;
use std::path::{Path, PathBuf};

use engine::{Alias, HeadError, Limited, TaskKey, TaskName, TenantName, Version};

use crate::manifest::ManifestError;
use crate::tenants::TokenId;
use crate::weights_error::WeightsError;

/// Why the registry, a head folder or a bundle refused.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Another process, or another part of this one, has the data directory open.
    #[error("another headwater-server ({}) is using this data directory", holder(.pid.as_ref()))]
    Locked {
        /// The other process, where it could be read.
        pid: Option<u32>,
    },
    /// The registry serves what it has and takes no changes until it is opened again.
    #[error("the registry is read-only: {reason}")]
    ReadOnly {
        /// The first error, or the option that asked for it.
        reason: String,
    },
    /// Too little free space to take a change safely.
    #[error("{free} bytes are free on the data directory's disk, this needs {needed}")]
    DiskFull {
        /// Bytes wanted, with the reserve.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The task has no version.
    #[error("there is no task {}", .key.task)]
    UnknownTask {
        /// The task asked for.
        key: TaskKey,
    },
    /// The task has no such version.
    #[error("task {} has no version {version}", .key.task)]
    UnknownVersion {
        /// The task.
        key: TaskKey,
        /// The version asked for.
        version: Version,
    },
    /// The task has no such alias.
    #[error("task {} has no alias {alias}", .key.task)]
    UnknownAlias {
        /// The task.
        key: TaskKey,
        /// The alias asked for.
        alias: Alias,
    },
    /// That version number holds, or once held, another head.
    #[error("version {version} of task {} was given to another head", .key.task)]
    AlreadyExists {
        /// The task.
        key: TaskKey,
        /// The version asked for.
        version: Version,
    },
    /// A task whose name differs only in case exists.
    #[error("task {wanted} differs from the existing task {existing} only in case")]
    CaseClash {
        /// The refused name.
        wanted: TaskName,
        /// The name that exists.
        existing: TaskName,
    },
    /// The version still has a name that callers may use.
    #[error("version {version} of task {} is what alias {alias} names", .key.task)]
    AliasInUse {
        /// The task.
        key: TaskKey,
        /// The version.
        version: Version,
        /// One alias that names it.
        alias: Alias,
    },
    /// The version has a part in the task's traffic rule.
    #[error("version {version} of task {} has a part in the task's traffic rule", .key.task)]
    TrafficInUse {
        /// The task.
        key: TaskKey,
        /// The version.
        version: Version,
    },
    /// The alias never moved, or the version that it named before is deleted.
    #[error("alias {alias} of task {} has no version to go back to: it never moved, or that version is gone", .key.task)]
    NothingBefore {
        /// The task.
        key: TaskKey,
        /// The alias.
        alias: Alias,
    },
    /// More aliases than a task may have.
    #[error("a task has at most {limit} aliases")]
    TooManyAliases {
        /// The limit.
        limit: usize,
    },
    /// Someone changed the task since the caller read it.
    #[error("the task stands at generation {actual}, not {expected}")]
    WrongGeneration {
        /// What the caller read.
        expected: u64,
        /// What it is now.
        actual: u64,
    },
    /// There is no such tenant.
    #[error("there is no tenant {name}")]
    UnknownTenant {
        /// The tenant asked for.
        name: TenantName,
    },
    /// There never was such a token, or its tenant is gone.
    #[error("there is no token {id}")]
    UnknownToken {
        /// The token asked for.
        id: TokenId,
    },
    /// The name is taken, perhaps by a tenant whose name differs only in case.
    #[error("tenant {existing} exists")]
    TenantExists {
        /// The tenant there is.
        existing: TenantName,
    },
    /// The tenant still has heads.
    #[error("tenant {name} has {tasks} tasks with heads")]
    TenantInUse {
        /// The tenant.
        name: TenantName,
        /// Tasks with versions.
        tasks: usize,
    },
    /// The tenant of servers without credentials cannot go.
    #[error("tenant {name} is that of a server without credentials and always there")]
    TenantStays {
        /// The tenant.
        name: TenantName,
    },
    /// The tenant has as much as its quota says.
    #[error("the tenant's quota of {what} is {limit}, and this would be {actual}")]
    OverQuota {
        /// Which part of the quota.
        what: Limited,
        /// The quota.
        limit: u64,
        /// What it would be.
        actual: u64,
    },
    /// More tenants, or tokens that have not ended, than there may be.
    #[error("there may be {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A field of a tenant or a token cannot be stored.
    #[error("{field}: {reason}")]
    TenantField {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing that says which heads exist can be read, yet their numbers are there. An operator decides.
    #[error("{objects} objects are there, but neither the records nor a snapshot can be read")]
    RecordsLost {
        /// Objects found.
        objects: usize,
    },
    /// The data directory lies on a network file system, whose locks and syncs may not hold.
    #[error("the data directory lies on a network file system ({name})")]
    NetworkFileSystem {
        /// Its kind.
        name: &'static str,
    },
    /// Something stored is not what it was.
    #[error("{what} is damaged")]
    Damaged {
        /// Which thing.
        what: String,
    },
    /// A record would be larger than the store takes safely.
    #[error("a record of {bytes} bytes, the limit is {limit}")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A folder does not have the form of a head folder or a bundle.
    #[error("{}: {problem}", .path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// `head.toml` was refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// `weights.safetensors` was refused.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The weights are not the ones the manifest was written for.
    #[error("weights.safetensors is not the file that head.toml names: its sha256 differs from weights_sha256")]
    WeightsDigest,
    /// Manifest and numbers do not make a head.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The key-value store failed, or panicked.
    #[error("the record store failed: {0}")]
    Store(String),
    /// The operating system refused a file operation.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was being done, such as `write`.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl RegistryError {
    pub(crate) fn folder(path: &Path, problem: impl Into<String>) -> Self {
        Self::Folder { path: path.to_owned(), problem: problem.into() }
    }

    /// Makes an error of `action` on `path` out of an [`io::Error`].
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

fn holder(pid: Option<&u32>) -> String {
    pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"))
}
