//! A stored version taken up again: the same weights with other settings, or the same version described anew.
//!
//! For the writer's thread. What changes answers makes a new version; what only says something does not.

use std::sync::Arc;

use engine::{About, Alias, Head, HeadError, HeadParts, LiveTask, Selector, ServedHead, TaskKey, TrustError};
use registry::{Change, Committed, Install, Installed, ManifestError, RegistryError};
use tonic::Status;

use crate::changes::Writer;
use crate::heads::generation_of;
use crate::status;

/// Which version is taken up, and on what conditions.
#[derive(Debug, Clone)]
pub(crate) struct Revision {
    /// The task.
    pub(crate) key: TaskKey,
    /// The version to start from.
    pub(crate) from: Selector,
    /// The task's generation as the caller read it; `None` does not compare.
    pub(crate) expected_generation: Option<u64>,
    /// Whether a new version becomes live.
    pub(crate) make_live: bool,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Revised {
    /// The task as it is served now.
    pub(crate) task: Arc<LiveTask>,
    /// The version that holds the change.
    pub(crate) served: Arc<ServedHead>,
    /// Whether that is a new one.
    pub(crate) is_new: bool,
    /// The task's generation now.
    pub(crate) generation: u64,
}

/// Installs a version with the weights of the one taken up and the settings that `edit` leaves; of the same encoder,
/// forced where that one was. The weights, the bias and the task embedding are not for `edit`. Where the newest version
/// has the very same content already, that one is the result.
///
/// # Errors
/// NOT_FOUND, ABORTED, FAILED_PRECONDITION where the version does not fit the encoder, INVALID_ARGUMENT where the
/// settings do not suit the head, and what the registry refuses.
pub(crate) fn with_settings(
    writer: &mut Writer,
    revision: &Revision,
    edit: impl FnOnce(&mut HeadParts),
) -> Result<Revised, Status> {
    let old = take_up(writer, revision)?;
    let mut parts = old.head.parts().clone();
    edit(&mut parts);
    let before = old.head.parts();
    if (&parts.prompt, parts.task_embedding_by_default) != (&before.prompt, before.task_embedding_by_default) {
        // They tell of other logits.
        parts.about.goldens.clear();
    }
    let head = Head::new(old.head.kind(), old.head.hidden(), parts);
    let head = head.map_err(|error| status::invalid_field(field_of(&error), &error.to_string()))?;
    let install = Install {
        key: revision.key.clone(),
        version: None,
        head: Arc::new(head),
        encoder: old.encoder,
        forced: old.forced,
        aliases: if revision.make_live { vec![Alias::live()] } else { Vec::new() },
    };
    let last = writer.registry().task(&revision.key).and_then(|task| task.last_version);
    let committed = writer.apply(Change::Install(install)).map_err(refusal)?;
    let mut revised = revised(writer, &committed)?;
    revised.is_new = Some(revised.served.version) > last;
    Ok(revised)
}

/// Says about the version taken up what `edit` leaves; it stays what it is.
///
/// # Errors
/// As [`with_settings`].
pub(crate) fn with_description(
    writer: &mut Writer,
    revision: &Revision,
    edit: impl FnOnce(&mut About),
) -> Result<Revised, Status> {
    let old = take_up(writer, revision)?;
    let mut about = old.head.parts().about.clone();
    edit(&mut about);
    let Revision { key, expected_generation, .. } = revision.clone();
    let change = Change::Describe { key, version: old.version, about: Box::new(about), expected_generation };
    let committed = writer.apply(change).map_err(refusal)?;
    revised(writer, &committed)
}

/// The version to start from, if it is served and nobody has changed the task since.
fn take_up(writer: &Writer, revision: &Revision) -> Result<Arc<Installed>, Status> {
    let not_found = || status::not_found("no such task, version or alias");
    let task = writer.registry().task(&revision.key).ok_or_else(not_found)?;
    if let Some(expected) = revision.expected_generation
        && expected != task.generation
    {
        let actual = task.generation;
        return Err(status::of_registry(RegistryError::WrongGeneration { expected, actual }));
    }
    let version = match &revision.from {
        Selector::Version(version) => Some(*version),
        Selector::Alias(alias) => task.aliases.get(alias).copied(),
        Selector::Traffic(_) => task.aliases.get(&Alias::live()).copied(),
    };
    if version.is_some_and(|version| task.damaged.contains(&version)) {
        return Err(status::of_registry(RegistryError::Damaged { what: "the stored head".to_owned() }));
    }
    let installed = task.resolve(&revision.from).ok_or_else(not_found)?;
    match writer.misfit(installed) {
        Some(reason) => Err(status::failed_precondition("HEAD_MISFIT", "version", &reason)),
        None => Ok(Arc::clone(installed)),
    }
}

fn revised(writer: &Writer, committed: &Committed) -> Result<Revised, Status> {
    let lost = || status::internal("the registry failed", "a revised version is not served");
    let installed = committed.installed.first().ok_or_else(lost)?;
    let task = writer.live_task(&installed.key).ok_or_else(lost)?;
    let served = task.select(&Selector::Version(installed.version)).ok_or_else(lost)?;
    let generation = generation_of(committed, task.generation);
    Ok(Revised { task, served, is_new: false, generation })
}

/// The setting that does not suit the head.
fn field_of(error: &HeadError) -> &'static str {
    match error {
        HeadError::LabelCount { .. } | HeadError::BadLabel { .. } => "labels",
        HeadError::Thresholds { .. } => "thresholds",
        HeadError::Temperature => "temperature",
        HeadError::Trust(TrustError::AbstainBelow) => "abstain_below",
        HeadError::Trust(TrustError::ValueRange) => "value_minimum",
        HeadError::Trust(TrustError::OodWidth { .. }) => "ood",
        HeadError::Sample { .. } => "samples",
        HeadError::Golden { .. } => "goldens",
        HeadError::UnknownKind(_)
        | HeadError::Adapter(_)
        | HeadError::Empty
        | HeadError::TooManyOutputs { .. }
        | HeadError::WeightShape { .. }
        | HeadError::NotOneOutput { .. }
        | HeadError::NotFinite { .. } => "head",
    }
}

/// A manifest that cannot be written names the setting, not the file.
fn refusal(error: RegistryError) -> Status {
    if let RegistryError::Manifest(ManifestError::Value { key, rule }) = &error {
        return status::invalid_field(key.trim_start_matches("about."), rule);
    }
    status::of_registry(error)
}
