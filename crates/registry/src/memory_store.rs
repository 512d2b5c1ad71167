//! A record store in memory that fails when told to, to see what the registry makes of it.

use std::sync::{Arc, Mutex};

use crate::error::RegistryError;
use crate::store::{RecordBatch, RecordStore, Records};

/// What fails, at which call of its kind, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Apply(usize),
    Barrier(usize),
    /// The transaction is written, yet the answer is an error.
    ApplyAfterWriting(usize),
    /// The transaction is written, and then its thread panics.
    Panic(usize),
}

/// What is on the imagined disk; shared with the test.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What a crash would leave.
    pub(crate) durable: Records,
    written: Records,
    applies: usize,
    pub(crate) barriers: usize,
}

pub(crate) struct MemoryStore {
    pub(crate) disk: Arc<Mutex<Disk>>,
    pub(crate) fault: Option<Fault>,
}

fn failure(what: &str) -> RegistryError {
    RegistryError::Store(format!("{what} failed"))
}

impl RecordStore for MemoryStore {
    fn scan(&self) -> Result<Records, RegistryError> {
        Ok(self.disk.lock().unwrap().written.clone())
    }

    fn apply(&mut self, batch: &RecordBatch) -> Result<(), RegistryError> {
        let mut disk = self.disk.lock().unwrap();
        let number = disk.applies;
        disk.applies += 1;
        if self.fault == Some(Fault::Apply(number)) {
            return Err(failure("apply"));
        }
        batch.clone().apply_to(&mut disk.written);
        assert!(self.fault != Some(Fault::Panic(number)), "the test asked for this panic");
        if self.fault == Some(Fault::ApplyAfterWriting(number)) { Err(failure("apply")) } else { Ok(()) }
    }

    fn barrier(&mut self) -> Result<(), RegistryError> {
        let mut disk = self.disk.lock().unwrap();
        let number = disk.barriers;
        disk.barriers += 1;
        if self.fault == Some(Fault::Barrier(number)) {
            return Err(failure("barrier"));
        }
        disk.durable = disk.written.clone();
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), RegistryError> {
        Ok(())
    }
}
