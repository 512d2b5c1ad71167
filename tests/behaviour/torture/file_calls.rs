//! The object that stands between a victim and libc, and slows or fails its calls on files.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds it in `folder`; `None` without a C compiler.
pub(crate) fn object(folder: &Path) -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/registry/tests/durability/file_calls.c");
    let object = folder.join("file_calls.so");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&object).arg(source).arg("-ldl").status();
    built.is_ok_and(|status| status.success()).then_some(object)
}
