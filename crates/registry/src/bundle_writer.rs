//! Writes a bundle beside its place and moves it there when it is whole: what is in place is complete and durable.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use engine::{Head, TaskName};

use crate::bundle::{ENCODER_FOLDER, HEADS_FOLDER, encoder_digest};
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::files;
use crate::head_folder::HeadFolder;

/// A file of a bundle's encoder folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncoderFile {
    /// `config.json`
    Config,
    /// `model.safetensors`
    Model,
    /// `tokenizer.json`
    Tokenizer,
    /// `tokenizer_config.json`, no part of the encoder's identity
    TokenizerConfig,
}

/// A bundle being written. Dropped before [`BundleWriter::finish`] it leaves nothing behind.
#[derive(Debug)]
pub struct BundleWriter {
    target: PathBuf,
    /// The sibling folder that becomes `target`; removed on drop while it exists.
    partial: PathBuf,
    encoder: Option<Digest>,
}

impl EncoderFile {
    /// The file's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config.json",
            Self::Model => "model.safetensors",
            Self::Tokenizer => "tokenizer.json",
            Self::TokenizerConfig => "tokenizer_config.json",
        }
    }
}

impl BundleWriter {
    /// Begins a bundle that will be `target`.
    ///
    /// # Errors
    /// If something is at `target` already, or nothing can be written beside it.
    pub fn create(target: &Path) -> Result<Self, RegistryError> {
        let Some(name) = target.file_name().and_then(|name| name.to_str()) else {
            return Err(RegistryError::folder(target, "no name for a bundle"));
        };
        if fs::symlink_metadata(target).is_ok() {
            return Err(RegistryError::folder(target, "exists already"));
        }
        let parent = parent_of(target);
        fs::create_dir_all(parent).map_err(RegistryError::io("create", parent))?;
        let partial = parent.join(format!(".{name}.partial-{}", std::process::id()));
        if fs::symlink_metadata(&partial).is_ok() {
            fs::remove_dir_all(&partial).map_err(RegistryError::io("remove", &partial))?;
        }
        fs::create_dir(&partial).map_err(RegistryError::io("create", &partial))?;
        let writer = Self { target: target.to_owned(), partial, encoder: None };
        for folder in [ENCODER_FOLDER, HEADS_FOLDER] {
            let folder = writer.partial.join(folder);
            fs::create_dir(&folder).map_err(RegistryError::io("create", &folder))?;
        }
        Ok(writer)
    }

    /// Creates one of the encoder's files, for writing piece by piece.
    ///
    /// # Errors
    /// [`RegistryError::Io`], also when that file was created before.
    pub fn create_encoder_file(&mut self, file: EncoderFile) -> Result<File, RegistryError> {
        self.encoder = None;
        files::write_new(&self.partial.join(ENCODER_FOLDER).join(file.name()), &[])
    }

    /// The digest of the encoder written so far; to be asked once all its files are complete.
    ///
    /// # Errors
    /// As [`encoder_digest`].
    pub fn encoder_digest(&mut self) -> Result<Digest, RegistryError> {
        if let Some(digest) = self.encoder {
            return Ok(digest);
        }
        let digest = encoder_digest(&self.partial.join(ENCODER_FOLDER))?;
        self.encoder = Some(digest);
        Ok(digest)
    }

    /// Adds a head trained on this bundle's encoder. The encoder's files must be complete.
    ///
    /// # Errors
    /// If the encoder is incomplete, the task was added before, or a file cannot be written.
    pub fn add_head(&mut self, task: &TaskName, head: &Head) -> Result<(), RegistryError> {
        let encoder = self.encoder_digest()?;
        let dir = self.partial.join(HEADS_FOLDER).join(task.as_str());
        if dir.join(crate::head_folder::MANIFEST_FILE).exists() {
            return Err(RegistryError::folder(&dir, "the task has a head already"));
        }
        HeadFolder::of_head(task, head, encoder)?.write(&dir)
    }

    /// Makes everything durable and moves the bundle into place.
    ///
    /// # Errors
    /// If the encoder is incomplete, a sync fails, or something has appeared at the target; then nothing is left behind.
    pub fn finish(mut self) -> Result<Digest, RegistryError> {
        let digest = self.encoder_digest()?;
        files::sync_file_system(&self.partial)?;
        if fs::symlink_metadata(&self.target).is_ok() {
            return Err(RegistryError::folder(&self.target, "exists already"));
        }
        fs::rename(&self.partial, &self.target).map_err(RegistryError::io("move", &self.target))?;
        files::sync_directory(parent_of(&self.target))?;
        Ok(digest)
    }
}

impl Drop for BundleWriter {
    fn drop(&mut self) {
        // After `finish` the folder has its final name and nothing is left to remove.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

fn parent_of(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::TempDir;

    use super::*;
    use crate::bundle::Bundle;
    use crate::testing::{WIDTHS, head};

    fn write_encoder(writer: &mut BundleWriter) {
        for (file, bytes) in
            [(EncoderFile::Config, "{}"), (EncoderFile::Model, "weights"), (EncoderFile::Tokenizer, "pieces")]
        {
            writer.create_encoder_file(file).unwrap().write_all(bytes.as_bytes()).unwrap();
        }
    }

    fn task(name: &str) -> TaskName {
        name.parse().unwrap()
    }

    #[test]
    fn a_bundle_reads_back_with_nested_heads_and_the_documented_digest() {
        let dir = TempDir::new().unwrap();
        let target = dir.path().join("bundle");
        let mut writer = BundleWriter::create(&target).unwrap();
        write_encoder(&mut writer);
        for (number, name) in ["glue", "glue/sst2", "a/b/c"].iter().enumerate() {
            writer.add_head(&task(name), &head(number as u64)).unwrap();
        }
        assert!(writer.add_head(&task("glue"), &head(1)).is_err(), "a task has one head");
        let digest = writer.finish().unwrap();
        let line = |name: &str, bytes: &str| format!("{name}\n{}\n", Digest::of(bytes.as_bytes()).hex());
        let lines =
            line("config.json", "{}") + &line("model.safetensors", "weights") + &line("tokenizer.json", "pieces");
        assert_eq!(digest, Digest::of(lines.as_bytes()));
        let bundle = Bundle::open(&target).unwrap();
        assert_eq!(bundle.heads(), ["a/b/c", "glue", "glue/sst2"].map(task));
        assert_eq!(bundle.encoder_digest().unwrap(), digest);
        let (manifest, read) = bundle.read_head(&task("glue/sst2"), WIDTHS).unwrap();
        assert_eq!((manifest.encoder, read), (digest, head(1)));
    }

    #[test]
    fn an_unfinished_bundle_leaves_nothing_behind() {
        let dir = TempDir::new().unwrap();
        let target = dir.path().join("bundle");
        let mut writer = BundleWriter::create(&target).unwrap();
        assert!(writer.add_head(&task("a"), &head(1)).is_err(), "the encoder comes first");
        write_encoder(&mut writer);
        writer.add_head(&task("a"), &head(1)).unwrap();
        std::fs::create_dir(&target).unwrap();
        assert!(writer.finish().is_err(), "something has appeared at the target");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(BundleWriter::create(&target).is_err(), "it exists");
    }

    #[test]
    fn heads_that_are_links_or_sit_in_another_tasks_folder_are_refused() {
        let dir = TempDir::new().unwrap();
        let target = dir.path().join("bundle");
        let mut writer = BundleWriter::create(&target).unwrap();
        write_encoder(&mut writer);
        writer.add_head(&task("a"), &head(1)).unwrap();
        writer.finish().unwrap();
        std::fs::rename(target.join("heads/a"), target.join("heads/b")).unwrap();
        assert!(matches!(
            Bundle::open(&target).unwrap().read_head(&task("b"), WIDTHS),
            Err(RegistryError::Folder { .. })
        ));
        std::os::unix::fs::symlink("b", target.join("heads/c")).unwrap();
        assert!(matches!(Bundle::open(&target), Err(RegistryError::Folder { .. })));
        std::fs::remove_file(target.join("heads/c")).unwrap();
        std::fs::create_dir(target.join("heads/..c")).unwrap();
        assert!(matches!(Bundle::open(&target), Err(RegistryError::Folder { .. })));
    }
}
