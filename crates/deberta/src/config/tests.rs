//! What each key of `config.json` means, and what is refused by name.

use serde_json::{Value, json};

use super::*;

fn parse(changes: Value) -> Result<Config, LoadError> {
    let mut keys = json!({
        "model_type": "deberta-v2", "vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 128, "relative_attention": true, "position_buckets": 256,
        "max_relative_positions": -1, "max_position_embeddings": 512, "pos_att_type": "p2c|c2p",
        "share_att_key": true, "norm_rel_ebd": "layer_norm", "position_biased_input": false, "type_vocab_size": 0,
    });
    let (Value::Object(keys_map), Value::Object(changes)) = (&mut keys, changes) else { panic!("objects") };
    keys_map.extend(changes);
    Config::parse(keys.to_string().as_bytes())
}

fn refused_key(changes: Value) -> &'static str {
    match parse(changes) {
        Err(LoadError::Config { key, .. }) => key,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn the_keys_of_a_published_checkpoint_are_understood() {
    let config = parse(json!({})).unwrap();
    assert_eq!(config.relative, Some(Relative { span: 256, buckets: 256, max_distance: 512, shared: true }));
    assert_eq!((config.head_size, config.embedding, config.absolute_positions), (16, 64, None));
    assert!(config.content_to_position && config.position_to_content && config.norm_relative);
    assert!((config.score_scale() - 48f64.sqrt()).abs() < 1e-6);
}

#[test]
fn absent_keys_have_the_defaults_of_the_reference() {
    let few = json!({"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16});
    let config = Config::parse(few.to_string().as_bytes()).unwrap();
    assert_eq!(config.relative, None);
    assert_eq!(config.absolute_positions, Some(512));
    assert_eq!((config.token_types, config.convolution), (0, None));
    assert_eq!((config.activation, config.pooler_activation), (Activation::Gelu, Activation::Gelu));
    assert!(!config.content_to_position && !config.position_to_content && !config.norm_relative);
    assert!((config.layer_norm_eps - 1e-7).abs() < 1e-15);
}

#[test]
fn both_spellings_of_the_position_terms_mean_the_same() {
    for spelling in [json!("P2C | c2p"), json!(["p2c", "c2p"])] {
        let config = parse(json!({"pos_att_type": spelling})).unwrap();
        assert!(config.content_to_position && config.position_to_content);
    }
    let one = parse(json!({"pos_att_type": ["c2p"]})).unwrap();
    assert!(one.content_to_position && !one.position_to_content);
    let none = parse(json!({"pos_att_type": null})).unwrap();
    assert!(!none.content_to_position && !none.position_to_content);
}

#[test]
fn without_buckets_every_distance_has_its_own_row() {
    let relative = parse(json!({"position_buckets": -1, "max_relative_positions": 40})).unwrap().relative.unwrap();
    assert_eq!((relative.span, relative.max_distance), (40, 40));
}

#[test]
fn what_is_not_computed_is_refused_by_key() {
    for (changes, key) in [
        (json!({"model_type": "deberta"}), "model_type"),
        (json!({"pos_att_type": "p2p|c2p"}), "pos_att_type"),
        (json!({"norm_rel_ebd": "batch_norm"}), "norm_rel_ebd"),
        (json!({"hidden_act": "mish"}), "hidden_act"),
        (json!({"pooler_hidden_act": "softmax"}), "pooler_hidden_act"),
        (json!({"pooler_hidden_size": 32}), "pooler_hidden_size"),
        (json!({"conv_kernel_size": 4}), "conv_kernel_size"),
        (json!({"conv_kernel_size": 3, "conv_groups": 3}), "conv_groups"),
        (json!({"conv_kernel_size": 3, "conv_act": "sine"}), "conv_act"),
        (json!({"attention_head_size": 8}), "attention_head_size"),
        (json!({"num_attention_heads": 5}), "num_attention_heads"),
        (json!({"hidden_size": 0}), "hidden_size"),
        (json!({"hidden_size": i64::MAX}), "hidden_size"),
        (json!({"vocab_size": null}), "vocab_size"),
        (json!({"position_buckets": 1}), "position_buckets"),
        (json!({"position_buckets": 1022}), "position_buckets"),
        (json!({"layer_norm_eps": -1.0}), "layer_norm_eps"),
    ] {
        assert_eq!(refused_key(changes.clone()), key, "{changes}");
    }
}

#[test]
fn the_convolution_of_the_xlarge_models_is_understood() {
    let config = parse(json!({"conv_kernel_size": 3, "conv_act": "gelu"})).unwrap();
    let expected = Convolution { kernel: 3, groups: 1, activation: Activation::Gelu };
    assert_eq!(config.convolution, Some(expected));
}
