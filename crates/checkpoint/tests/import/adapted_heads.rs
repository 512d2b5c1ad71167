//! Heads whose training changed the encoder: adapters as PEFT saves them, and whole models.

use std::path::{Path, PathBuf};

use checkpoint::ImportedHead;
use engine::{Adapter, HeadKind, LowRank, Site};
use registry::{Bundle, Digest, HeadFolder};
use serde_json::{Value, json};

use crate::hostile_files::{change_json, change_tensors};
use crate::single_heads::options;
use crate::{copy, import};

const HIDDEN: usize = 16;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/adapters").join(name)
}

/// The bundle of a fixture's encoder.
fn bundle(name: &str) -> (tempfile::TempDir, Bundle) {
    let (_, folder, bundle) = import(&fixture(name).join("model")).unwrap();
    (folder, bundle)
}

fn import_adapted(name: &str, source: &Path) -> ImportedHead {
    let (folder, bundle) = bundle(name);
    let mut options = options(source, &bundle, folder.path());
    options.lora = Some(8);
    checkpoint::import_head(&options).unwrap_or_else(|error| panic!("{}", error.whole()))
}

fn adapter(imported: &ImportedHead) -> &Adapter {
    imported.head.parts().adapter.as_ref().unwrap()
}

/// What importing the adapter says after a change to its configuration.
fn refusal(change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("adapter");
    copy(&fixture("every-site/adapter"), &source);
    change(&source);
    let (scratch, bundle) = bundle("every-site");
    let mut options = options(&source, &bundle, scratch.path());
    options.lora = Some(8);
    checkpoint::import_head(&options).unwrap_err().whole()
}

fn set(key: &'static str, value: Value) -> impl FnOnce(&Path) {
    move |source| change_json(&source.join("adapter_config.json"), |config| config[key] = value)
}

#[test]
fn an_adapter_gives_a_head_that_brings_it_along() {
    let imported = import_adapted("every-site", &fixture("every-site/adapter"));
    assert_eq!((imported.head.kind(), imported.head.outputs()), (HeadKind::Classification, 3));
    let found = adapter(&imported);
    assert_eq!((found.parts().count(), found.layers()), (18, 3));
    assert!(Site::ALL.iter().all(|site| found.part(1, *site).map(LowRank::rank) == Some(4)));
    assert!(found.pooler().is_some(), "`dense` names the pooler too");
    assert!(imported.to_string().contains("18 linear layers, rank 4, and a pooler"), "{imported}");
    // And through a head folder.
    let folder = HeadFolder::of_head(&imported.row.task, &imported.head, Digest::of(b"encoder")).unwrap();
    let widths = registry::EncoderWidths { hidden: HIDDEN, embedding: HIDDEN };
    assert_eq!(folder.parse(widths).unwrap().1, imported.head);
}

#[test]
fn what_was_saved_whole_beside_the_factors_counts_where_the_head_reads_it() {
    let imported = import_adapted("own-pooler", &fixture("own-pooler/adapter"));
    assert_eq!(adapter(&imported).parts().count(), 4);
    assert!(adapter(&imported).pooler().is_some());
    let tokens = import_adapted("stabilised-tokens", &fixture("stabilised-tokens/adapter"));
    assert_eq!(tokens.head.kind(), HeadKind::TokenClassification);
    assert!(adapter(&tokens).pooler().is_none());
}

#[test]
fn an_adapter_is_imported_only_where_somebody_asks_for_it() {
    let (folder, bundle) = bundle("every-site");
    let refused = checkpoint::import_head(&options(&fixture("every-site/adapter"), &bundle, folder.path()));
    assert!(refused.unwrap_err().to_string().contains("--lora"));
}

#[test]
fn settings_that_mean_something_else_are_refused_by_name() {
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(true)),
        ("bias", json!("lora_only")),
        ("rank_pattern", json!({"query_proj": 2})),
        ("alpha_pattern", json!({"query_proj": 2})),
        ("modules_to_save", json!(["classifier", "embeddings"])),
        ("init_lora_weights", json!("pissa")),
        ("fan_in_fan_out", json!(true)),
        ("layer_replication", json!([[0, 2]])),
        ("task_type", json!("CAUSAL_LM")),
        ("r", json!(0)),
        ("use_qalora", json!(true)),
        ("trainable_token_indices", json!([1])),
    ] {
        let text = refusal(set(key, value));
        assert!(text.contains(key), "{key}: {text}");
    }
    let text = refusal(set("r", json!(5)));
    assert!(text.contains("lora_A.weight has shape [4, ") && text.contains("5 by adapter_config.json"), "{text}");
}

#[test]
fn tensors_of_other_modules_and_shapes_are_refused_by_name() {
    const QUERY: &str = "base_model.model.deberta.encoder.layer.1.attention.self.query_proj.lora_A.weight";
    let moved = |to: &'static str| {
        move |source: &Path| {
            std::fs::rename(source.join("adapter_model.safetensors"), source.join("model.safetensors")).unwrap();
            change_tensors(source, |tensors| {
                let tensor = if to.is_empty() { tensors.remove(QUERY) } else { tensors.get(QUERY).cloned() };
                if !to.is_empty() {
                    tensors.insert(to.to_owned(), tensor.unwrap());
                }
            });
            std::fs::rename(source.join("model.safetensors"), source.join("adapter_model.safetensors")).unwrap();
        }
    };
    for to in [
        "base_model.model.deberta.embeddings.word_embeddings.lora_embedding_A",
        "base_model.model.deberta.encoder.layer.1.attention.self.query_proj.lora_magnitude_vector",
        "base_model.model.deberta.encoder.layer.9.attention.self.query_proj.lora_A.weight",
        "deberta.encoder.layer.1.attention.self.query_proj.lora_A.weight",
    ] {
        let text = refusal(moved(to));
        assert!(text.contains(to.trim_end_matches(".lora_A.weight")), "{text}");
    }
    let text = refusal(moved(""));
    assert!(text.contains(QUERY) && text.contains("missing"), "{text}");
    let text = refusal(|source| std::fs::remove_file(source.join("adapter_model.safetensors")).unwrap());
    assert!(text.contains("no adapter_model.safetensors"), "{text}");
}

#[test]
fn a_whole_model_gives_the_factors_of_its_difference_and_says_what_they_miss() {
    let adapted = import_adapted("every-site", &fixture("every-site/adapter"));
    let whole = import_adapted("every-site", &fixture("every-site/merged"));
    let (adapted, found) = (adapter(&adapted), adapter(&whole));
    assert_eq!(found.parts().count(), 18);
    for (layer, site, expected) in adapted.parts() {
        let part = found.part(layer, site).unwrap();
        assert_eq!(part.rank(), 4, "no more than the difference has");
        let (one, other) = (product(expected), product(part));
        let largest = one.iter().zip(&other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-5, "layer {layer}, {site}: {largest}");
    }
    let (expected, pooler) = (adapted.pooler().unwrap(), found.pooler().unwrap());
    let largest = expected.weight.iter().zip(&*pooler.weight).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-6, "{largest}");
    let said = whole.to_string();
    assert!(said.contains("18 linear layers changed; factors of rank 8 miss"), "{said}");
    assert!(!said.contains("left out"), "{said}");
}

/// `up * down`.
fn product(part: &LowRank) -> Vec<f32> {
    let (rank, inputs) = (part.rank(), part.inputs());
    let entry = |up: &[f32], column: usize| -> f32 {
        up.iter().enumerate().map(|(at, up)| up * part.down()[at * inputs + column]).sum()
    };
    part.up().chunks(rank).flat_map(|up| (0..inputs).map(move |column| entry(up, column))).collect()
}

#[test]
fn changes_that_have_no_place_in_an_adapter_are_refused_or_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("merged");
    copy(&fixture("every-site/merged"), &source);
    change_tensors(&source, |tensors| {
        for name in ["layer.0.output.LayerNorm.weight", "layer.0.output.dense.bias", "layer.2.output.dense.bias"] {
            let tensor = tensors.get_mut(&format!("deberta.encoder.{name}")).unwrap();
            tensor.2[..4].copy_from_slice(&5f32.to_le_bytes());
        }
    });
    let (scratch, bundle) = bundle("every-site");
    let mut options = options(&source, &bundle, scratch.path());
    options.lora = Some(8);
    let refused = checkpoint::import_head(&options).unwrap_err().to_string();
    for words in ["3 tensors", "encoder.layer.2.output.dense.bias", "--leave-out-rest"] {
        assert!(refused.contains(words), "{words:?} is not in {refused}");
    }
    options.leave_out_rest = true;
    let said = checkpoint::import_head(&options).unwrap().to_string();
    assert!(said.contains("left out: deberta.encoder.layer.*.output.dense.bias, layers 0 2, changed by "), "{said}");
    assert!(said.contains("left out: deberta.encoder.layer.*.output.LayerNorm.weight, layer 0, changed by "), "{said}");
    assert_eq!(said.matches("left out").count(), 2, "{said}");
}
