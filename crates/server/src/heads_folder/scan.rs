//! Which head folders lie below a folder, and a print of each that changes with its files.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use registry::{MANIFEST_FILE, WEIGHTS_FILE};

/// Deeper than the names of tasks go.
const MAX_DEPTH: usize = 64;
/// More is no folder of heads.
const MAX_FOLDERS: usize = 20_000;

/// What tells one state of a head folder from another without reading its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    /// Of the manifest and of the weights, where they are there.
    files: [Option<FilePrint>; 2],
}

/// Size, inode, and when either content or permissions changed: that moment, unlike the content's own, cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FilePrint {
    bytes: u64,
    inode: u64,
    changed: (i64, i64),
}

/// What lies below a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Every folder that holds a manifest or weights, by its path below the folder.
    pub(super) folders: BTreeMap<PathBuf, Print>,
    /// Whether there is nothing at all, as where a file system is not mounted.
    pub(super) is_empty: bool,
}

/// Looks through `root`. Links below it are not followed.
///
/// # Errors
/// The system's, for anything that cannot be listed: a part is no picture of the whole.
pub(super) fn scan(root: &Path) -> io::Result<Scan> {
    let mut scan = Scan { is_empty: true, ..Scan::default() };
    look_into(root, Path::new(""), &mut scan, 0)?;
    Ok(scan)
}

fn look_into(root: &Path, below: &Path, scan: &mut Scan, depth: usize) -> io::Result<()> {
    let folder = root.join(below);
    let mut files = [None; 2];
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        scan.is_empty = false;
        let kind = entry.file_type()?;
        let name = entry.file_name();
        let place = [MANIFEST_FILE, WEIGHTS_FILE].iter().position(|file| name == *file);
        if kind.is_dir() && name != ".git" {
            if depth == MAX_DEPTH {
                return Err(io::Error::other("the folders are nested too deeply"));
            }
            look_into(root, &below.join(name), scan, depth + 1)?;
        } else if kind.is_file()
            && let Some(file) = place.and_then(|place| files.get_mut(place))
        {
            let about = entry.metadata()?;
            let changed = (about.ctime(), about.ctime_nsec());
            *file = Some(FilePrint { bytes: about.len(), inode: about.ino(), changed });
        }
    }
    if files.iter().any(Option::is_some) {
        scan.folders.insert(below.to_owned(), Print { files });
    }
    if scan.folders.len() > MAX_FOLDERS {
        return Err(io::Error::other(format!("more than {MAX_FOLDERS} head folders")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn folders_with_either_file_are_found_at_any_depth_and_their_prints_change_with_them() {
        let root = TempDir::new().unwrap();
        assert!(scan(root.path()).unwrap().is_empty);
        for (folder, file) in [("heads/a/b", MANIFEST_FILE), ("c", WEIGHTS_FILE), ("encoder", "config.json")] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join(file), "1").unwrap();
        }
        let before = scan(root.path()).unwrap();
        assert!(!before.is_empty);
        assert_eq!(before.folders.keys().collect::<Vec<_>>(), [Path::new("c"), Path::new("heads/a/b")]);
        assert_eq!(scan(root.path()).unwrap(), before);
        fs::write(root.path().join("c").join(WEIGHTS_FILE), "12").unwrap();
        assert_ne!(scan(root.path()).unwrap(), before);
        assert!(scan(&root.path().join("nothing")).is_err());
    }
}
