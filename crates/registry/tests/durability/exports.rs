//! Exports while changes go on: each is one generation, and comes back byte for byte from an empty registry.

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use libtest_mimic::{Failed, Trial};
use registry::{Capture, tools};

use crate::effort::{effort, found};
use crate::model;
use crate::script::{self, OPTIONS};
use crate::victim::{once_let_go, open, scratch};

/// Exports that may wait to be read.
const WAITING: usize = 2;
const CHANGES_BETWEEN: u64 = 3;

/// An export to be written, and what the registry was when it was taken.
type Taken = (Capture, String);

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "exports_under_changes_are_one_generation_each_and_come_back_byte_for_byte",
        exports_under_changes,
    )]
}

fn exports_under_changes() -> Result<(), Failed> {
    let exports = effort(100, 1_000);
    let scratch = scratch();
    let mut registry = open(&scratch.path().join("data"), &OPTIONS)?;
    let (send, taken) = mpsc::sync_channel(WAITING);
    let taken = Arc::new(Mutex::new(taken));
    let reader = || {
        let taken = Arc::clone(&taken);
        thread::spawn(move || read_all(&taken))
    };
    let readers = [reader(), reader()];
    // Gone with the readers, so that nobody waits for those who have failed.
    drop(taken);
    for round in 0..exports {
        for change in 0..CHANGES_BETWEEN {
            registry.commit(script::next_change(&registry, CHANGES_BETWEEN * round + change))?;
        }
        if send.send((registry.capture()?, model::fingerprint(&registry))).is_err() {
            break;
        }
    }
    drop(send);
    let mut read = 0;
    for reader in readers {
        read += reader.join().map_err(|_| "a reader panicked")??;
    }
    assert_eq!(read, exports);
    registry.collect_garbage()?;
    let (stats, generation) = (registry.stats()?, registry.generation());
    assert_eq!((stats.unused_objects, stats.damaged), (0, 0));
    found(&format!("{read} exports during {generation} changes, each one generation and the same bytes again"));
    Ok(())
}

fn read_all(taken: &Mutex<mpsc::Receiver<Taken>>) -> Result<u64, String> {
    let mut read = 0;
    loop {
        let next = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((capture, expected)) = next else { return Ok(read) };
        comes_back(&capture, &expected).map_err(|why| format!("generation {}: {why}", capture.generation()))?;
        read += 1;
    }
}

/// Writes an export, imports it into an empty registry, looks at that, and exports it.
fn comes_back(capture: &Capture, expected: &str) -> Result<(), String> {
    let scratch = scratch();
    let [first, data, second] = ["first.tar", "data", "second.tar"].map(|name| scratch.path().join(name));
    let archived = capture.write_archive(File::create(&first).unwrap(), |_| {}).map_err(|error| error.to_string())?;
    if (archived.generation, archived.objects) != (capture.generation(), capture.n_objects()) {
        return Err(format!("it holds something else: {archived:?}"));
    }
    let report = once_let_go(|| tools::import(&first, &data, &OPTIONS)).map_err(|error| error.to_string())?;
    let imported = open(&data, &OPTIONS).map_err(|error| error.to_string())?;
    if !report.damaged.is_empty() || model::fingerprint(&imported) != *expected {
        return Err(format!("it is not what the registry was: {report:?}"));
    }
    imported.close().map_err(|error| error.to_string())?;
    once_let_go(|| tools::export(&data, &second)).map_err(|error| error.to_string())?;
    let bytes = |file: &Path| fs::read(file).unwrap();
    if bytes(&first) == bytes(&second) { Ok(()) } else { Err("its import exports other bytes".to_owned()) }
}
