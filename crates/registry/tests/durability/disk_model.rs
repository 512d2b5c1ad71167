//! What a disk may hold after a power cut: no more is sure than what a sync has covered.
//!
//! A file keeps the bytes and the length of its last sync; of what was written since, nothing, some sectors or zeros
//! may be there. A folder keeps the entries of its own last sync, and of its later changes any number from the front:
//! syncing a file promises nothing about its name.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::random::Random;
use crate::recorded_calls::Call;

const SECTOR: usize = 512;

/// What becomes of whatever no sync has covered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// It is gone.
    Dropped,
    /// Lengths are the new ones, what was appended is zeros, and some changes of folders have come through.
    Zeroed,
    /// Some sectors, lengths and changes of folders have come through and others not.
    Torn,
}

/// A disk while calls change it.
#[derive(Debug)]
pub(crate) struct Disk {
    /// The folder whose own name is safe; paths lie below it.
    root: String,
    /// The first is the root.
    nodes: Vec<Node>,
    by_inode: HashMap<u64, usize>,
    /// Everything that the process has said so far.
    pub(crate) said: String,
}

#[derive(Debug)]
enum Node {
    File { synced: Vec<u8>, written: Vec<u8> },
    Folder(Folder),
}

type Entries = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct Folder {
    synced: Entries,
    entries: Entries,
    /// Since the last sync; all of one change comes through or none.
    changes: Vec<Vec<(String, Option<usize>)>>,
}

impl Disk {
    /// A disk that holds for sure what lies in `root` now.
    pub(crate) fn of_folder(root: &Path) -> Self {
        let name = root.to_str().unwrap().to_owned();
        let mut disk = Self { root: name, nodes: Vec::new(), by_inode: HashMap::new(), said: String::new() };
        disk.read(root);
        disk
    }

    fn read(&mut self, path: &Path) -> usize {
        let metadata = fs::metadata(path).unwrap();
        let number = self.add(metadata.ino(), Node::Folder(Folder::default()));
        let node = if metadata.is_dir() {
            let paths = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            let entries: Entries = paths.map(|path| (name(&path), self.read(&path))).collect();
            Node::Folder(Folder { synced: entries.clone(), entries, changes: Vec::new() })
        } else {
            let bytes = fs::read(path).unwrap();
            Node::File { synced: bytes.clone(), written: bytes }
        };
        self.nodes[number] = node;
        number
    }

    fn add(&mut self, inode: u64, node: Node) -> usize {
        self.nodes.push(node);
        self.by_inode.insert(inode, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    pub(crate) fn take(&mut self, call: &Call) {
        match call {
            Call::Create { inode, path } => {
                let file = self.add(*inode, Node::File { synced: Vec::new(), written: Vec::new() });
                self.change(path, |name| vec![(name, Some(file))]);
            }
            Call::Mkdir { inode, path } => {
                let folder = self.add(*inode, Node::Folder(Folder::default()));
                self.change(path, |name| vec![(name, Some(folder))]);
            }
            Call::Write { inode, at, bytes } => {
                let written = self.written(*inode);
                written.resize(written.len().max(at + bytes.len()), 0);
                written[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Call::Truncate { inode, length } => self.written(*inode).resize(*length, 0),
            Call::Sync { inode } => match &mut self.nodes[self.by_inode[inode]] {
                Node::File { synced, written } => synced.clone_from(written),
                Node::Folder(folder) => {
                    folder.synced.clone_from(&folder.entries);
                    folder.changes.clear();
                }
            },
            Call::Rename { from, to } => {
                let (folder, old) = self.place(from);
                let (target, new) = self.place(to);
                assert_eq!(folder, target, "a move between folders is not modelled");
                let moved = self.folder(folder).entries[&old];
                self.change(to, |_| vec![(new, Some(moved)), (old, None)]);
            }
            Call::Unlink { path } => self.change(path, |name| vec![(name, None)]),
            Call::Say(text) => self.said.push_str(text),
        }
    }

    /// Writes to `target` what the disk may hold if the power fails now.
    pub(crate) fn cut(&self, fate: Fate, random: &mut Random, target: &Path) {
        self.cut_node(0, fate, random, target);
    }

    fn cut_node(&self, node: usize, fate: Fate, random: &mut Random, target: &Path) {
        match &self.nodes[node] {
            Node::File { synced, written } => fs::write(target, remains(synced, written, fate, random)).unwrap(),
            Node::Folder(folder) => {
                fs::create_dir_all(target).unwrap();
                let through = match fate {
                    Fate::Dropped => 0,
                    Fate::Zeroed | Fate::Torn => random.below(folder.changes.len() + 1),
                };
                let mut entries = folder.synced.clone();
                folder.changes[..through].iter().for_each(|change| apply(change, &mut entries));
                for (name, node) in entries {
                    self.cut_node(node, fate, random, &target.join(name));
                }
            }
        }
    }

    fn written(&mut self, inode: u64) -> &mut Vec<u8> {
        match &mut self.nodes[self.by_inode[&inode]] {
            Node::File { written, .. } => written,
            Node::Folder(_) => panic!("a folder was written to"),
        }
    }

    fn folder(&mut self, node: usize) -> &mut Folder {
        match &mut self.nodes[node] {
            Node::Folder(folder) => folder,
            Node::File { .. } => panic!("a file has no entries"),
        }
    }

    fn change(&mut self, path: &str, change: impl FnOnce(String) -> Vec<(String, Option<usize>)>) {
        let (folder, name) = self.place(path);
        let folder = self.folder(folder);
        let change = change(name);
        apply(&change, &mut folder.entries);
        folder.changes.push(change);
    }

    /// The folder that `path` lies in, as the process sees it, and its name there.
    fn place(&mut self, path: &str) -> (usize, String) {
        let below = path.strip_prefix(&self.root).unwrap().trim_start_matches('/').to_owned();
        let (folders, name) = below.rsplit_once('/').unwrap_or(("", &below));
        let mut node = 0;
        for name in folders.split('/').filter(|name| !name.is_empty()) {
            node = self.folder(node).entries[name];
        }
        (node, name.to_owned())
    }
}

fn apply(change: &[(String, Option<usize>)], entries: &mut Entries) {
    for (name, node) in change {
        match node {
            Some(node) => entries.insert(name.clone(), *node),
            None => entries.remove(name),
        };
    }
}

fn remains(synced: &[u8], written: &[u8], fate: Fate, random: &mut Random) -> Vec<u8> {
    let mut bytes = synced.to_vec();
    match fate {
        Fate::Dropped => {}
        Fate::Zeroed => bytes.resize(written.len(), 0),
        Fate::Torn => {
            bytes.resize(if random.coin() { written.len() } else { synced.len() }, 0);
            for (old, new) in bytes.chunks_mut(SECTOR).zip(written.chunks(SECTOR)) {
                if random.coin() {
                    let length = old.len().min(new.len());
                    old[..length].copy_from_slice(&new[..length]);
                }
            }
        }
    }
    bytes
}
