//! Which crate may depend on what: our own crates by the arrows of ARCHITECTURE.md, foreign ones by fence.

use super::tree::Tree;
use super::{assert_complains, assert_kept};

/// Our crates, and which of ours each may use. `tests` may use all of them.
const OURS: [(&str, &[&str]); 10] = [
    ("api", &[]),
    ("engine", &[]),
    ("fitting", &[]),
    ("judging", &[]),
    ("kernels", &[]),
    ("deberta", &["engine", "kernels"]),
    ("registry", &["engine"]),
    ("checkpoint", &["engine", "registry"]),
    ("server", &["api", "engine", "fitting", "judging", "kernels", "deberta", "registry", "checkpoint"]),
    ("cli", &["api"]),
];

/// Foreign crates that any of ours may name.
const ANYWHERE: [&str; 5] = ["serde", "serde_json", "sha2", "thiserror", "tracing"];

/// Foreign crates and the ones of ours that may name them.
const FENCED: &[(&str, &[&str])] = &[
    ("prost", &["api", "server"]),
    ("prost-types", &["api", "server"]),
    ("protox", &["api"]),
    ("tonic-prost", &["api"]),
    ("tonic-prost-build", &["api"]),
    ("dashmap", &["engine"]),
    ("loom", &["engine", "kernels"]),
    ("tch", &["deberta"]),
    ("torch-sys", &["deberta"]),
    ("tokenizers", &["deberta"]),
    ("cc", &["deberta"]),
    ("arc-swap", &["engine", "server"]),
    ("rustls", &["server"]),
    ("tokio-rustls", &["server"]),
    ("x509-parser", &["server"]),
    ("sled", &["registry"]),
    ("tar", &["registry"]),
    ("zip", &["checkpoint"]),
    ("rustix", &["kernels", "registry", "checkpoint", "server"]),
    ("libc", &["registry", "checkpoint", "server"]),
    ("hf-hub", &["checkpoint"]),
    ("ureq", &["checkpoint"]),
    ("tonic", &["api", "server", "cli"]),
    ("tonic-health", &["server", "cli"]),
    ("tonic-reflection", &["server"]),
    ("tonic-types", &["api", "server", "cli"]),
    ("tokio", &["engine", "server", "cli"]),
    ("tokio-stream", &["server", "cli"]),
    ("clap", &["server", "cli"]),
    ("tower", &["server"]),
    ("http", &["server"]),
    ("http-body", &["server"]),
    ("bytes", &["server"]),
    ("toml", &["registry", "checkpoint", "server"]),
    ("safetensors", &["deberta", "registry", "checkpoint"]),
    ("half", &["checkpoint", "deberta", "registry"]),
    ("tempfile", &["checkpoint", "registry", "server"]),
    ("futures-util", &["server", "cli"]),
    ("http-body-util", &["server"]),
    ("hyper", &["server"]),
    ("hyper-util", &["server"]),
    ("socket2", &["server"]),
    ("subtle", &["server"]),
    ("wildmatch", &["server"]),
    ("tracing-subscriber", &["server"]),
    ("comfy-table", &["cli"]),
    ("indicatif", &["cli", "server"]),
];

fn dependencies_in_the_wrong_crate(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, manifest) in tree.manifests() {
        if name == "tests" {
            continue;
        }
        let Some((_, ours)) = OURS.iter().find(|(known, _)| *known == name) else {
            complaints.push(format!("crate {name} is not in the list of fences.rs: say which crates it may use"));
            continue;
        };
        for section in ["dependencies", "build-dependencies"] {
            for dependency in
                manifest.get(section).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys)
            {
                if let Some(reason) = refusal(&name, ours, dependency) {
                    complaints.push(format!("crate {name} names {dependency}: {reason}"));
                }
            }
        }
    }
    complaints
}

fn refusal(name: &str, ours: &[&str], dependency: &str) -> Option<String> {
    if OURS.iter().any(|(known, _)| *known == dependency) {
        return (!ours.contains(&dependency)).then(|| format!("of ours it may use {ours:?} only"));
    }
    if ANYWHERE.contains(&dependency) {
        return None;
    }
    match FENCED.iter().find(|(known, _)| *known == dependency) {
        Some((_, allowed)) if allowed.contains(&name) => None,
        Some((_, allowed)) => Some(format!("only {} may", allowed.join(", "))),
        None => Some("no crate's fence holds it; place it in fences.rs and say in the commit why it is needed".into()),
    }
}

fn versions_outside_the_workspace_manifest(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, manifest) in tree.manifests() {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for (dependency, value) in manifest.get(section).and_then(toml::Value::as_table).into_iter().flatten() {
                if value.get("workspace").is_none() {
                    complaints.push(format!(
                        "crate {name} states a version of {dependency}: versions live in the root Cargo.toml"
                    ));
                }
            }
        }
    }
    complaints
}

#[test]
fn each_foreign_dependency_stays_behind_its_fence() {
    assert_kept(dependencies_in_the_wrong_crate);
}

#[test]
fn a_dependency_behind_another_crates_fence_is_refused() {
    let rule = dependencies_in_the_wrong_crate;
    assert_complains(
        rule,
        &[("crates/engine/Cargo.toml", "[dependencies]\nsled.workspace = true")],
        "only registry may",
    );
    assert_complains(rule, &[("crates/cli/Cargo.toml", "[dependencies]\nengine.workspace = true")], "[\"api\"] only");
    assert_complains(rule, &[("crates/cli/Cargo.toml", "[dependencies]\nleft-pad.workspace = true")], "place it");
}

#[test]
fn versions_are_stated_once() {
    assert_kept(versions_outside_the_workspace_manifest);
}

#[test]
fn a_version_in_a_member_is_refused() {
    let manifest = [("crates/cli/Cargo.toml", "[dependencies]\nclap = \"4\"")];
    assert_complains(versions_outside_the_workspace_manifest, &manifest, "states a version of clap");
}
