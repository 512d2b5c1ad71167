//! Words that only some files of a crate may say: the wire at the edge, pickles in the import, sled in the store.

use super::tree::{Tree, code_lines};
use super::{assert_complains, assert_kept};

/// Files of the server that speak protobuf: the translators, one file a service, and what starts them.
const WIRE: &[&str] = &[
    "from_proto.rs",
    "to_proto.rs",
    "status.rs",
    "classifier.rs",
    "classify_stream.rs",
    "zero_shot.rs",
    "rewards.rs",
    "classify_tasks.rs",
    "confidence.rs",
    "catalog.rs",
    "finding.rs",
    "watching.rs",
    "watching/tests.rs",
    "heads.rs",
    "install.rs",
    "bundles.rs",
    "bundles/intake.rs",
    "bundles/events.rs",
    "update_metadata.rs",
    "moving.rs",
    "retention.rs",
    "fit/embedding.rs",
    "fit/lessons.rs",
    "fit.rs",
    "fit/events.rs",
    "fit/intake.rs",
    "fit/plan.rs",
    "fit/labelled_rows.rs",
    "upload.rs",
    "download.rs",
    "evaluate.rs",
    "evaluate/plan.rs",
    "evaluate/rows.rs",
    "evaluate/asking.rs",
    "evaluate/events.rs",
    "evaluate/report.rs",
    "transformers.rs",
    "tenants.rs",
    "audit.rs",
    "permissions.rs",
    "registry_tools.rs",
    "backup.rs",
    "server_config.rs",
    "health.rs",
    "serve.rs",
];

/// A word, the folder it is watched in, the files there that may say it, and why.
struct Edge {
    word: &'static str,
    /// What may follow the word anywhere: it only reads.
    harmless: &'static [&'static str],
    folder: &'static str,
    allowed: &'static [&'static str],
    reason: &'static str,
}

const EDGES: [Edge; 6] = [
    Edge {
        word: "sled::",
        harmless: &[],
        folder: "crates/registry/src/",
        allowed: &["store.rs"],
        reason: "store.rs is the one file to change when sled goes",
    },
    Edge {
        word: "checkpoint::",
        harmless: &[],
        folder: "crates/server/src/",
        allowed: &["import.rs", "import_head.rs", "synth.rs"],
        reason: "a serving process never opens a pickle",
    },
    Edge {
        word: "deberta::",
        harmless: &[],
        folder: "crates/server/src/",
        allowed: &["accuracy.rs", "ood.rs", "bench.rs", "config.rs"],
        reason: "the serving part knows a model by its trait",
    },
    Edge {
        word: "api::",
        harmless: &[],
        folder: "crates/server/src/",
        allowed: WIRE,
        reason: "behind the services there are only the engine's own types",
    },
    Edge {
        word: "Code::",
        harmless: &["Ok", "from"],
        folder: "crates/server/src/",
        allowed: &["status.rs", "registry_status.rs"],
        reason: "status.rs and registry_status.rs alone choose a gRPC code",
    },
    Edge {
        word: "Status::",
        harmless: &["from_header_map"],
        folder: "crates/server/src/",
        allowed: &["status.rs", "registry_status.rs"],
        reason: "status.rs and registry_status.rs alone choose a gRPC code",
    },
];

fn words_beyond_their_edge(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for edge in &EDGES {
        for (path, text) in tree.under(edge.folder, ".rs") {
            let name = &path[edge.folder.len()..];
            if edge.allowed.contains(&name) {
                continue;
            }
            for (number, line) in code_lines(text).filter(|(_, line)| says(line, edge)) {
                complaints.push(format!("{path}:{number} says {}: {} (`{}`)", edge.word, edge.reason, line.trim()));
            }
        }
    }
    complaints
}

/// Whether the line has the word as a whole path segment, with something after it that is not harmless.
fn says(line: &str, edge: &Edge) -> bool {
    line.match_indices(edge.word).any(|(at, word)| {
        let inside_a_longer_word = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &line[at + word.len()..];
        !inside_a_longer_word && !edge.harmless.iter().any(|start| rest.starts_with(start))
    })
}

#[test]
fn words_stay_within_their_edge() {
    assert_kept(words_beyond_their_edge);
}

#[test]
fn a_word_beyond_its_edge_is_refused() {
    let file = |line: &'static str| [("crates/server/src/boot.rs", line)];
    assert_complains(words_beyond_their_edge, &file("use checkpoint::pickle;"), "never opens a pickle");
    assert_complains(words_beyond_their_edge, &file("Err(Status::internal(\"\"))"), "alone choose");
    assert_complains(words_beyond_their_edge, &file("let code = tonic::Code::Internal;"), "alone choose");
    assert_complains(words_beyond_their_edge, &file("use api::v1::Task;"), "own types");
    assert!(words_beyond_their_edge(&Tree::of(&file("let code = ErrorCode::Refused; // Code::Ok"))).is_empty());
}
