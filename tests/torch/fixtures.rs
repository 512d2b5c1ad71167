//! Where the golden files lie, and how they are read.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// `tests/fixtures` and what lies under it.
pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(relative)
}

/// The folders in `tests/fixtures/relative`, by name.
pub(crate) fn folders(relative: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(path(relative)).expect("the fixtures are part of the repository");
    let mut folders: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    folders.sort();
    folders
}

/// A golden file as the type it is read into.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> T {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The last part of a path, for messages.
pub(crate) fn name(folder: &Path) -> String {
    folder.file_name().expect("a folder has a name").to_string_lossy().into_owned()
}

/// The largest absolute difference; infinite where the lengths differ or a number is not finite.
pub(crate) fn largest_difference(found: &[f32], golden: &[f32]) -> f32 {
    if found.len() != golden.len() || found.iter().any(|number| !number.is_finite()) {
        return f32::INFINITY;
    }
    found.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
