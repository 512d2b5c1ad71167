//! A head folder: `head.toml` and `weights.safetensors`, all it takes to teach the server a task.

use std::io::Read;
use std::path::Path;

use engine::{Head, TaskName};

use crate::digest::Digest;
use crate::error::RegistryError;
use crate::files;
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::weights::{EncoderWidths, MAX_WEIGHTS_BYTES, Tensors};

/// Name of the manifest in a head folder.
pub const MANIFEST_FILE: &str = "head.toml";
/// Name of the weights in a head folder.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// The two files of a head folder as bytes, unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadFolder {
    /// `head.toml`.
    pub head_toml: Vec<u8>,
    /// `weights.safetensors`.
    pub weights: Vec<u8>,
}

impl HeadFolder {
    /// The folder of `head`: equal heads give equal bytes. Weights are written in F32.
    ///
    /// # Errors
    /// If a value has no written form, or one that would not be read back: a text over its limit.
    pub fn of_head(task: &TaskName, head: &Head, encoder: Digest) -> Result<Self, RegistryError> {
        let weights = Tensors::of_head(head).to_safetensors()?;
        let head_toml = Manifest::describing(task, head, encoder, Digest::of(&weights)).to_toml()?;
        Manifest::parse(head_toml.as_bytes())?;
        Ok(Self { head_toml: head_toml.into_bytes(), weights })
    }

    /// Reads the two files in `dir`, which may be from anyone: links and special files are refused, sizes capped.
    ///
    /// # Errors
    /// [`RegistryError::Folder`] or [`RegistryError::Io`].
    pub fn read(dir: &Path) -> Result<Self, RegistryError> {
        Ok(Self {
            head_toml: read_capped(&dir.join(MANIFEST_FILE), MAX_MANIFEST_BYTES)?,
            weights: read_capped(&dir.join(WEIGHTS_FILE), MAX_WEIGHTS_BYTES)?,
        })
    }

    /// Reads the manifest in `dir` alone, under the same conditions.
    ///
    /// # Errors
    /// [`RegistryError::Folder`], [`RegistryError::Io`] or [`RegistryError::Manifest`].
    pub fn read_manifest(dir: &Path) -> Result<Manifest, RegistryError> {
        Ok(Manifest::parse(&read_capped(&dir.join(MANIFEST_FILE), MAX_MANIFEST_BYTES)?)?)
    }

    /// Writes the two files into `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub fn write(&self, dir: &Path) -> Result<(), RegistryError> {
        std::fs::create_dir_all(dir).map_err(RegistryError::io("create", dir))?;
        for (name, bytes) in [(MANIFEST_FILE, &self.head_toml), (WEIGHTS_FILE, &self.weights)] {
            let path = dir.join(name);
            std::fs::write(&path, bytes).map_err(RegistryError::io("write", &path))?;
        }
        Ok(())
    }

    /// Parses both files for an encoder of these widths.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(&self, widths: EncoderWidths) -> Result<(Manifest, Head), RegistryError> {
        let manifest = Manifest::parse(&self.head_toml)?;
        if Digest::of(&self.weights) != manifest.weights {
            return Err(RegistryError::WeightsDigest);
        }
        let tensors = Tensors::parse(&self.weights, widths)?;
        let head = Head::new(manifest.kind, widths.hidden, manifest.head_parts(tensors))?;
        Ok((manifest, head))
    }
}

fn read_capped(path: &Path, limit: usize) -> Result<Vec<u8>, RegistryError> {
    let file = files::open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(RegistryError::io("read", path))?;
    if bytes.len() > limit {
        return Err(RegistryError::folder(path, format!("larger than the limit of {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;
    use crate::testing::{WIDTHS, encoder, head};

    fn folder() -> HeadFolder {
        HeadFolder::of_head(&"glue/sst2".parse().unwrap(), &head(1), encoder()).unwrap()
    }

    #[test]
    fn a_head_reads_back_and_equal_heads_give_equal_files() {
        let dir = TempDir::new().unwrap();
        folder().write(&dir.path().join("a/b")).unwrap();
        let read = HeadFolder::read(&dir.path().join("a/b")).unwrap();
        assert_eq!(read, folder());
        let (manifest, parsed) = read.parse(WIDTHS).unwrap();
        assert_eq!((manifest.task.as_str(), parsed), ("glue/sst2", head(1)));
    }

    #[test]
    fn weights_of_another_head_are_refused() {
        let other = HeadFolder::of_head(&"glue/sst2".parse().unwrap(), &head(2), encoder()).unwrap();
        let mixed = HeadFolder { weights: other.weights, ..folder() };
        assert!(matches!(mixed.parse(WIDTHS), Err(RegistryError::WeightsDigest)));
    }

    #[test]
    fn links_pipes_folders_and_sockets_are_refused() {
        let dir = TempDir::new().unwrap();
        let weights = dir.path().join(WEIGHTS_FILE);
        let inflictions: [fn(&Path); 4] = [
            |path| symlink("/etc/hostname", path).unwrap(),
            |path| {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            },
            |path| std::fs::create_dir(path).unwrap(),
            |path| drop(UnixListener::bind(path).unwrap()),
        ];
        for inflict in inflictions {
            folder().write(dir.path()).unwrap();
            std::fs::remove_file(&weights).unwrap();
            inflict(&weights);
            assert!(HeadFolder::read(dir.path()).is_err());
            let removed = std::fs::remove_file(&weights).or_else(|_| std::fs::remove_dir(&weights));
            removed.unwrap();
        }
    }

    #[test]
    fn files_over_their_limit_are_refused() {
        let dir = TempDir::new().unwrap();
        folder().write(dir.path()).unwrap();
        let file = std::fs::File::create(dir.path().join(MANIFEST_FILE)).unwrap();
        file.set_len(MAX_MANIFEST_BYTES as u64 + 1).unwrap();
        assert!(matches!(HeadFolder::read(dir.path()), Err(RegistryError::Folder { .. })));
    }
}
