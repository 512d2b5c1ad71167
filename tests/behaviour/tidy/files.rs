//! What a source file may be called, how long it may be, and how it opens.

use super::tree::Tree;
use super::{assert_complains, assert_kept};

const LONGEST: usize = 400;
const SOURCE: [&str; 5] = [".rs", ".py", ".sh", ".cpp", ".h"];
const NAMELESS: [&str; 7] = ["mod", "util", "utils", "common", "misc", "helper", "helpers"];
const WEIGHTS: [&str; 5] = [".safetensors", ".bin", ".pt", ".pth", ".onnx"];

fn is_source(path: &str) -> bool {
    SOURCE.iter().any(|suffix| path.ends_with(suffix))
}

fn badly_named_files(tree: &Tree) -> Vec<String> {
    let stem = |path: &str| path.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or("").to_owned();
    let bad = tree.files.keys().filter(|path| is_source(path) && NAMELESS.contains(&stem(path).as_str()));
    bad.map(|path| format!("{path}: a file is named for what it holds")).collect()
}

fn long_files(tree: &Tree) -> Vec<String> {
    let long = tree.files.iter().filter(|(path, text)| is_source(path) && text.lines().count() > LONGEST);
    long.map(|(path, text)| format!("{path} has {} lines; {LONGEST} are the most", text.lines().count())).collect()
}

fn files_that_open_without_a_sentence(tree: &Tree) -> Vec<String> {
    let silent = tree.under("", ".rs").filter(|(_, text)| !text.starts_with("//!"));
    silent.map(|(path, _)| format!("{path} does not open with `//!` and a sentence on what it is")).collect()
}

fn promises_instead_of_code(tree: &Tree) -> Vec<String> {
    // In two halves, so that this file does not accuse itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("unimpl", "emented!(")];
    let mut complaints = Vec::new();
    for (path, text) in &tree.files {
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                complaints.push(format!("{path}:{}: {word}: do it, or leave it out", index + 1));
            }
        }
    }
    complaints
}

fn tests_that_never_run(tree: &Tree) -> Vec<String> {
    let attribute = concat!("#[ig", "nore");
    let ignored = tree.under("", ".rs").filter(|(_, text)| text.contains(attribute));
    ignored.map(|(path, _)| format!("{path} has an ignored test: assert today's behaviour instead")).collect()
}

fn files_in_the_wrong_folder(tree: &Tree) -> Vec<String> {
    let rust = tree.under("registry/", ".rs").map(|(path, _)| format!("{path}: registry/ holds data and no Rust"));
    let weights = WEIGHTS.iter().flat_map(|suffix| tree.under("crates/", suffix));
    rust.chain(weights.map(|(path, _)| format!("{path}: crates/ holds no weights"))).collect()
}

#[test]
fn files_are_named_for_what_they_hold() {
    assert_kept(badly_named_files);
    assert_complains(badly_named_files, &[("crates/engine/src/rows/mod.rs", "")], "named for what it holds");
}

#[test]
fn no_source_file_is_over_400_lines() {
    assert_kept(long_files);
    assert_complains(long_files, &[("crates/engine/src/rows.rs", &"\n".repeat(401))], "has 401 lines");
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    assert_kept(files_that_open_without_a_sentence);
    assert_complains(files_that_open_without_a_sentence, &[("crates/engine/src/rows.rs", "use std::fs;")], "//!");
}

#[test]
fn nothing_is_promised_in_a_comment() {
    assert_kept(promises_instead_of_code);
    let promise = concat!("// TO", "DO: think");
    assert_complains(promises_instead_of_code, &[("crates/engine/src/rows.rs", promise)], "rows.rs:1");
}

#[test]
fn every_test_runs() {
    assert_kept(tests_that_never_run);
    assert_complains(tests_that_never_run, &[("tests/behaviour/drain.rs", concat!("#[ig", "nore]"))], "ignored test");
}

#[test]
fn registry_holds_no_rust_and_crates_no_weights() {
    assert_kept(files_in_the_wrong_folder);
    assert_complains(files_in_the_wrong_folder, &[("registry/load.rs", "")], "no Rust");
    assert_complains(files_in_the_wrong_folder, &[("crates/deberta/src/tiny.safetensors", "")], "no weights");
}
