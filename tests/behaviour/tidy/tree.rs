//! The repository as text: paths from its root, with the contents of the files that people write.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Suffixes of files that are read; others are known by their path alone.
const TEXT: [&str; 12] =
    [".rs", ".toml", ".md", ".proto", ".py", ".sh", ".cpp", ".h", ".yaml", ".yml", "Makefile", ".env"];

/// Every file below the root, build outputs and downloads left out; contents are empty where they are not text.
pub(super) struct Tree {
    pub(super) files: BTreeMap<String, String>,
}

impl Tree {
    pub(super) fn of_this_repository() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut tree = Self { files: BTreeMap::new() };
        tree.take_folder(&root, "");
        tree
    }

    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let own = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Self { files: files.iter().map(own).collect() }
    }

    fn take_folder(&mut self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).expect("the repository can be read") {
            let entry = entry.expect("the repository can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && !["ci", "cargo", "gitignore"].contains(&&name[1..]);
            if hidden || (prefix.is_empty() && name == "target") || name == "__pycache__" {
                continue;
            }
            let path = format!("{prefix}{name}");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.take_folder(&entry.path(), &format!("{path}/"));
            } else {
                let is_text = TEXT.iter().any(|suffix| name.ends_with(suffix));
                let text = if is_text { fs::read_to_string(entry.path()).unwrap_or_default() } else { String::new() };
                self.files.insert(path, text);
            }
        }
    }

    /// Files below `folder` (empty: all) whose name ends in `suffix`.
    pub(super) fn under(&self, folder: &str, suffix: &str) -> impl Iterator<Item = (&str, &str)> {
        let wanted = move |path: &str| path.starts_with(folder) && path.ends_with(suffix);
        self.files.iter().filter(move |(path, _)| wanted(path)).map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The manifest of every crate with its name: the folders of `crates`, and `tests`.
    pub(super) fn manifests(&self) -> Vec<(String, toml::Table)> {
        let mut manifests = Vec::new();
        for (path, text) in self.under("", "/Cargo.toml") {
            let folder = path.trim_end_matches("/Cargo.toml");
            let name = folder.strip_prefix("crates/").unwrap_or(folder);
            let table = text.parse().expect("cargo has read this manifest before");
            manifests.push((name.to_owned(), table));
        }
        manifests
    }

    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.contains_key(path) || self.under(&format!("{path}/"), "").next().is_some()
    }
}

/// Lines of code with their numbers: neither comments nor the tests at a file's end.
pub(super) fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let numbered = code.lines().enumerate().map(|(index, line)| (index + 1, line));
    let bare = numbered.map(|(number, line)| (number, line.split(" // ").next().unwrap_or(line)));
    bare.filter(|(_, line)| !line.trim_start().starts_with("//"))
}
