//! A bit flips, or a file ends early: it is seen, and mended or set aside; no head answers with other numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use registry::Digest;
use tempfile::TempDir;

use crate::effort::{effort, found};
use crate::model;
use crate::random::Random;
use crate::script::{self, OPTIONS};
use crate::victim::{NamedTest, copy_folder, in_time, open, scratch};

const BLOCK: u64 = 4096;

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [NamedTest; 2] = [
        ("a_flipped_bit_is_mended_or_sets_its_version_aside", flipped_bits),
        ("a_file_cut_at_any_block_is_mended_or_sets_its_versions_aside", cut_files),
    ];
    tests.map(|(name, test)| Trial::test(name, test)).into()
}

/// A data directory after the fixed script, and what it holds.
struct Used {
    scratch: TempDir,
    heads: BTreeMap<(String, u64), Digest>,
    fingerprint: String,
}

#[derive(Default)]
struct Tally {
    unnoticed: usize,
    rebuilt: usize,
    set_aside: usize,
}

impl Used {
    /// Left by a process that died where `closed` is false: the last changes are in a tail.
    fn new(closed: bool) -> Self {
        let scratch = scratch();
        let mut registry = open(scratch.path(), &OPTIONS).unwrap();
        script::changes().into_iter().for_each(|change| drop(registry.commit(change).unwrap()));
        let (heads, fingerprint) = (model::heads(&registry), model::fingerprint(&registry));
        if closed {
            registry.close().unwrap();
        }
        Self { scratch, heads, fingerprint }
    }

    /// Every file, in the folder of its own.
    fn files(&self) -> BTreeMap<PathBuf, Vec<PathBuf>> {
        let mut files: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut folders = vec![self.scratch.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let file = path.strip_prefix(self.scratch.path()).unwrap().to_owned();
                    files.entry(file.parent().unwrap().to_owned()).or_default().push(file);
                }
            }
        }
        files.values_mut().for_each(|files| files.sort());
        files
    }

    /// Starts twice on a copy in which `file` is damaged.
    fn judge(self: &Arc<Self>, file: &Path, damage: impl FnOnce(&Path), tally: &mut Tally) -> Result<(), String> {
        let copy = scratch();
        let dir = copy.path().join("data");
        copy_folder(self.scratch.path(), &dir);
        damage(&dir.join(file));
        for start in ["first", "second"] {
            let (used, dir, is_object) = (Arc::clone(self), dir.clone(), file.starts_with("objects"));
            let (rebuilt, aside) =
                in_time(move || used.look(&dir, is_object))?.map_err(|why| format!("{start}: {why}"))?;
            if start == "first" {
                tally.rebuilt += usize::from(rebuilt);
                tally.set_aside += usize::from(aside > 0);
                tally.unnoticed += usize::from(!rebuilt && aside == 0);
            }
        }
        Ok(())
    }

    /// Whether the store was rebuilt, and how many versions are set aside.
    fn look(&self, dir: &Path, is_object: bool) -> Result<(bool, usize), String> {
        let registry = open(dir, &OPTIONS).map_err(|error| format!("it does not open: {error}"))?;
        let report = registry.boot_report().clone();
        let name =
            |head: &registry::DamagedHead| (format!("{}/{}", head.key.tenant, head.key.task), head.version.number());
        let aside: BTreeSet<_> = report.damaged.iter().map(name).collect();
        let mut expected = self.heads.clone();
        expected.retain(|head, _| !aside.contains(head));
        if model::heads(&registry) != expected || expected.len() + aside.len() != self.heads.len() {
            return Err("it holds other heads than before".to_owned());
        }
        if is_object == aside.is_empty() {
            return Err(format!("{} versions are set aside", aside.len()));
        }
        if aside.is_empty() && model::fingerprint(&registry) != self.fingerprint {
            return Err("it is not what it was".to_owned());
        }
        registry.close().map_err(|error| format!("it does not close: {error}"))?;
        Ok((report.rebuilt.is_some(), aside.len()))
    }
}

fn flipped_bits() -> Result<(), Failed> {
    let used = [true, false].map(|closed| Arc::new(Used::new(closed)));
    let mut random = Random::new(11);
    let mut tally = Tally::default();
    let flips = effort(60, 1_000);
    for number in 0..flips {
        let used = &used[number % 2];
        let folders = used.files();
        // Equally often in each folder: one object is as dear as the whole store.
        let files = folders.values().nth(random.below(folders.len())).unwrap();
        let file = &files[random.below(files.len())];
        let length = fs::metadata(used.scratch.path().join(file))?.len() as usize;
        if length == 0 {
            continue;
        }
        let (at, bit) = (random.below(length), random.below(8));
        let flip = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[at] ^= 1 << bit;
            fs::write(path, bytes).unwrap();
        };
        used.judge(file, flip, &mut tally).map_err(|why| format!("bit {bit} of byte {at} of {file:?}: {why}"))?;
    }
    tally.conclude(&format!("{flips} flipped bits"))
}

fn cut_files() -> Result<(), Failed> {
    let mut tally = Tally::default();
    let mut cuts = 0;
    for used in [true, false].map(|closed| Arc::new(Used::new(closed))) {
        for file in used.files().values().flatten() {
            let length = fs::metadata(used.scratch.path().join(file))?.len();
            let blocks = length.div_ceil(BLOCK);
            for block in (0..blocks).step_by(effort(blocks.div_ceil(3).max(1) as usize, 1)) {
                let cut = |path: &Path| {
                    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(block * BLOCK).unwrap();
                };
                used.judge(file, cut, &mut tally).map_err(|why| format!("{file:?} cut at block {block}: {why}"))?;
                cuts += 1;
            }
        }
    }
    tally.conclude(&format!("{cuts} cuts"))
}

impl Tally {
    fn conclude(&self, what: &str) -> Result<(), Failed> {
        let Self { unnoticed, rebuilt, set_aside } = self;
        found(&format!("{what}: {rebuilt} rebuilt, {set_aside} set versions aside, {unnoticed} of no effect, 0 wrong"));
        if *rebuilt > 0 && *set_aside > 0 { Ok(()) } else { Err("nothing was ever damaged".into()) }
    }
}
