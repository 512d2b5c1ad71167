//! From checkpoints on disk to bundles: the four layouts, hostile files, the hub.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adapted_heads;
mod hostile_files;
mod hostile_folders;
mod hub;
mod layouts;
mod pickles;
mod single_heads;
mod synthetic;

use std::path::{Path, PathBuf};
use std::time::Duration;

use checkpoint::{CheckpointError, HubSettings, ImportOptions, Jail, Report, Source};
use engine::Head;
use registry::{Bundle, EncoderWidths};

/// The jail around this crate's own small program.
fn jail() -> Jail {
    Jail {
        program: env!("CARGO_BIN_EXE_read-pickle").into(),
        arguments: Vec::new(),
        memory_bytes: 1 << 30,
        processor: Duration::from_secs(20),
        patience: Duration::from_secs(60),
    }
}

/// The checkpoints that the reference made.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/layouts").join(name)
}

/// Imports the folder `source` into `bundle`.
fn options(source: &Path, bundle: &Path) -> ImportOptions {
    ImportOptions {
        source: Source::Folder(source.to_path_buf()),
        adapters: None,
        task: None,
        kinds_file: None,
        bundle: bundle.to_path_buf(),
        jail: jail(),
        hub: HubSettings { offline: true, ..HubSettings::default() },
    }
}

/// A fresh folder, and a place in it where a bundle can go.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("out").join("bundle");
    (folder, bundle)
}

fn import(source: &Path) -> Result<(Report, tempfile::TempDir, Bundle), CheckpointError> {
    let (folder, bundle) = place();
    let report = checkpoint::import(&options(source, &bundle))?;
    Ok((report, folder, Bundle::open(&bundle).unwrap()))
}

/// The head of `task` in `bundle`, read back from disk.
fn head(bundle: &Bundle, task: &str, hidden: usize) -> Head {
    let widths = EncoderWidths { hidden, embedding: hidden };
    bundle.read_head(&task.parse().unwrap(), widths).unwrap().1
}

/// Asserts that importing `source` fails, leaves nothing behind, and says `expected`.
fn assert_refused(source: &Path, expected: &str) {
    let (folder, bundle) = place();
    let refusal = checkpoint::import(&options(source, &bundle)).unwrap_err().whole();
    assert!(refusal.contains(expected), "{refusal}");
    let left: Vec<_> = std::fs::read_dir(bundle.parent().unwrap()).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    drop(folder);
}

/// Copies the files of a checkpoint to `target`, so that a test can spoil them.
fn copy(source: &Path, target: &Path) {
    std::fs::create_dir_all(target).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
        }
    }
}
