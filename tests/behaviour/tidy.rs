//! The house rules that a machine can check: the repository read as text, each breach a sentence.
//!
//! A rule is a function from the tree to its complaints; beside each rule a test shows a tree that breaks it.

mod calls;
mod documents;
mod edges;
mod fences;
mod files;
mod options;
mod tree;

use tree::Tree;

/// Fails with every complaint of `rule` about this repository.
fn assert_kept(rule: fn(&Tree) -> Vec<String>) {
    let complaints = rule(&Tree::of_this_repository());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Fails unless `rule` complains once about a tree of these files, in a sentence that holds `words`.
fn assert_complains(rule: fn(&Tree) -> Vec<String>, files: &[(&str, &str)], words: &str) {
    let complaints = rule(&Tree::of(files));
    assert!(complaints.len() == 1 && complaints[0].contains(words), "{complaints:?} should be one about {words:?}");
}
