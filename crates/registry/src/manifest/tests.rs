//! Behaviour: the documented example is the whole truth about the file, and what breaks a rule is refused by key.

use super::*;

/// The example in this file's own documentation.
fn example() -> String {
    let source = include_str!("../manifest.rs");
    let lines = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim_start);
    let block = lines.skip_while(|line| *line != "```toml").skip(1).take_while(|line| *line != "```");
    block.collect::<Vec<_>>().join("\n")
}

fn refusal(toml: &str) -> ManifestError {
    Manifest::parse(toml.as_bytes()).expect_err("must be refused")
}

#[test]
fn the_documented_example_is_a_manifest_with_every_key() {
    let manifest = Manifest::parse(example().as_bytes()).unwrap();
    assert_eq!((manifest.task.as_str(), manifest.kind), ("reviews/aspects", HeadKind::MultiLabel));
    assert_eq!((manifest.about.metrics["f1"], manifest.task_embedding_by_default), (0.91, Some(true)));
    // No kind takes every key, so the settings of other kinds are left out of the head.
    let tensors =
        Tensors { weight: vec![0.0; 8].into(), bias: vec![0.0; 2].into(), task_embedding: None, adapter: None };
    let trust = Trust { ood: manifest.trust.ood.clone(), ..Trust::default() };
    Head::new(manifest.kind, 4, HeadParts { trust, ..manifest.head_parts(tensors) }).unwrap();
    let keys = |toml: &str| -> Vec<String> {
        let keys = toml.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.to_owned());
        keys.filter(|key| !key.starts_with('#')).collect()
    };
    assert_eq!(keys(&manifest.to_toml().unwrap()), keys(&example()), "every key is documented, in the written order");
}

#[test]
fn what_is_written_reads_back_and_shortest_numbers_are_written() {
    let manifest = Manifest::parse(example().replace("0.5, 0.35", "0.1, 0.35").as_bytes()).unwrap();
    let toml = manifest.to_toml().unwrap();
    assert!(toml.contains("thresholds = [0.1, 0.35]"), "{toml}");
    let again = Manifest::parse(toml.as_bytes()).unwrap();
    assert_eq!((&again, again.to_toml().unwrap()), (&manifest, toml));
}

#[test]
fn unknown_missing_and_repeated_keys_are_refused() {
    for toml in [
        example().replace("kind = ", "kinds = "),
        example().replace("description = ", "descripton = "),
        example().replace("format = 1\n", ""),
        example() + "\n[about]\n",
        "format = ".to_owned() + &"[".repeat(100_000),
        "\u{0}".to_owned(),
    ] {
        assert!(matches!(refusal(&toml), ManifestError::Syntax(_)), "{toml:.40}");
    }
    assert!(matches!(Manifest::parse(b"\xff"), Err(ManifestError::Syntax(_))));
}

#[test]
fn values_out_of_their_rules_are_refused_by_key() {
    let key = |toml: String| {
        let refused = refusal(&toml);
        let ManifestError::Value { key, .. } = refused else { panic!("{refused}") };
        key
    };
    assert_eq!(key(example().replace("reviews/aspects", "../etc")), "task");
    assert_eq!(key(example().replace("\"multi_label\"", "\"softmax\"")), "kind");
    assert_eq!(key(example().replace("sha256:e3", "md5:e3")), "encoder");
    assert_eq!(key(example().replace("\"ba78", "\"BA78")), "weights_sha256");
    assert_eq!(key(example().replace("What is", &"x".repeat(5000))), "prompt");
    assert_eq!(key(example().replace("weak on", r"\u001b[31m")), "about.caution");
    assert_eq!(key(example().replace("0.91", "nan")), "about.metrics");
    assert_eq!(key(example().replace("\"english\"", &"\"t\",".repeat(70))), "about");
    assert_eq!(key(example().replace("3d00bd80", "3d00bd8")), "ood.mean");
    assert_eq!(key(example().replace("3d803d80", "3d803d8x")), "ood.deviation");
    assert_eq!(key(example().replace("3d803d80", "00003d80")), "ood", "a deviation of 0");
    assert_eq!(key(example().replace("3d00bd80", "")), "ood", "means of another width");
    assert_eq!(refusal(&example().replace("format = 1", "format = 2")), ManifestError::Format { found: 2 });
    let large = "#".repeat(MAX_MANIFEST_BYTES + 1);
    assert_eq!(refusal(&large), ManifestError::TooLarge { bytes: large.len() });
}
