//! Where a checkpoint comes from: a folder, or a repository on the hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::CheckpointError;
use crate::folder::SourceFolder;
use crate::hub::{self, HubSettings};

/// The revision of a repository when none is named.
const DEFAULT_REVISION: &str = "main";

/// Where a checkpoint comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A repository on the hub.
    Hub(HubId),
}

/// `org/name[@revision]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// `org/name`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

/// A source whose files are on this machine.
#[derive(Debug)]
pub(crate) struct OpenSource {
    pub(crate) folder: SourceFolder,
    /// What a person would call it: the folder's name, or `org/name`.
    pub(crate) name: String,
    /// The name with the commit that was read, where there is one.
    pub(crate) origin: String,
}

impl FromStr for Source {
    type Err = CheckpointError;

    /// A folder that exists, or looks like a path, is a folder; `org/name[@revision]` is a hub id.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        if Path::new(text).is_dir() || text.starts_with(['.', '/', '~']) {
            return Ok(Self::Folder(text.into()));
        }
        let (repository, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let is_plain = |part: &str| {
            let mut bytes = part.bytes();
            bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                && part.len() <= 96
                && !part.contains("..")
        };
        let names_two = repository.split('/').count() == 2 && repository.split('/').all(is_plain);
        if !names_two || !revision.split('/').all(is_plain) {
            return Err(CheckpointError::BadSource(text.chars().take(200).collect()));
        }
        Ok(Self::Hub(HubId { repository: repository.to_owned(), revision: revision.to_owned() }))
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.revision)
    }
}

impl Source {
    /// Opens the source; a repository is fetched into the hub's cache first.
    ///
    /// # Errors
    /// If the folder cannot be opened or the repository not fetched.
    pub(crate) fn open(&self, settings: &HubSettings) -> Result<OpenSource, CheckpointError> {
        match self {
            Self::Folder(path) => {
                let folder = SourceFolder::open(path)?;
                let name = folder.name();
                Ok(OpenSource { folder, origin: name.clone(), name })
            }
            Self::Hub(id) => {
                let snapshot = hub::fetch(id, settings)?;
                let folder = SourceFolder::open(&snapshot.folder)?;
                let origin = format!("{}, revision {}", id.repository, snapshot.commit);
                Ok(OpenSource { folder, origin, name: id.repository.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_and_folders_are_told_apart() {
        let id = |repository: &str, revision: &str| {
            Source::Hub(HubId { repository: repository.to_owned(), revision: revision.to_owned() })
        };
        let parsed = |text: &str| text.parse::<Source>().unwrap();
        assert_eq!(parsed("microsoft/deberta-v3-base"), id("microsoft/deberta-v3-base", "main"));
        assert_eq!(parsed("a/b@refs/pr/1"), id("a/b", "refs/pr/1"));
        assert_eq!(parsed("./a/b"), Source::Folder("./a/b".into()));
        let here = env!("CARGO_MANIFEST_DIR");
        assert_eq!(parsed(here), Source::Folder(here.into()));
    }

    #[test]
    fn odd_ids_are_refused() {
        for text in ["", "name", "a/b/c", "a/..", "a/b@", "a/b@../../x", "a b/c", "a/b@x y", "a/b\0"] {
            assert!(text.parse::<Source>().is_err(), "{text:?}");
        }
    }
}
