//! The narrow door to the key-value store, and the one behind it: the only file that names sled.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::barrier::Barrier;
use crate::error::RegistryError;
use crate::record::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Record};

/// How sled 0.34.7 says that another handle has its files.
const LOCK_REFUSED: &str = "could not acquire lock";
/// Tries to open, 20 ms apart.
const OPEN_TRIES: u32 = 100;
/// How often a call that does not return is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks after which a store that has failed is left alone with its files.
const LOOKS_AT_CLOSING: u32 = 20;

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

/// sled 0.34.7 under belts: small values, a panic is an error, its `flush` is followed by a real sync, and a flush that
/// waits for a write that has failed is woken.
#[derive(Debug)]
pub(crate) struct SledStore {
    /// `None` only while it is being closed.
    db: Option<sled::Db>,
    /// Shares with `db` the first error of any of its threads.
    config: sled::Config,
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
        Ok(Self { db: Some(db), config, barrier })
    }

    fn with_db<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, RegistryError> {
        let Some(db) = &self.db else { return Err(RegistryError::Store("closed".to_owned())) };
        let worked = thread::scope(|scope| {
            let (working, done) = mpsc::channel::<()>();
            let attend = move || {
                while done.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    wake_if_failed(&self.config, db);
                }
            };
            let attendant = thread::Builder::new().name("registry-attendant".to_owned()).spawn_scoped(scope, attend);
            attendant.map_err(|error| RegistryError::Store(error.to_string()))?;
            let worked = catch_unwind(AssertUnwindSafe(|| work(db)));
            drop(working);
            worked.map_err(|panic| panicked(&*panic))
        });
        worked?.map_err(|error| store_error(&error))
    }

    /// Drops the last handle: sled then syncs, and panics if that fails. One that has failed may never come to its end.
    fn let_go(&mut self) -> Result<(), RegistryError> {
        let Some(db) = self.db.take() else { return Ok(()) };
        let (done, gone) = mpsc::channel();
        let drop_it = move || {
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(db))).map_err(|panic| panicked(&*panic));
            // Whoever has given up on this is told nothing.
            let _ = done.send(dropped);
        };
        let spawned = thread::Builder::new().name("registry-close".to_owned()).spawn(drop_it);
        spawned.map_err(|error| RegistryError::Store(error.to_string()))?;
        let mut looks = 0;
        loop {
            match gone.recv_timeout(LOOK_EVERY) {
                Ok(dropped) => return dropped,
                Err(RecvTimeoutError::Disconnected) => return Err(RegistryError::Store("panicked".to_owned())),
                Err(RecvTimeoutError::Timeout) => looks += u32::from(self.config.global_error().is_err()),
            }
            if looks > LOOKS_AT_CLOSING {
                return Err(RegistryError::Store("it does not end after a failure".to_owned()));
            }
        }
    }
}

/// sled marks itself failed when a write fails on one of its threads, and wakes nobody: a flush that waits for that write
/// would wait for ever. Another flush wakes it when it finds the mark.
fn wake_if_failed(config: &sled::Config, db: &sled::Db) {
    if config.global_error().is_err() {
        // Its error is that of the call that waits.
        let _ = catch_unwind(AssertUnwindSafe(|| db.flush()));
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
        self.let_go()?;
        self.barrier.pass()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        if let Err(error) = self.let_go() {
            tracing::error!(%error, "the record store could not be closed");
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
