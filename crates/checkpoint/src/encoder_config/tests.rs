//! What is refused, what is the same, and what is written.

use super::*;

fn refusal(config: Value) -> String {
    EncoderConfig::parse(&config).unwrap_err().to_string()
}

#[test]
fn what_is_not_served_is_refused_by_key() {
    let cases = [
        (json!({"pos_att_type": "p2c|p2p"}), "pos_att_type is p2p"),
        (json!({"pos_att_type": ["c2p", "P2C"]}), "pos_att_type is P2C"),
        (json!({"hidden_act": "mish"}), "hidden_act is mish"),
        (json!({"conv_kernel_size": 4}), "conv_kernel_size is 4"),
        (json!({"hidden_size": 768, "num_attention_heads": 7}), "num_attention_heads is 7"),
        (json!({"hidden_size": 768, "num_attention_heads": 12, "attention_head_size": 32}), "attention_head_size"),
        (json!({"pooler_hidden_size": 5}), "pooler_hidden_size is 5"),
        (json!({"model_type": "deberta"}), "model_type is deberta"),
        (json!({"norm_rel_ebd": "rms"}), "norm_rel_ebd is rms"),
        (json!({"vocab_size": 0}), "vocab_size is 0"),
        (json!({"num_hidden_layers": 16_000_000}), "num_hidden_layers is 16000000"),
        (json!({"position_buckets": 1}), "position_buckets is 1"),
        (json!({"position_buckets": 4, "max_relative_positions": 3}), "position_buckets is 4"),
        (json!({"vocab_size": "many"}), "config.json"),
        (json!([]), "config.json"),
    ];
    for (config, expected) in cases {
        let shown = config.to_string();
        let text = refusal(config);
        assert!(text.contains(expected), "{shown}: {text}");
    }
}

#[test]
fn both_spellings_of_position_terms_are_one() {
    let one = EncoderConfig::parse(&json!({"pos_att_type": "C2P | p2c", "norm_rel_ebd": "layer_norm|none"})).unwrap();
    let many = EncoderConfig::parse(&json!({"pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "Layer_Norm"})).unwrap();
    assert_eq!(one, many);
    assert!(one.content_to_position && one.position_to_content && one.norm_relative);
}

#[test]
fn a_norm_over_relative_positions_that_are_not_there_is_not_written() {
    let parsed = EncoderConfig::parse(&json!({"norm_rel_ebd": "layer_norm"})).unwrap();
    assert_eq!(parsed.to_json()["norm_rel_ebd"], "none");
}

#[test]
fn a_written_config_reads_back_as_itself() {
    let config = json!({"conv_kernel_size": 3, "position_buckets": 256, "relative_attention": true});
    let parsed = EncoderConfig::parse(&config).unwrap();
    assert_eq!(EncoderConfig::parse(&parsed.to_json()).unwrap(), parsed);
    assert_eq!(parsed.span(), 256);
}
