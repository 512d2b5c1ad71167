//! A bundle: a folder of plain files with one encoder, its tokenizer and any number of heads.
//!
//! ```text
//! encoder/config.json  encoder/model.safetensors  encoder/tokenizer.json  [encoder/tokenizer_config.json]
//! heads/<task>/head.toml  heads/<task>/weights.safetensors        a `/` in a task name is a folder within a folder
//! [accuracy.toml]                                                   what reduced modes change, see `accuracy`
//! ```
//! The encoder's digest is the SHA-256 over, for each of `config.json`, `model.safetensors` and `tokenizer.json` in
//! this order: the file's name, a newline, the hexadecimal SHA-256 of its bytes, a newline.

use std::fs;
use std::path::{Path, PathBuf};

use engine::{Head, TaskName};

use crate::digest::Digest;
use crate::error::RegistryError;
use crate::files;
use crate::head_folder::{HeadFolder, MANIFEST_FILE};
use crate::manifest::Manifest;
use crate::weights::EncoderWidths;

pub(crate) const ENCODER_FOLDER: &str = "encoder";
pub(crate) const HEADS_FOLDER: &str = "heads";
const IDENTITY_FILES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];
const MAX_HEADS: usize = 100_000;

/// A bundle whose folders were found and whose heads were listed. Nothing of it has been parsed.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
    heads: Vec<TaskName>,
}

/// The digest that identifies the encoder in `encoder_dir`, as drawn above. Files are read in pieces.
///
/// # Errors
/// If one of the three files is missing, a link, or cannot be read.
pub fn encoder_digest(encoder_dir: &Path) -> Result<Digest, RegistryError> {
    let mut lines = String::new();
    for name in IDENTITY_FILES {
        let path = encoder_dir.join(name);
        let file = files::open_regular(&path)?;
        let digest = Digest::of_reader(file).map_err(RegistryError::io("read", &path))?;
        lines.push_str(name);
        lines.push('\n');
        lines.push_str(&digest.hex());
        lines.push('\n');
    }
    Ok(Digest::of(lines.as_bytes()))
}

impl Bundle {
    /// Lists the heads of the bundle in `dir`, by name.
    ///
    /// # Errors
    /// If `dir` has no encoder folder, or `heads` holds a link, a special file or a folder that is no task name.
    pub fn open(dir: &Path) -> Result<Self, RegistryError> {
        let encoder = dir.join(ENCODER_FOLDER);
        if !encoder.is_dir() {
            return Err(RegistryError::folder(dir, "no bundle: it has no folder called encoder"));
        }
        let mut heads = Vec::new();
        let root = dir.join(HEADS_FOLDER);
        if files::is_directory(&root) {
            list_heads(&root, "", &mut heads)?;
        }
        heads.sort();
        Ok(Self { dir: dir.to_owned(), heads })
    }

    /// The bundle's own folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of the encoder and its tokenizer.
    #[must_use]
    pub fn encoder_dir(&self) -> PathBuf {
        self.dir.join(ENCODER_FOLDER)
    }

    /// The digest of the encoder; reads all of it.
    ///
    /// # Errors
    /// As [`encoder_digest`].
    pub fn encoder_digest(&self) -> Result<Digest, RegistryError> {
        encoder_digest(&self.encoder_dir())
    }

    /// The tasks of its heads, sorted.
    #[must_use]
    pub fn heads(&self) -> &[TaskName] {
        &self.heads
    }

    /// The folder of the head for `task`.
    #[must_use]
    pub fn head_dir(&self, task: &TaskName) -> PathBuf {
        self.dir.join(HEADS_FOLDER).join(task.as_str())
    }

    /// Reads and parses the head for `task`.
    ///
    /// # Errors
    /// What [`HeadFolder::read`] and [`HeadFolder::parse`] refuse, and a manifest that names another task.
    pub fn read_head(&self, task: &TaskName, widths: EncoderWidths) -> Result<(Manifest, Head), RegistryError> {
        let dir = self.head_dir(task);
        let (manifest, head) = HeadFolder::read(&dir)?.parse(widths)?;
        if manifest.task != *task {
            return Err(RegistryError::folder(&dir, format!("head.toml names another task, {}", manifest.task)));
        }
        Ok((manifest, head))
    }
}

/// Adds the heads below `folder`, whose path under `heads` is `prefix`. Task names bound the depth.
fn list_heads(folder: &Path, prefix: &str, heads: &mut Vec<TaskName>) -> Result<(), RegistryError> {
    for entry in fs::read_dir(folder).map_err(RegistryError::io("list", folder))? {
        let entry = entry.map_err(RegistryError::io("list", folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(RegistryError::io("read", &path))?;
        if kind.is_file() {
            continue;
        }
        if !kind.is_dir() {
            return Err(RegistryError::folder(&path, "a link or a special file, expected a folder"));
        }
        let name = entry.file_name();
        let name = name.to_str().map(|name| format!("{prefix}{name}")).unwrap_or_default();
        let task: TaskName = name.parse().map_err(|error| RegistryError::folder(&path, format!("{error}")))?;
        if path.join(MANIFEST_FILE).is_file() {
            heads.push(task);
        }
        if heads.len() > MAX_HEADS {
            return Err(RegistryError::folder(folder, format!("more than {MAX_HEADS} heads")));
        }
        list_heads(&path, &format!("{name}/"), heads)?;
    }
    Ok(())
}
