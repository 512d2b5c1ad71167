//! From proven records to heads: reads and proves every object, on all cores, and sets damaged versions aside.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use engine::{Adapter, Head, TaskKey, Version};

use crate::adapter_tensors;
use crate::change::{Installed, StoredTask};
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::manifest::Manifest;
use crate::objects::ObjectFolder;
use crate::record::{AliasRecord, HeadRecord, META_KEY, Record, TaskRecord};
use crate::state::{State, StoredTenants, StoredTokens};
use crate::store::Records;
use crate::weights::Tensors;

/// What the records of a store or a snapshot say, once all of them have proven themselves.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) generation: u64,
    heads: Vec<HeadVersion>,
    tasks: BTreeMap<TaskKey, StoredTask>,
    tenants: StoredTenants,
    tokens: StoredTokens,
}

#[derive(Debug)]
struct HeadVersion {
    key: TaskKey,
    version: Version,
    generation: u64,
    record: HeadRecord,
}

/// A version that is known but not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedHead {
    /// The task.
    pub key: TaskKey,
    /// The version.
    pub version: Version,
    /// What is wrong.
    pub reason: String,
}

type Loaded<T> = HashMap<Digest, Result<T, String>>;

/// What heads share, each thing once.
struct LoadedParts {
    tensors: Loaded<Arc<[f32]>>,
    adapters: Loaded<Arc<Adapter>>,
}

/// Decodes `records`; `None` if one does not prove itself, meta is missing, or their number is not what meta says.
pub(crate) fn prove(records: &Records) -> Option<Proven> {
    let mut heads = Vec::new();
    let mut tasks = BTreeMap::new();
    let (mut tenants, mut tokens) = (BTreeMap::new(), BTreeMap::new());
    let mut meta = None;
    let mut newest = 0;
    for (key, value) in records {
        let (record, generation) = Record::decode(key, value)?;
        newest = newest.max(generation);
        match record {
            Record::Meta(found) => meta = Some((found, generation)),
            Record::Head(key, version, record) => heads.push(HeadVersion { key, version, generation, record }),
            Record::Task(key, record) => {
                let TaskRecord { last_version, aliases, traffic, retention } = record;
                let mut task = StoredTask { generation, last_version, traffic, retention, ..Default::default() };
                for AliasRecord { alias, version, previous } in aliases {
                    task.previous.extend(previous.map(|previous| (alias.clone(), previous)));
                    task.aliases.insert(alias, version);
                }
                tasks.insert(key, task);
            }
            Record::History(_) | Record::Audit(_) => {}
            Record::Tenant(name, tenant) => drop(tenants.insert(name, Arc::new(tenant))),
            Record::Token(id, token) => drop(tokens.insert(id, Arc::new(token))),
        }
    }
    let (meta, generation) = meta?;
    let besides_meta = records.keys().filter(|key| key.as_slice() != META_KEY).count() as u64;
    let fits = meta.records == besides_meta && newest == generation;
    let owned = heads.iter().all(|head| tasks.contains_key(&head.key));
    (fits && owned).then_some(Proven { generation, heads, tasks, tenants, tokens })
}

/// Loads every head.
pub(crate) fn load(records: Records, proven: Proven, objects: &ObjectFolder) -> (State, Vec<DamagedHead>) {
    let Proven { generation, heads, mut tasks, tenants, tokens } = proven;
    let digests: Vec<_> = heads.iter().flat_map(|head| head.record.objects.tensors()).collect();
    let tensors = load_each(digests, |digest| objects.read_numbers(digest));
    let digests: Vec<_> = heads.iter().filter_map(|head| head.record.objects.adapter).collect();
    let adapters = load_each(digests, |digest| Ok(Arc::new(adapter_tensors::of_bytes(&objects.read(digest)?)?)));
    let parts = LoadedParts { tensors, adapters };
    let installed = on_all_cores(&heads, |head| load_head(head, objects, &parts));
    let mut damaged = Vec::new();
    for (head, installed) in heads.into_iter().zip(installed) {
        let Some(task) = tasks.get_mut(&head.key) else { continue };
        match installed {
            Ok(installed) => drop(task.versions.insert(head.version, Arc::new(installed))),
            Err(reason) => {
                tracing::error!(task = %head.key.task, version = %head.version, reason, "a head is damaged and not served");
                task.damaged.insert(head.version);
                damaged.push(DamagedHead { key: head.key, version: head.version, reason });
            }
        }
    }
    let tasks = tasks.into_iter().map(|(key, task)| (key, Arc::new(task))).collect();
    (State::new((generation, records), tasks, (tenants, tokens)), damaged)
}

/// Loads each of `digests` once.
fn load_each<T: Send>(
    mut digests: Vec<Digest>,
    load: impl Fn(&Digest) -> Result<T, RegistryError> + Sync,
) -> Loaded<T> {
    digests.sort_unstable();
    digests.dedup();
    on_all_cores(&digests, |digest| (*digest, load(digest).map_err(|error| error.to_string()))).into_iter().collect()
}

fn loaded<T: Clone>(all: &Loaded<T>, digest: &Digest) -> Result<T, String> {
    all.get(digest).cloned().unwrap_or_else(|| Err("a tensor was not read".to_owned()))
}

fn load_head(head: &HeadVersion, objects: &ObjectFolder, parts: &LoadedParts) -> Result<Installed, String> {
    let HeadVersion { key, version, generation, record } = head;
    let tensor = |digest: &Digest| loaded(&parts.tensors, digest);
    let head_toml = objects.read(&record.objects.manifest).map_err(|error| error.to_string())?;
    let manifest = Manifest::parse(&head_toml).map_err(|error| error.to_string())?;
    if manifest.task != key.task || manifest.encoder != record.encoder {
        return Err("its manifest is that of another head".to_owned());
    }
    let tensors = Tensors {
        weight: tensor(&record.objects.weight)?,
        bias: tensor(&record.objects.bias)?,
        task_embedding: record.objects.task_embedding.as_ref().map(tensor).transpose()?,
        adapter: record.objects.adapter.as_ref().map(|digest| loaded(&parts.adapters, digest)).transpose()?,
    };
    let head = Head::new(manifest.kind, record.hidden as usize, manifest.head_parts(tensors))
        .map_err(|error| RegistryError::from(error).to_string())?;
    Ok(Installed {
        key: key.clone(),
        version: *version,
        digest: record.objects.manifest,
        encoder: record.encoder,
        forced: record.forced,
        generation: *generation,
        created_unix_seconds: record.created_unix_seconds,
        head: Arc::new(head),
        objects: record.objects,
    })
}

/// `work` on every item, in order of the items, by as many threads as there are cores.
fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    const PIECE: usize = 64;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
    if threads == 1 || items.len() <= PIECE {
        return items.iter().map(work).collect();
    }
    let pieces = Mutex::new(items.chunks(PIECE).enumerate());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((number, piece)) = piece else { break };
                    let results: Vec<_> = piece.iter().map(&work).collect();
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((number, results));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().flat_map(|(_, results)| results).collect()
}
