//! Opening a data directory: lock, clear away, read, prove, compare the two accounts, repair, load. In this order.
//!
//! ```text
//! <data>/lock  ballast  records/ (the store)  objects/<sha256>  journal/ (snapshots and tails)
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::RegistryError;
use crate::files;
use crate::journal::{self, Account, Journal};
use crate::load::{self, DamagedHead, Proven};
use crate::lock::DirectoryLock;
use crate::objects::{ObjectFolder, Swept};
use crate::record::{META_KEY, MetaRecord, Record};
use crate::registry::{Durable, OpenOptions};
use crate::space::Space;
use crate::state::State;
use crate::store::{RecordBatch, RecordStore, Records, SledStore};

pub(crate) const RECORDS: &str = "records";
pub(crate) const OBJECTS: &str = "objects";
pub(crate) const JOURNAL: &str = "journal";
/// A database being made; never opened, only renamed to [`RECORDS`] when it is whole.
const NEW_RECORDS: &str = "records.new";
const RECORDS_A_TRANSACTION: usize = 1000;

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootReport {
    /// Versions that can be served.
    pub heads: usize,
    /// Versions that cannot, with the reason.
    pub damaged: Vec<DamagedHead>,
    /// Why the record store was rebuilt from the journal, if it was.
    pub rebuilt: Option<String>,
    /// Unused or half-written object files removed.
    pub swept: Swept,
}

/// Opens `dir` for changes.
pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Result<(Durable, State, BootReport), RegistryError> {
    files::create_directories(dir)?;
    if !options.allow_network_file_system {
        files::check_local(dir)?;
    }
    let lock = DirectoryLock::take(dir)?;
    let space = Space::open(dir, options.ballast_bytes);
    for folder in [OBJECTS, JOURNAL] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder).map_err(RegistryError::io("create", &folder))?;
    }
    files::sync_directory(dir)?;
    let objects = ObjectFolder::open(&dir.join(OBJECTS))?;
    let account = journal::load(&dir.join(JOURNAL))?;
    let Recovered { store, records, proven, rebuilt } = recover(dir, options, &objects, account.as_ref())?;
    let is_absorbed = account.is_some_and(|account| account.is_absorbed && account.generation == proven.generation);
    let journal = Journal::start(&dir.join(JOURNAL), proven.generation, &records, is_absorbed)?;
    let (state, damaged) = load::load(records, proven, &objects);
    let swept = objects.sweep(&state.referenced_objects())?;
    let heads = state.tasks().map(|(_, task)| task.versions.len()).sum();
    let report = BootReport { heads, damaged, rebuilt, swept };
    Ok((Durable { store, objects, journal, space, _lock: lock }, state, report))
}

/// Reads `dir` without writing to it, from the journal alone: every acknowledged change is in it.
pub(crate) fn open_read_only(dir: &Path) -> Result<(Option<DirectoryLock>, State, BootReport), RegistryError> {
    let lock = DirectoryLock::take_shared(dir)?;
    let objects = ObjectFolder::open(&dir.join(OBJECTS))?;
    let lost = || -> Result<RegistryError, RegistryError> {
        Ok(RegistryError::RecordsLost { objects: objects.list()?.len() })
    };
    let Some(account) = journal::load(&dir.join(JOURNAL))? else { return Err(lost()?) };
    let Some(proven) = load::prove(&account.records) else { return Err(lost()?) };
    let (state, damaged) = load::load(account.records, proven, &objects);
    let heads = state.tasks().map(|(_, task)| task.versions.len()).sum();
    Ok((lock, state, BootReport { heads, damaged, ..BootReport::default() }))
}

struct Recovered {
    store: Box<dyn RecordStore>,
    records: Records,
    proven: Proven,
    rebuilt: Option<String>,
}

/// The store as it is if it can be trusted, else made anew from the journal, or empty for an empty directory.
fn recover(
    dir: &Path,
    options: &OpenOptions,
    objects: &ObjectFolder,
    account: Option<&Account>,
) -> Result<Recovered, RegistryError> {
    let place = dir.join(RECORDS);
    let leftover = dir.join(NEW_RECORDS);
    if leftover.exists() {
        fs::remove_dir_all(&leftover).map_err(RegistryError::io("remove", &leftover))?;
    }
    let reason = if files::is_directory(&place) {
        match open_trusted(&place, options, account)? {
            Ok((store, records, proven)) => {
                return Ok(Recovered { store: Box::new(store), records, proven, rebuilt: None });
            }
            Err(reason) => Some(reason),
        }
    } else {
        account.map(|_| "the record store is missing".to_owned())
    };
    let stored = objects.list()?.len();
    let (records, proven) = match account.and_then(|account| Some((account, load::prove(&account.records)?))) {
        Some((account, proven)) => (account.records.clone(), proven),
        None if stored > 0 && !options.accept_loss => return Err(RegistryError::RecordsLost { objects: stored }),
        None => empty_records()?,
    };
    if let Some(reason) = &reason {
        tracing::error!(reason, generation = proven.generation, "the record store is rebuilt from the journal");
        set_aside(dir, &place)?;
    }
    create_store(dir, options, &records)?;
    let store = SledStore::open(&place, options.cache_bytes)?;
    Ok(Recovered { store: Box::new(store), records, proven, rebuilt: reason })
}

type Trusted = (SledStore, Records, Proven);

/// Opens the store and compares it with the journal; the inner error says why it cannot be trusted.
fn open_trusted(
    place: &Path,
    options: &OpenOptions,
    account: Option<&Account>,
) -> Result<Result<Trusted, String>, RegistryError> {
    clear_store_leftovers(place)?;
    let read = SledStore::open(place, options.cache_bytes).and_then(|store| Ok((store.scan()?, store)));
    let (records, store) = match read {
        Ok(read) => read,
        Err(error @ RegistryError::Locked { .. }) => return Err(error),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let Some(proven) = load::prove(&records) else {
        return Ok(Err("a record is damaged or missing".to_owned()));
    };
    Ok(match account {
        Some(account) if proven.generation < account.generation => {
            Err(format!("it stands at generation {}, the journal at {}", proven.generation, account.generation))
        }
        Some(account) if proven.generation == account.generation && records != account.records => {
            Err("it differs from the journal at the same generation".to_owned())
        }
        _ => Ok((store, records, proven)),
    })
}

/// sled refuses for ever to open a directory with an unfinished snapshot, or any other name beginning with `snap.`.
pub(crate) fn clear_store_leftovers(place: &Path) -> Result<(), RegistryError> {
    for entry in fs::read_dir(place).map_err(RegistryError::io("list", place))? {
        let path = entry.map_err(RegistryError::io("list", place))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let Some(rest) = name.strip_prefix("snap.") else { continue };
        if rest.ends_with(".generating") {
            fs::remove_file(&path).map_err(RegistryError::io("remove", &path))?;
        } else if rest.len() != 16 || !rest.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let aside = place.join(format!("aside.{name}"));
            fs::rename(&path, &aside).map_err(RegistryError::io("move", &path))?;
        }
    }
    files::sync_directory(place)
}

/// Makes a store with `records` beside its place and moves it there: half a database is never opened.
fn create_store(dir: &Path, options: &OpenOptions, records: &Records) -> Result<(), RegistryError> {
    let new = dir.join(NEW_RECORDS);
    let place = dir.join(RECORDS);
    let mut store = Box::new(SledStore::open(&new, options.cache_bytes)?);
    let pairs: Vec<_> = records.iter().collect();
    for some in pairs.chunks(RECORDS_A_TRANSACTION) {
        let mut batch = RecordBatch::default();
        some.iter().for_each(|(key, value)| batch.put_encoded(key.to_vec(), value.to_vec()));
        store.apply(&batch)?;
    }
    store.close()?;
    for entry in fs::read_dir(&new).map_err(RegistryError::io("list", &new))? {
        let path = entry.map_err(RegistryError::io("list", &new))?.path();
        if path.is_file() {
            fs::File::open(&path).and_then(|file| file.sync_all()).map_err(RegistryError::io("sync", &path))?;
        }
    }
    files::sync_directory(&new)?;
    fs::rename(&new, &place).map_err(RegistryError::io("move", &new))?;
    files::sync_directory(dir)
}

fn empty_records() -> Result<(Records, Proven), RegistryError> {
    let mut batch = RecordBatch::default();
    batch.put(META_KEY.to_vec(), 0, &Record::Meta(MetaRecord { records: 0 }))?;
    let mut records = Records::new();
    batch.apply_to(&mut records);
    let proven = load::prove(&records).ok_or(RegistryError::Damaged { what: "an empty registry".to_owned() })?;
    Ok((records, proven))
}

/// Keeps what could not be trusted, for whoever wants to look at it.
pub(crate) fn set_aside(dir: &Path, place: &Path) -> Result<(), RegistryError> {
    if !place.exists() {
        return Ok(());
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let free = (0_u32..)
        .map(|number| dir.join(format!("{RECORDS}.corrupt-{seconds}-{number}")))
        .find(|path: &PathBuf| !path.exists());
    let aside = free.unwrap_or_else(|| dir.join(format!("{RECORDS}.corrupt")));
    fs::rename(place, &aside).map_err(RegistryError::io("move", place))?;
    files::sync_directory(dir)
}
