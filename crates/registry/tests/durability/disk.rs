//! Directories that cannot be written, are missing or are full.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use engine::Alias;
use libtest_mimic::{Failed, Trial};
use registry::{Change, OpenOptions, RegistryError};
use tempfile::TempDir;

use crate::model;
use crate::script::{self, OPTIONS};
use crate::victim::{self, NamedTest, open, scratch};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("a_missing_directory_is_made", missing_directory),
        Trial::test("a_directory_that_cannot_be_written_is_refused", unwritable_directory),
        Trial::test("opened_for_reading_it_serves_and_changes_no_file", read_only),
    ];
    let full: [NamedTest; 2] = [
        ("on_a_full_disk_installs_are_refused_and_deletes_work", full_disk),
        ("on_a_disk_of_one_mebibyte_it_refuses_to_start_or_to_install", tiny_disk),
    ];
    let can_mount = SmallDisk::mount(1 << 20).is_some();
    trials.extend(full.map(|(name, test)| {
        if can_mount {
            Trial::test(name, test)
        } else {
            Trial::test(format!("{name} (mount refused)"), || Ok(())).with_ignored_flag(true)
        }
    }));
    trials
}

fn missing_directory() -> Result<(), Failed> {
    let scratch = scratch();
    let dir = scratch.path().join("not/yet/there");
    open(&dir, &OPTIONS)?.close()?;
    let file = scratch.path().join("file");
    fs::write(&file, b"")?;
    let refused = open(&file.join("data"), &OPTIONS);
    assert!(matches!(refused, Err(RegistryError::Io { .. })), "{refused:?}");
    Ok(())
}

fn unwritable_directory() -> Result<(), Failed> {
    // Everyone may read it, its owner alone may write, and root is asked to be someone else.
    let scratch = TempDir::new_in("/tmp")?;
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
    let dir = scratch.path().join("data");
    open(&dir, &OPTIONS)?.close()?;
    let program = scratch.path().join("program");
    fs::copy(victim::program(), &program)?;
    let mut command = Command::new(program);
    command.args([script::SCRIPT_FLAG, "fixed"]).arg(&dir);
    if fs::metadata(&dir)?.uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    } else {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o555))?;
        fs::set_permissions(dir.join("lock"), fs::Permissions::from_mode(0o444))?;
    }
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    assert_eq!(output.status.code(), Some(3), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("REFUSED cannot open"), "{text}");
    Ok(())
}

fn read_only() -> Result<(), Failed> {
    let scratch = scratch();
    let mut registry = open(scratch.path(), &OPTIONS)?;
    script::changes().into_iter().for_each(|change| drop(registry.commit(change).unwrap()));
    let expected = model::fingerprint(&registry);
    // Not closed: the newest changes are in the tail alone.
    drop(registry);
    let before = listing(scratch.path());
    let mut registry = open(scratch.path(), &OpenOptions { read_only: true, ..OPTIONS })?;
    assert_eq!(model::fingerprint(&registry), expected);
    assert!(registry.is_read_only().is_some());
    let refused = registry.commit(script::install("new", 1));
    assert!(matches!(refused, Err(RegistryError::ReadOnly { .. })), "{refused:?}");
    drop(registry);
    assert_eq!(listing(scratch.path()), before);
    Ok(())
}

/// Every file with its size and time of change.
fn listing(dir: &Path) -> Vec<(std::path::PathBuf, u64, i64)> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::metadata(&path).unwrap();
            files.push((path.clone(), metadata.len(), metadata.mtime_nsec()));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    files.sort();
    files
}

fn full_disk() -> Result<(), Failed> {
    let disk = SmallDisk::mount(16 << 20).ok_or("mount refused")?;
    let options = OpenOptions { ballast_bytes: 2 << 20, ..OPTIONS };
    let dir = disk.dir.path().join("data");
    let mut registry = open(&dir, &options)?;
    (0..4).for_each(|seed| drop(registry.commit(script::install("kept", seed)).unwrap()));
    fill(&disk.dir.path().join("filler"));
    let refused = registry.commit(script::install("kept", 4));
    assert!(matches!(refused, Err(RegistryError::DiskFull { .. })), "{refused:?}");
    assert_eq!(registry.is_read_only(), None, "a refused install must not latch");
    let (key, version) = (script::key("kept"), script::version(2));
    registry.commit(Change::DeleteVersion { key: key.clone(), version, with_aliases: false })?;
    registry.commit(script::set_alias("kept", 3))?;
    fs::remove_file(disk.dir.path().join("filler"))?;
    registry.commit(script::install("kept", 4))?;
    assert!(dir.join("ballast").exists(), "the ballast comes back once there is room");
    let expected = model::fingerprint(&registry);
    drop(registry);
    let registry = open(&dir, &options)?;
    assert_eq!(model::fingerprint(&registry), expected);
    assert_eq!(registry.task(&key).unwrap().aliases[&Alias::live()], script::version(5));
    Ok(())
}

fn tiny_disk() -> Result<(), Failed> {
    let disk = SmallDisk::mount(1 << 20).ok_or("mount refused")?;
    match open(&disk.dir.path().join("data"), &OpenOptions::SERVER) {
        Err(RegistryError::Io { .. } | RegistryError::Store(_) | RegistryError::DiskFull { .. }) => Ok(()),
        Err(error) => Err(format!("refused for another reason: {error}").into()),
        Ok(mut registry) => {
            let refused = registry.commit(script::install("task", 1));
            assert!(matches!(refused, Err(RegistryError::DiskFull { .. })), "{refused:?}");
            Ok(())
        }
    }
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

/// A file system in memory of its own size, unmounted when dropped.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    fn mount(bytes: u64) -> Option<Self> {
        let dir = TempDir::new().ok()?;
        let size = format!("size={bytes}");
        let mounted = victim::works(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(dir.path()));
        mounted.then_some(Self { dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).output();
    }
}
