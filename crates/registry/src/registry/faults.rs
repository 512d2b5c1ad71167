//! Behaviour: the first failure of the record store latches the registry, and nothing unproven is acknowledged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::memory_store::{Disk, Fault, MemoryStore};
use crate::testing::{install, open};
use crate::{Change, Registry, RegistryError};

/// A registry whose records go to an imagined disk.
fn with_fault(dir: &TempDir, fault: Option<Fault>) -> (Registry, Arc<Mutex<Disk>>) {
    let mut registry = open(dir.path());
    let disk = Arc::new(Mutex::new(Disk::default()));
    registry.durable.as_mut().unwrap().store = Box::new(MemoryStore { disk: Arc::clone(&disk), fault });
    (registry, disk)
}

#[test]
fn every_acknowledged_change_has_passed_the_barrier() {
    let dir = TempDir::new().unwrap();
    let (mut registry, disk) = with_fault(&dir, None);
    for seed in 1..=3 {
        registry.install(install("a", seed)).unwrap();
        let disk = disk.lock().unwrap();
        assert_eq!(disk.barriers as u64, seed);
        let durable = disk.durable.iter().filter(|(key, _)| key.starts_with(b"h")).count();
        assert_eq!(durable as u64, seed);
    }
}

#[test]
fn the_first_failure_latches_read_only_and_reading_goes_on() {
    for fault in [Fault::Apply(1), Fault::Barrier(1), Fault::ApplyAfterWriting(1)] {
        let dir = TempDir::new().unwrap();
        let (mut registry, disk) = with_fault(&dir, Some(fault));
        registry.install(install("a", 1)).unwrap();
        let failed = registry.install(install("a", 2));
        assert!(matches!(failed, Err(RegistryError::Store(_))), "{fault:?}: {failed:?}");
        assert!(registry.is_read_only().unwrap().contains("failed"), "{fault:?}");
        let barriers = disk.lock().unwrap().barriers;
        for change in [Change::Install(install("a", 3)), Change::InstallMany(vec![])] {
            assert!(matches!(registry.commit(change), Err(RegistryError::ReadOnly { .. })), "{fault:?}");
        }
        assert_eq!(disk.lock().unwrap().barriers, barriers, "{fault:?}: the barrier must not be tried again");
        assert_eq!((registry.versions("a"), registry.generation()), (vec![1], 1), "{fault:?}");
        registry.close().unwrap();
    }
}

#[test]
fn a_change_that_is_broken_off_by_a_panic_latches_too() {
    let dir = TempDir::new().unwrap();
    let (mut registry, disk) = with_fault(&dir, Some(Fault::Panic(1)));
    registry.install(install("a", 1)).unwrap();
    let broken_off = catch_unwind(AssertUnwindSafe(|| registry.install(install("a", 2))));
    assert!(broken_off.is_err());
    assert!(registry.is_read_only().unwrap().contains("broken off"));
    assert!(matches!(registry.install(install("a", 3)), Err(RegistryError::ReadOnly { .. })));
    let barriers = disk.lock().unwrap_or_else(PoisonError::into_inner).barriers;
    assert_eq!((registry.versions("a"), registry.generation(), barriers), (vec![1], 1, 1));
    registry.close().unwrap();
}

#[test]
fn a_journal_that_cannot_be_written_latches_too() {
    let dir = TempDir::new().unwrap();
    let mut registry = open(dir.path());
    registry.install(install("a", 1)).unwrap();
    // A tail open for reading refuses every write.
    let tail = std::fs::File::open(dir.path().join("lock")).unwrap();
    registry.durable.as_mut().unwrap().journal.break_tail(tail);
    assert!(matches!(registry.install(install("a", 2)), Err(RegistryError::Io { .. })));
    assert!(registry.is_read_only().is_some());
    registry.close().unwrap();
    // The record store has it, whole: not acknowledged, yet fully present.
    assert_eq!(open(dir.path()).versions("a"), [1, 2]);
}
