//! Words that only some files of a crate may say: the wire at the edge, pickles in the import, sled in the store.

use super::tree::{Tree, code_lines};
use super::{assert_complains, assert_kept};

/// A word, the folder it is watched in, the files there that may say it, and why.
struct Edge {
    word: &'static str,
    folder: &'static str,
    allowed: &'static [&'static str],
    reason: &'static str,
}

const EDGES: [Edge; 4] = [
    Edge {
        word: "sled::",
        folder: "crates/registry/src/",
        allowed: &["store.rs"],
        reason: "store.rs is the one file to change when sled goes",
    },
    Edge {
        word: "checkpoint::",
        folder: "crates/server/src/",
        allowed: &["import.rs", "synth.rs"],
        reason: "a serving process never opens a pickle",
    },
    Edge {
        word: "deberta::",
        folder: "crates/server/src/",
        allowed: &["main.rs"],
        reason: "the server knows a model by its trait",
    },
    Edge {
        word: "Code::",
        folder: "crates/server/src/",
        allowed: &["status.rs"],
        reason: "status.rs alone chooses a gRPC code",
    },
];

fn words_beyond_their_edge(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for edge in &EDGES {
        for (path, text) in tree.under(edge.folder, ".rs") {
            let name = &path[edge.folder.len()..];
            if edge.allowed.iter().any(|allowed| name == *allowed) {
                continue;
            }
            for (number, line) in code_lines(text).filter(|(_, line)| says(line, edge.word)) {
                complaints.push(format!("{path}:{number} says {}: {} (`{}`)", edge.word, edge.reason, line.trim()));
            }
        }
    }
    complaints
}

/// Whether the line has the word as a whole path segment.
fn says(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn words_stay_within_their_edge() {
    assert_kept(words_beyond_their_edge);
}

#[test]
fn a_word_beyond_its_edge_is_refused() {
    let file = |line: &'static str| [("crates/server/src/boot.rs", line)];
    assert_complains(words_beyond_their_edge, &file("use checkpoint::pickle;"), "never opens a pickle");
    assert_complains(words_beyond_their_edge, &file("Status::new(tonic::Code::Internal, \"\")"), "status.rs alone");
    assert!(words_beyond_their_edge(&Tree::of(&file("let code = ErrorCode::Refused; // Code::Ok"))).is_empty());
}
