//! The narrow door to the key-value store, and the one behind it: the only file that names sled.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::barrier::Barrier;
use crate::error::RegistryError;
use crate::record::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Record};

/// How sled 0.34.7 says that another handle has its files.
const LOCK_REFUSED: &str = "could not acquire lock";
/// Tries to open, 20 ms apart.
const OPEN_TRIES: u32 = 100;

/// Records by key, each value as encoded by [`Record::encode`].
pub(crate) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The records that one change puts (`Some`) and removes (`None`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RecordBatch(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

/// A durable map of records. To implement it, make [`RecordStore::apply`] whole or absent after any crash, and let
/// [`RecordStore::barrier`] return `Ok` only when everything applied before would survive one.
pub(crate) trait RecordStore: Send {
    /// Every record.
    fn scan(&self) -> Result<Records, RegistryError>;
    /// One transaction.
    fn apply(&mut self, batch: &RecordBatch) -> Result<(), RegistryError>;
    /// Waits until everything applied is on the disk.
    fn barrier(&mut self) -> Result<(), RegistryError>;
    /// Ends all work on the files.
    fn close(self: Box<Self>) -> Result<(), RegistryError>;
}

impl RecordBatch {
    /// Encodes `record` under `key`.
    pub(crate) fn put(&mut self, key: Vec<u8>, generation: u64, record: &Record) -> Result<(), RegistryError> {
        let value = record.encode(&key, generation)?;
        self.put_encoded(key, value);
        Ok(())
    }

    /// Puts a value that was encoded before.
    pub(crate) fn put_encoded(&mut self, key: Vec<u8>, value: Vec<u8>) {
        debug_assert!(key.len() <= MAX_KEY_BYTES && value.len() <= MAX_VALUE_BYTES, "a record too large for sled");
        self.0.insert(key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.0.insert(key, None);
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Vec<u8>, Option<&Vec<u8>>)> {
        self.0.iter().map(|(key, value)| (key, value.as_ref()))
    }

    pub(crate) fn apply_to(self, records: &mut Records) {
        for (key, value) in self.0 {
            match value {
                Some(value) => records.insert(key, value),
                None => records.remove(&key),
            };
        }
    }
}

/// sled 0.34.7 under belts: small values, a panic is an error, and its `flush` is followed by a real sync.
#[derive(Debug)]
pub(crate) struct SledStore {
    /// `None` only while it is being closed.
    db: Option<sled::Db>,
    barrier: Barrier,
}

impl SledStore {
    /// Opens the database in `dir`, or makes one there.
    ///
    /// # Errors
    /// What sled reports or panics with.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, RegistryError> {
        // Neither `segment_size` nor `use_compression` may ever change: an existing database would not open.
        let config = sled::Config::default().path(dir).cache_capacity(cache_bytes).flush_every_ms(Some(500));
        let db = open_when_released(&config, dir)?;
        let log = dir.join("db");
        let log = File::open(&log).map_err(RegistryError::io("open", &log))?;
        let barrier = Barrier::new(log, dir)?;
        Ok(Self { db: Some(db), barrier })
    }

    fn with_db<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, RegistryError> {
        let Some(db) = &self.db else { return Err(RegistryError::Store("closed".to_owned())) };
        catch_unwind(AssertUnwindSafe(|| work(db)))
            .map_err(|panic| panicked(&*panic))?
            .map_err(|error| store_error(&error))
    }
}

/// Opens on a thread of its own, since recovery of a damaged file can panic. The last closing in this process may still be
/// letting go of sled's lock, which its worker threads hold: that passes, and must not be taken for damage.
fn open_when_released(config: &sled::Config, dir: &Path) -> Result<sled::Db, RegistryError> {
    for _ in 0..OPEN_TRIES {
        let config = config.clone();
        let opened = thread::Builder::new()
            .name("registry-open".to_owned())
            .spawn(move || config.open())
            .map_err(RegistryError::io("start a thread to open", dir))?
            .join();
        match opened.map_err(|panic| panicked(&*panic))? {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(error)) if error.to_string().contains(LOCK_REFUSED) => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(store_error(&error)),
        }
    }
    Err(RegistryError::Locked { pid: None })
}

impl RecordStore for SledStore {
    fn scan(&self) -> Result<Records, RegistryError> {
        self.with_db(|db| db.iter().map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect())
    }

    fn apply(&mut self, batch: &RecordBatch) -> Result<(), RegistryError> {
        let mut transaction = sled::Batch::default();
        for (key, value) in batch.iter() {
            match value {
                Some(value) => transaction.insert(key.as_slice(), value.as_slice()),
                None => transaction.remove(key.as_slice()),
            }
        }
        self.with_db(|db| db.apply_batch(transaction))
    }

    fn barrier(&mut self) -> Result<(), RegistryError> {
        self.with_db(|db| db.flush().map(|_| ()))?;
        self.barrier.pass()
    }

    fn close(mut self: Box<Self>) -> Result<(), RegistryError> {
        self.with_db(|db| db.flush().map(|_| ()))?;
        let db = self.db.take();
        // sled syncs when its last handle goes, and panics if that fails.
        catch_unwind(AssertUnwindSafe(|| drop(db))).map_err(|panic| panicked(&*panic))?;
        self.barrier.pass()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let db = self.db.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(db))) {
            tracing::error!(error = %panicked(&*panic), "the record store could not be closed");
        }
    }
}

fn store_error(error: &sled::Error) -> RegistryError {
    RegistryError::Store(error.to_string())
}

fn panicked(panic: &(dyn Any + Send)) -> RegistryError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    RegistryError::Store(format!("panicked: {}", text.unwrap_or("without a text")))
}
