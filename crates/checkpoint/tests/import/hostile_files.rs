//! Configurations, tokenizers and tensor files that lie or are incomplete: each refused by name, nothing left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::{assert_refused, copy, fixture, import};

pub(crate) type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

pub(crate) fn copied(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy(&fixture(name), &model);
    (folder, model)
}

pub(crate) fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

pub(crate) fn change_tensors(model: &Path, change: impl FnOnce(&mut Tensors)) {
    let path = model.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let mut tensors: Tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
        .collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn assert_tensors_refused(name: &str, expected: &str, change: impl FnOnce(&mut Tensors)) {
    let (_folder, model) = copied(name);
    change_tensors(&model, change);
    assert_refused(&model, expected);
}

fn assert_config_refused(name: &str, expected: &str, change: impl FnOnce(&mut Value)) {
    let (_folder, model) = copied(name);
    change_json(&model.join("config.json"), change);
    assert_refused(&model, expected);
}

fn zeros(shape: &[usize]) -> (Dtype, Vec<usize>, Vec<u8>) {
    (Dtype::F16, shape.to_vec(), vec![0; shape.iter().product::<usize>() * 2])
}

const LAYER: &str = "deberta.encoder.layer.1.output.dense.weight";

#[test]
fn missing_surplus_and_misshapen_tensors_are_refused_by_name() {
    let tensor = |name: &str| name.to_owned();
    assert_tensors_refused("c-sequence", LAYER, |tensors| drop(tensors.remove(LAYER)));
    assert_tensors_refused("c-sequence", "encoder.layer.2.output.dense.weight", |tensors| {
        tensors.insert(tensor("deberta.encoder.layer.2.output.dense.weight"), zeros(&[16, 32]));
    });
    assert_tensors_refused("c-sequence", LAYER, |tensors| drop(tensors.insert(tensor(LAYER), zeros(&[32, 16]))));
    assert_tensors_refused("c-sequence", "adapter.down", |tensors| {
        tensors.insert(tensor("adapter.down"), zeros(&[2, 2]));
    });
    assert_tensors_refused("c-sequence", "qa_outputs.weight", |tensors| {
        tensors.insert(tensor("qa_outputs.weight"), zeros(&[2, 16]));
    });
    assert_tensors_refused("c-sequence", "first version of DeBERTa", |tensors| {
        tensors.insert(tensor("deberta.encoder.layer.0.attention.self.in_proj.weight"), zeros(&[48, 16]));
    });
    assert_tensors_refused("c-sequence", "older name as well", |tensors| {
        tensors.insert(tensor("deberta.embeddings.LayerNorm.gamma"), zeros(&[16]));
    });
    assert_tensors_refused("c-sequence", "I32, expected", |tensors| {
        let (_, shape, data) = tensors[LAYER].clone();
        tensors.insert(tensor(LAYER), (Dtype::I32, shape, data.repeat(2)));
    });
    assert_tensors_refused("c-sequence", "not finite", |tensors| {
        tensors.get_mut(LAYER).unwrap().2[..2].copy_from_slice(&[0x00, 0x7e]);
    });
    assert_tensors_refused("c-sequence", "pooler.dense.weight", |tensors| {
        tensors.retain(|name, _| !name.starts_with("pooler."));
    });
    assert_tensors_refused("c-sequence", "classifier.weight", |tensors| drop(tensors.remove("classifier.weight")));
    assert_tensors_refused("c-sequence", "classifier.bias", |tensors| {
        tensors.insert(tensor("classifier.bias"), zeros(&[2]));
    });
}

#[test]
fn heads_that_do_not_fit_are_refused_by_name() {
    let tensor = |name: &str| name.to_owned();
    for hidden in [15, 17] {
        assert_tensors_refused("a-one-file", "classifiers.1.weight", |tensors| {
            tensors.insert(tensor("classifiers.1.weight"), zeros(&[2, hidden]));
        });
        assert_tensors_refused("a-one-file", "Z.weight", |tensors| {
            tensors.insert(tensor("Z.weight"), zeros(&[10, hidden]));
        });
    }
    assert_tensors_refused("a-one-file", "at least one output", |tensors| {
        tensors.insert(tensor("classifiers.1.weight"), zeros(&[0, 16]));
        tensors.insert(tensor("classifiers.1.bias"), zeros(&[0]));
    });
    assert_tensors_refused("a-one-file", "10001 outputs", |tensors| {
        tensors.insert(tensor("classifiers.1.weight"), zeros(&[10_001, 16]));
        tensors.insert(tensor("classifiers.1.bias"), zeros(&[10_001]));
    });
    assert_tensors_refused("a-one-file", "10 names, but 9 classifiers", |tensors| {
        tensors.retain(|name, _| !name.starts_with("classifiers.4."));
    });
    assert_tensors_refused("a-one-file", "classifiers.4.weight", |tensors| {
        tensors.remove("classifiers.4.weight");
    });
    assert_tensors_refused("a-one-file", "both names", |tensors| drop(tensors.insert(tensor("Z"), zeros(&[10, 16]))));
    assert_tensors_refused("a-one-file", "that is not finite", |tensors| {
        tensors.get_mut("Z.weight").unwrap().2[..2].copy_from_slice(&[0x00, 0x7c]);
    });
    assert_config_refused("a-one-file", "9 names", |config| drop(config["tasks"].as_array_mut().unwrap().pop()));
    assert_config_refused("a-one-file", "listed twice", |config| config["tasks"][1] = "glue/mnli".into());
    assert_config_refused("a-one-file", "10001 labels", |config| {
        config["labels_list"] = json!([(0..10_001).collect::<Vec<_>>()]);
    });
    assert_config_refused("a-one-file", "only in case", |config| config["tasks"][0] = "wanli".into());
    assert_config_refused("a-one-file", "lists no tasks", |config| config["tasks"] = json!([]));
    assert_config_refused("a-one-file", "both be called", |config| {
        config["tasks"][0] = "a b".into();
        config["tasks"][1] = "a-b".into();
    });
}

#[test]
fn headers_that_lie_are_refused_at_once() {
    let header = |text: &str, data: usize| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let one = |name: &str, dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let two = |from: usize| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"F32","shape":[2],"data_offsets":[{from},{}]}}}}"#,
            from + 8
        )
    };
    let sound = one("a", "F32", "[2]", "[0,8]");
    let lengths = [0, 8, 1 << 63, u64::MAX].map(|length: u64| length.to_le_bytes().to_vec());
    let many: Vec<String> =
        (0..40_000).map(|at| format!(r#""{at}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    let mut files = vec![
        Vec::new(),
        vec![0; 7],
        b"PK\x03\x04aaaaaaaaaaaa".to_vec(),
        header(" {}", 0),
        header(&sound, 9),
        header(&sound, 7),
        header(&sound.replacen('}', r#"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#, 1), 8),
        header(&one(r"a\u0000", "F32", "[2]", "[0,8]"), 8),
        header(&one(r"a\nb", "F32", "[2]", "[0,8]"), 8),
        header(&one("../a", "F32", "[2]", "[0,8]"), 8),
        header(&two(4), 12),
        header(&two(12), 20),
        header(&one("a", "F4", "[4]", "[0,2]"), 2),
        header(&one("a", "F32", "[18446744073709551615,0]", "[0,0]"), 0),
        header(&one("a", "F32", "[4611686018427387904,4]", "[0,8]"), 8),
        header(&one("a", "F32", &format!("[{}1]", "1,".repeat(1_000_000)), "[0,4]"), 4),
        header(&one("a", "F32", "[2]", "[8,0]"), 8),
        header(&one("a", "F32", "[2]", "[0,18446744073709551615]"), 8),
        header(&format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000)), 0),
        header(&format!("{{{}}}", many.join(",")), 0),
        header(&format!("{{{}}}", " ".repeat(5 << 20)), 0),
    ];
    files.extend(lengths);
    let whole = header(&sound, 8);
    files.extend((0..whole.len()).map(|cut| whole[..cut].to_vec()));
    let (_folder, model) = copied("c-sequence");
    let start = SystemTime::now();
    let n_files = files.len();
    for file in files {
        std::fs::write(model.join("model.safetensors"), &file).unwrap();
        assert_refused(&model, "model.safetensors is refused");
    }
    let elapsed = start.elapsed().unwrap();
    assert!(elapsed.as_millis() < 100 * n_files as u128, "{elapsed:?} for {n_files} files");
}

#[test]
fn configurations_that_ask_for_something_else_are_refused_by_key() {
    for (key, value) in [
        ("pos_att_type", json!("p2c|p2p")),
        ("hidden_act", json!("mish")),
        ("conv_kernel_size", json!(2)),
        ("num_attention_heads", json!(3)),
        ("model_type", json!("bert")),
        ("vocab_size", json!(-1)),
        ("hidden_size", json!(1_u64 << 40)),
        ("pooler_hidden_size", json!(8)),
    ] {
        assert_config_refused("c-sequence", key, |config| config[key] = value);
    }
    assert_config_refused("c-sequence", "DebertaV2ForQuestionAnswering", |config| {
        config["architectures"] = json!(["DebertaV2ForQuestionAnswering"]);
    });
    assert_config_refused("c-sequence", "asked to be regression", |config| {
        config["problem_type"] = "regression".into()
    });
}

#[test]
fn malformed_json_is_refused_by_file() {
    let (_folder, model) = copied("c-sequence");
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for file in ["tokenizer_config.json", "tokenizer.json", "config.json"] {
        let path = model.join(file);
        let good = std::fs::read(&path).unwrap();
        for bad in ["", "{", "[]", "null", "\u{feff}{}", deep.as_str()] {
            std::fs::write(&path, bad).unwrap();
            assert_refused(&model, file);
        }
        std::fs::File::create(&path).unwrap().set_len(80 << 20).unwrap();
        assert_refused(&model, file);
        std::fs::write(&path, good).unwrap();
    }
    import(&model).unwrap();
}

#[test]
fn labels_that_cannot_be_used_are_replaced_and_reported() {
    let many = "x ".repeat(300);
    for labels in [
        json!({"0": "a", "1": "a", "2": "b"}),
        json!({"0": "a", "1": "b\n", "2": "c"}),
        json!({"0": "a", "1": "", "2": "c"}),
        json!({"0": "a", "1": "b".repeat(1 << 20), "2": many}),
        json!({"0": "a", "2": "b"}),
        json!({"zero": "a", "1": "b", "2": "c"}),
    ] {
        let (_folder, model) = copied("c-sequence");
        change_json(&model.join("config.json"), |config| config["id2label"] = labels);
        let (report, ..) = import(&model).unwrap();
        assert_eq!(report.heads[0].labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    }
}

#[test]
fn a_sentencepiece_file_alone_is_answered_with_the_line_that_converts_it() {
    let (_folder, model) = copied("c-sequence");
    std::fs::rename(model.join("tokenizer.json"), model.join("spm.model")).unwrap();
    assert_refused(&model, "from transformers import AutoTokenizer");
    std::fs::remove_file(model.join("spm.model")).unwrap();
    assert_refused(&model, "has no tokenizer.json");
}

#[test]
fn shards_must_hold_what_their_index_says() {
    let (_folder, model) = copied("c-sequence");
    let bytes = std::fs::read(model.join("model.safetensors")).unwrap();
    let names: Vec<String> = SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(str::to_owned).collect();
    let shard = "model-00001-of-00001.safetensors";
    std::fs::rename(model.join("model.safetensors"), model.join(shard)).unwrap();
    let index = |names: &[String]| {
        let map: BTreeMap<&String, &str> = names.iter().map(|name| (name, shard)).collect();
        std::fs::write(model.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    };
    index(&names);
    let (sharded, ..) = import(&model).unwrap();
    let (whole, ..) = import(&fixture("c-sequence")).unwrap();
    assert_eq!(sharded.encoder, whole.encoder);
    index(&names[1..]);
    assert_refused(&model, "as well");
    index(&[names.as_slice(), &["ghost".to_owned()]].concat());
    assert_refused(&model, "tensor ghost is missing");
    std::fs::remove_file(model.join(shard)).unwrap();
    assert_refused(&model, "00001-of-00001");
}
