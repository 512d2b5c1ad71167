//! What the documents name exists: crates, paths, make targets; and every crate is in ARCHITECTURE.md.

use super::tree::Tree;
use super::{assert_complains, assert_kept};

const ARCHITECTURE: &str = "ARCHITECTURE.md";

fn crates_without_a_place_in_the_architecture(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.files.get(ARCHITECTURE) else {
        return vec!["there is no ARCHITECTURE.md".into()];
    };
    let manifests = tree.manifests().into_iter().map(|(name, _)| name);
    let unnamed =
        manifests.filter(|name| !page.contains(&format!("`{name}`")) && !page.contains(&format!("`crates/{name}`")));
    unnamed.map(|name| format!("ARCHITECTURE.md does not say what crate {name} is for")).collect()
}

fn paths_that_do_not_exist(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for page in [ARCHITECTURE, "README.md", "CONTRIBUTING.md", "RELIABILITY.md"] {
        let text = tree.files.get(page).map_or("", String::as_str);
        for path in quoted(text).filter(|quote| is_path(quote)) {
            let ends_so = |file: &String| file.ends_with(&format!("/{path}"));
            if !tree.has(path) && !tree.has(&format!("crates/{path}")) && !tree.files.keys().any(ends_so) {
                complaints.push(format!("{page} names `{path}`, which does not exist"));
            }
        }
    }
    complaints
}

/// What stands between backquotes, code blocks left out.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let outside_blocks = text.split("```").step_by(2);
    outside_blocks.flat_map(|part| part.split('`').skip(1).step_by(2))
}

/// Whether a quotation means a file or folder of this repository: by its suffix, or by the top folder it begins with.
fn is_path(quote: &str) -> bool {
    let plain = quote.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c)) && !quote.starts_with(['.', '/']);
    let suffixes = [".rs", ".md", ".py", ".sh", ".proto", ".cpp"];
    let folders = ["crates/", "proto/", "registry/", "tests/", "deploy/"];
    plain
        && (suffixes.iter().any(|suffix| quote.ends_with(suffix))
            || folders.iter().any(|folder| quote.starts_with(folder)))
}

fn make_targets_that_do_not_exist(tree: &Tree) -> Vec<String> {
    let makefile = tree.files.get("Makefile").map_or("", String::as_str);
    let targets: Vec<&str> =
        makefile.lines().filter_map(|line| line.split_once(':')).map(|(target, _)| target).collect();
    let mut complaints = Vec::new();
    for (page, text) in tree.under("", ".md") {
        for rest in text
            .split("make ")
            .skip(1)
            .zip(text.split("make "))
            .filter_map(|(rest, before)| before.ends_with(['`', '\n']).then_some(rest))
        {
            let target = rest.split(|c: char| !c.is_alphanumeric() && c != '-').next().unwrap_or("");
            if !targets.contains(&target) {
                complaints.push(format!("{page} names `make {target}`, which the Makefile does not have"));
            }
        }
    }
    complaints
}

#[test]
fn every_crate_is_in_the_architecture() {
    assert_kept(crates_without_a_place_in_the_architecture);
    let tree = [("ARCHITECTURE.md", "`engine`"), ("crates/wire/Cargo.toml", "")];
    assert_complains(crates_without_a_place_in_the_architecture, &tree, "what crate wire is for");
}

#[test]
fn every_path_in_the_documents_exists() {
    assert_kept(paths_that_do_not_exist);
    let tree = [("ARCHITECTURE.md", "see `rows.rs` and `batch.rs`"), ("crates/engine/src/rows.rs", "")];
    assert_complains(paths_that_do_not_exist, &tree, "`batch.rs`");
}

#[test]
fn every_make_target_in_the_documents_exists() {
    assert_kept(make_targets_that_do_not_exist);
    let tree = [("Makefile", "test: setup\n\tcargo test\n"), ("README.md", "`make test`, then `make coffee`")];
    assert_complains(make_targets_that_do_not_exist, &tree, "`make coffee`");
}
