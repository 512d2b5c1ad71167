//! A change being worked out on copies of the tasks it touches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use engine::{About, Adapter, Alias, Head, HeadParts, Retention, TaskKey, TaskName, TenantName, Traffic, Version};

use crate::adapter_tensors;
use crate::audit_log::AuditField;
use crate::change::{Action, HeadObjects, HistoryEntry, Install, Installed, MAX_ALIASES, StoredTask};
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::head_folder::HeadFolder;
use crate::objects::NewObject;
use crate::state::State;
use crate::tenants::{StoredTenant, StoredToken, TokenId};

/// A change as far as it is worked out.
pub(crate) struct Draft<'state> {
    pub(crate) state: &'state State,
    pub(crate) generation: u64,
    pub(crate) unix_seconds: u64,
    /// The tasks that differ from `state`, as they will be.
    pub(crate) touched: BTreeMap<TaskKey, StoredTask>,
    pub(crate) added: Vec<Arc<Installed>>,
    pub(crate) removed: Vec<(TaskKey, Version)>,
    pub(crate) objects: BTreeMap<Digest, NewObject>,
    pub(crate) dropped: BTreeSet<Digest>,
    /// One for each install in order, new or found.
    pub(crate) installed: Vec<Arc<Installed>>,
    /// `None` while no task differs.
    pub(crate) history: Option<HistoryEntry>,
    /// The tenants that differ from `state`, as they will be; `None` where one goes.
    pub(crate) tenants: BTreeMap<TenantName, Option<StoredTenant>>,
    /// The tokens, likewise.
    pub(crate) tokens: BTreeMap<TokenId, Option<StoredToken>>,
    /// What differs in the server's configuration, which is not stored here.
    pub(crate) configured: Vec<AuditField>,
    /// New task names of this draft by their lower-case form.
    new_names: HashMap<(TenantName, String), TaskName>,
}

impl<'state> Draft<'state> {
    pub(crate) fn new(state: &'state State, unix_seconds: u64) -> Self {
        Self {
            state,
            generation: state.generation + 1,
            unix_seconds,
            touched: BTreeMap::new(),
            added: Vec::new(),
            removed: Vec::new(),
            objects: BTreeMap::new(),
            dropped: BTreeSet::new(),
            installed: Vec::new(),
            history: None,
            tenants: BTreeMap::new(),
            tokens: BTreeMap::new(),
            configured: Vec::new(),
            new_names: HashMap::new(),
        }
    }

    pub(crate) fn check_generation(&self, key: &TaskKey, expected: Option<u64>) -> Result<(), RegistryError> {
        let actual = self.existing(key)?.generation;
        match expected {
            Some(expected) if expected != actual => Err(RegistryError::WrongGeneration { expected, actual }),
            _ => Ok(()),
        }
    }

    pub(crate) fn install(&mut self, install: Install) -> Result<(), RegistryError> {
        self.check_case(&install.key)?;
        let folder = HeadFolder::of_head(&install.key.task, &install.head, install.encoder)?;
        let digest = Digest::of(&folder.head_toml);
        let task = self.peek(&install.key);
        let found = match install.version {
            Some(version) => task.and_then(|task| task.versions.get(&version)),
            None => task.and_then(newest).filter(|newest| newest.digest == digest),
        };
        let installed = match found {
            Some(found) if found.digest == digest => Arc::clone(found),
            Some(found) => return Err(RegistryError::AlreadyExists { key: install.key, version: found.version }),
            None => self.add(&install, folder.head_toml)?,
        };
        for alias in install.aliases {
            self.set_alias(&install.key, alias, installed.version)?;
        }
        self.installed.push(installed);
        Ok(())
    }

    pub(crate) fn set_alias(&mut self, key: &TaskKey, alias: Alias, version: Version) -> Result<(), RegistryError> {
        let task = self.existing(key)?;
        if !task.versions.contains_key(&version) {
            return Err(RegistryError::UnknownVersion { key: key.clone(), version });
        }
        let previous = task.aliases.get(&alias).copied();
        if previous == Some(version) {
            return Ok(());
        }
        if previous.is_none() && task.aliases.len() >= MAX_ALIASES {
            return Err(RegistryError::TooManyAliases { limit: MAX_ALIASES });
        }
        self.move_alias(key, alias, version, Action::SetAlias);
        Ok(())
    }

    pub(crate) fn roll_back(&mut self, key: &TaskKey, alias: Alias) -> Result<(), RegistryError> {
        let task = self.existing(key)?;
        if !task.aliases.contains_key(&alias) {
            return Err(RegistryError::UnknownAlias { key: key.clone(), alias });
        }
        let Some(version) = task.previous.get(&alias).copied() else {
            return Err(RegistryError::NothingBefore { key: key.clone(), alias });
        };
        self.move_alias(key, alias, version, Action::Rollback);
        Ok(())
    }

    /// Points `alias` elsewhere and remembers where it pointed.
    fn move_alias(&mut self, key: &TaskKey, alias: Alias, version: Version, action: Action) {
        let task = self.touch(key);
        let previous = task.aliases.insert(alias.clone(), version);
        if let Some(previous) = previous {
            task.previous.insert(alias.clone(), previous);
        }
        let entry = self.entry(action, key, Some(version));
        self.note(HistoryEntry { alias: Some(alias), previous, ..entry });
    }

    pub(crate) fn set_traffic(&mut self, key: &TaskKey, traffic: Traffic) -> Result<(), RegistryError> {
        let task = self.existing(key)?;
        let [canary, shadow] =
            [traffic.canary.map(|canary| canary.version), traffic.shadow.map(|shadow| shadow.version)];
        if let Some(version) = canary.into_iter().chain(shadow).find(|version| !task.versions.contains_key(version)) {
            return Err(RegistryError::UnknownVersion { key: key.clone(), version });
        }
        if task.traffic == traffic {
            return Ok(());
        }
        self.touch(key).traffic = traffic;
        let entry = self.entry(Action::SetTraffic, key, canary.or(shadow));
        self.note(entry);
        Ok(())
    }

    pub(crate) fn remove_alias(&mut self, key: &TaskKey, alias: Alias) -> Result<(), RegistryError> {
        let Some(previous) = self.existing(key)?.aliases.get(&alias).copied() else {
            return Err(RegistryError::UnknownAlias { key: key.clone(), alias });
        };
        let task = self.touch(key);
        task.aliases.remove(&alias);
        task.previous.remove(&alias);
        let entry = self.entry(Action::RemoveAlias, key, None);
        self.note(HistoryEntry { alias: Some(alias), previous: Some(previous), ..entry });
        Ok(())
    }

    /// The same numbers under the same number, with another manifest.
    pub(crate) fn describe(&mut self, key: &TaskKey, version: Version, about: About) -> Result<(), RegistryError> {
        let unknown = || RegistryError::UnknownVersion { key: key.clone(), version };
        let old = Arc::clone(self.existing(key)?.versions.get(&version).ok_or_else(unknown)?);
        let head = Head::new(old.head.kind(), old.head.hidden(), HeadParts { about, ..old.head.parts().clone() })?;
        let folder = HeadFolder::of_head(&key.task, &head, old.encoder)?;
        if Digest::of(&folder.head_toml) == old.digest {
            self.installed.push(old);
            return Ok(());
        }
        self.dropped.insert(old.objects.manifest);
        let (head, objects) = self.share(&head, folder.head_toml)?;
        let installed = Arc::new(Installed {
            digest: objects.manifest,
            generation: self.generation,
            head,
            objects,
            ..Installed::clone(&old)
        });
        self.touch(key).versions.insert(version, Arc::clone(&installed));
        self.added.push(Arc::clone(&installed));
        self.installed.push(installed);
        let entry = self.entry(Action::Describe, key, Some(version));
        self.note(entry);
        Ok(())
    }

    pub(crate) fn delete(&mut self, key: &TaskKey, version: Version, with_aliases: bool) -> Result<(), RegistryError> {
        let task = self.existing(key)?;
        if !task.has_version(version) {
            return Err(RegistryError::UnknownVersion { key: key.clone(), version });
        }
        let is_last = task.versions.len() + task.damaged.len() == 1;
        if let Some((alias, _)) = task.aliases.iter().find(|(_, named)| **named == version)
            && !with_aliases
            && !is_last
        {
            return Err(RegistryError::AliasInUse { key: key.clone(), version, alias: alias.clone() });
        }
        if task.traffic.holds(version) && !with_aliases && !is_last {
            return Err(RegistryError::TrafficInUse { key: key.clone(), version });
        }
        let of_this_draft = task.versions.get(&version).map(|installed| installed.objects);
        self.dropped.extend(of_this_draft.iter().flat_map(HeadObjects::iter));
        self.dropped.extend(self.state.objects_of(key, version));
        let task = self.touch(key);
        task.aliases.retain(|_, named| *named != version);
        let StoredTask { aliases, previous, .. } = task;
        previous.retain(|alias, named| *named != version && aliases.contains_key(alias));
        task.traffic = task.traffic.without(version);
        task.versions.remove(&version);
        task.damaged.remove(&version);
        if task.is_empty() {
            task.retention = Retention::default();
        }
        self.removed.push((key.clone(), version));
        let entry = self.entry(Action::DeleteVersion, key, Some(version));
        self.note(entry);
        Ok(())
    }

    /// The task as this draft leaves it so far.
    fn peek(&self, key: &TaskKey) -> Option<&StoredTask> {
        self.touched.get(key).or_else(|| self.state.task(key))
    }

    pub(crate) fn existing(&self, key: &TaskKey) -> Result<&StoredTask, RegistryError> {
        self.peek(key).filter(|task| !task.is_empty()).ok_or_else(|| RegistryError::UnknownTask { key: key.clone() })
    }

    /// The task, to be changed: it now counts as changed by this draft.
    pub(crate) fn touch(&mut self, key: &TaskKey) -> &mut StoredTask {
        let state = self.state;
        let task = self.touched.entry(key.clone()).or_insert_with(|| state.task(key).cloned().unwrap_or_default());
        task.generation = self.generation;
        task
    }

    fn check_case(&mut self, key: &TaskKey) -> Result<(), RegistryError> {
        let folded = (key.tenant.clone(), key.task.as_str().to_ascii_lowercase());
        match self.state.name_like(&folded).or_else(|| self.new_names.get(&folded)) {
            Some(existing) if *existing != key.task => {
                Err(RegistryError::CaseClash { wanted: key.task.clone(), existing: existing.clone() })
            }
            Some(_) => Ok(()),
            None => {
                self.new_names.insert(folded, key.task.clone());
                Ok(())
            }
        }
    }

    fn add(&mut self, install: &Install, head_toml: Vec<u8>) -> Result<Arc<Installed>, RegistryError> {
        let key = &install.key;
        let last = self.peek(key).and_then(|task| task.last_version);
        let version = install.version.unwrap_or_else(|| last.map_or(Version::FIRST, Version::next));
        if last.is_some_and(|last| version <= last) {
            return Err(RegistryError::AlreadyExists { key: key.clone(), version });
        }
        let (head, objects) = self.share(&install.head, head_toml)?;
        let installed = Arc::new(Installed {
            key: key.clone(),
            version,
            digest: objects.manifest,
            encoder: install.encoder,
            forced: install.forced,
            generation: self.generation,
            created_unix_seconds: self.unix_seconds,
            head,
            objects,
        });
        let task = self.touch(key);
        task.versions.insert(version, Arc::clone(&installed));
        task.last_version = Some(version);
        self.added.push(Arc::clone(&installed));
        let entry = self.entry(Action::Install, key, Some(version));
        self.note(HistoryEntry { heads: 1, ..entry });
        Ok(installed)
    }

    /// The head with its tensors shared with equal ones that are resident, and the objects to store for it.
    fn share(&mut self, head: &Head, head_toml: Vec<u8>) -> Result<(Arc<Head>, HeadObjects), RegistryError> {
        let parts = head.parts();
        let (weight_digest, weight) = self.share_tensor(&parts.weight);
        let (bias_digest, bias) = self.share_tensor(&parts.bias);
        let task_embedding = parts.task_embedding.as_ref().map(|numbers| self.share_tensor(numbers));
        let adapter = parts.adapter.as_ref().map(|adapter| self.share_adapter(adapter)).transpose()?;
        let manifest = Digest::of(&head_toml);
        self.objects.insert(manifest, NewObject::File(head_toml));
        let objects = HeadObjects {
            manifest,
            weight: weight_digest,
            bias: bias_digest,
            task_embedding: task_embedding.as_ref().map(|(digest, _)| *digest),
            adapter: adapter.as_ref().map(|(digest, _)| *digest),
        };
        let task_embedding = task_embedding.map(|(_, numbers)| numbers);
        let adapter = adapter.map(|(_, adapter)| adapter);
        let parts = HeadParts { weight, bias, task_embedding, adapter, ..parts.clone() };
        Ok((Arc::new(Head::new(head.kind(), head.hidden(), parts)?), objects))
    }

    fn share_tensor(&mut self, numbers: &Arc<[f32]>) -> (Digest, Arc<[f32]>) {
        let object = NewObject::Numbers(Arc::clone(numbers));
        let digest = Digest::of(&object.bytes());
        if let Some(NewObject::Numbers(shared)) = self.objects.get(&digest) {
            return (digest, Arc::clone(shared));
        }
        let shared = self.state.tensor(&digest).unwrap_or_else(|| Arc::clone(numbers));
        self.objects.insert(digest, NewObject::Numbers(Arc::clone(&shared)));
        (digest, shared)
    }

    /// The adapter, or an equal one that is resident, and its object.
    fn share_adapter(&mut self, adapter: &Arc<Adapter>) -> Result<(Digest, Arc<Adapter>), RegistryError> {
        let bytes = adapter_tensors::to_bytes(adapter)?;
        let digest = Digest::of(&bytes);
        let added = self.added.iter().find(|installed| installed.objects.adapter == Some(digest));
        let added = added.and_then(|installed| installed.head.parts().adapter.clone());
        self.objects.insert(digest, NewObject::File(bytes));
        Ok((digest, added.or_else(|| self.state.adapter(&digest)).unwrap_or_else(|| Arc::clone(adapter))))
    }

    pub(crate) fn entry(&self, action: Action, key: &TaskKey, version: Option<Version>) -> HistoryEntry {
        HistoryEntry {
            generation: self.generation,
            unix_seconds: self.unix_seconds,
            action,
            key: key.clone(),
            version,
            alias: None,
            previous: None,
            heads: 0,
        }
    }
}

/// The version with the highest number ever given, if it is still there.
fn newest(task: &StoredTask) -> Option<&Arc<Installed>> {
    task.versions.last_key_value().filter(|(version, _)| Some(**version) == task.last_version).map(|(_, newest)| newest)
}
