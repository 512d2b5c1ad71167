//! What is written for `transformers`, number by number.

use std::collections::BTreeMap;

use engine::{HeadKind, HeadParts};
use tempfile::TempDir;

use super::*;
use crate::testing::{HIDDEN, adapter, head};
use crate::weights::{Array, written};

const VOCABULARY: usize = 6;
const TOKEN: u32 = 2;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((seed * 7 + index) % 11) as f32 * 0.25 - 1.0).collect()
}

/// An encoder of twelve layers, as far as the adapter of these tests changes them.
fn encoder() -> TempDir {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join(CONFIG), r#"{"model_type": "deberta-v2", "hidden_size": 4}"#).unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    let shapes = [
        (WORDS.to_owned(), vec![VOCABULARY, HIDDEN]),
        ("deberta.encoder.layer.0.attention.self.query_proj.weight".to_owned(), vec![HIDDEN, HIDDEN]),
        ("deberta.encoder.layer.0.intermediate.dense.weight".to_owned(), vec![3 * HIDDEN, HIDDEN]),
        ("deberta.encoder.layer.11.output.dense.weight".to_owned(), vec![HIDDEN, 3 * HIDDEN]),
        ("deberta.encoder.layer.11.output.dense.bias".to_owned(), vec![HIDDEN]),
        ("pooler.dense.weight".to_owned(), vec![HIDDEN, HIDDEN]),
        ("pooler.dense.bias".to_owned(), vec![HIDDEN]),
    ];
    let fill = |(seed, (name, shape)): (usize, (String, Vec<usize>))| {
        let filled = numbers(shape.iter().product(), seed);
        (name, filled, shape)
    };
    let filled: Vec<_> = shapes.into_iter().enumerate().map(fill).collect();
    let arrays: Vec<Array<'_>> =
        filled.iter().map(|(name, numbers, shape)| (name.clone(), shape.clone(), numbers.as_slice())).collect();
    std::fs::write(dir.path().join(MODEL), written(&arrays).unwrap()).unwrap();
    dir
}

fn plan(dir: &TempDir, head: &Head, token: Option<u32>) -> Result<TransformersExport, RegistryError> {
    TransformersExport::plan(dir.path(), &"a/b".parse().unwrap(), head, token)
}

/// The files of an export.
fn files(export: &TransformersExport) -> BTreeMap<&'static str, Vec<u8>> {
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let sink = |name, bytes: &[u8]| {
        assert!(bytes.len() <= EXPORT_CHUNK_BYTES);
        files.entry(name).or_default().extend(bytes);
        Ok::<_, RegistryError>(())
    };
    export.write(sink).unwrap();
    for (name, bytes, digest) in export.declared().unwrap() {
        assert_eq!((files[name].len() as u64, Digest::of(&files[name])), (bytes, digest));
    }
    files
}

fn tensors(model: &[u8]) -> BTreeMap<String, Vec<f32>> {
    let read = safetensors::SafeTensors::deserialize(model).unwrap();
    let floats = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    read.iter().map(|(name, view)| (name.to_owned(), floats(view.data()))).collect()
}

fn original(dir: &TempDir) -> BTreeMap<String, Vec<f32>> {
    tensors(&std::fs::read(dir.path().join(MODEL)).unwrap())
}

fn changed(head: &Head, change: impl FnOnce(&mut HeadParts)) -> Head {
    let mut parts = head.parts().clone();
    change(&mut parts);
    Head::new(head.kind(), HIDDEN, parts).unwrap()
}

#[test]
fn the_task_embedding_lies_in_the_first_token_s_row_and_the_rest_is_untouched() {
    let dir = encoder();
    let head = head(1);
    let files = files(&plan(&dir, &head, Some(TOKEN)).unwrap());
    let (found, mut expected) = (tensors(&files[MODEL]), original(&dir));
    let row = &mut expected.get_mut(WORDS).unwrap()[2 * HIDDEN..3 * HIDDEN];
    row.iter_mut().for_each(|number| *number += 0.5);
    expected.insert("classifier.weight".to_owned(), head.parts().weight.to_vec());
    expected.insert("classifier.bias".to_owned(), head.parts().bias.to_vec());
    assert_eq!(found, expected);
    assert_eq!(files["tokenizer.json"], b"{}");
    let config: Value = serde_json::from_slice(&files[CONFIG]).unwrap();
    assert_eq!(config["architectures"][0], "DebertaV2ForSequenceClassification");
    assert_eq!((&config["id2label"]["1"], &config["label2id"]["yes"]), (&"yes".into(), &1.into()));
    assert_eq!((&config["problem_type"], &config["hidden_size"]), (&"single_label_classification".into(), &4.into()));
    assert_eq!(config["headwater"]["kind"], "classification");
}

#[test]
fn a_task_embedding_is_left_out_where_calls_do_not_use_it_and_refused_without_a_first_token() {
    let dir = encoder();
    let off = changed(&head(1), |parts| parts.task_embedding_by_default = false);
    let found = tensors(&files(&plan(&dir, &off, None).unwrap())[MODEL]);
    assert_eq!(found[WORDS], original(&dir)[WORDS]);
    assert!(matches!(plan(&dir, &head(1), None), Err(RegistryError::Folder { .. })));
    let refused = plan(&dir, &head(1), Some(VOCABULARY as u32)).unwrap_err().to_string();
    assert!(refused.contains("beyond a vocabulary of 6"), "{refused}");
}

#[test]
fn an_adapter_is_merged_and_its_pooler_takes_the_place_of_the_encoder_s() {
    let dir = encoder();
    let adapter = adapter(true);
    let head = changed(&head(1), |parts| {
        parts.task_embedding = None;
        parts.adapter = Some(Arc::new(adapter.clone()));
    });
    let (found, before) = (tensors(&files(&plan(&dir, &head, None).unwrap())[MODEL]), original(&dir));
    for (layer, site, part) in adapter.parts() {
        let name = format!("{}.weight", linear_module(layer, site));
        let (rank, inputs) = (part.rank(), part.inputs());
        for (place, number) in found[&name].iter().enumerate() {
            let (row, column) = (place / inputs, place % inputs);
            let term = |at: usize| part.up()[row * rank + at] * part.down()[at * inputs + column];
            let expected = before[&name][place] + (0..rank).map(term).sum::<f32>();
            assert!((number - expected).abs() < 1e-5, "{name}, {place}: {number}, not {expected}");
        }
    }
    assert_eq!(found["pooler.dense.weight"], vec![0.5; HIDDEN * HIDDEN]);
    assert_eq!(found["pooler.dense.bias"], vec![1.0; HIDDEN]);
    let bias = "deberta.encoder.layer.11.output.dense.bias";
    assert_eq!(found[bias], before[bias]);
}

#[test]
fn a_head_on_tokens_has_no_pooler_and_a_missing_layer_is_named() {
    let dir = encoder();
    let parts = HeadParts { task_embedding: None, ..head(1).parts().clone() };
    let on_tokens = Head::new(HeadKind::TokenClassification, HIDDEN, parts).unwrap();
    let files = files(&plan(&dir, &on_tokens, None).unwrap());
    assert!(tensors(&files[MODEL]).keys().all(|name| !name.starts_with(POOLER)));
    let config: Value = serde_json::from_slice(&files[CONFIG]).unwrap();
    assert_eq!(config["architectures"][0], "DebertaV2ForTokenClassification");

    let arrays: Vec<Array<'_>> = vec![(WORDS.to_owned(), vec![1, HIDDEN], &[0.0; HIDDEN])];
    std::fs::write(dir.path().join(MODEL), written(&arrays).unwrap()).unwrap();
    let adapted = changed(&head(1), |parts| parts.adapter = Some(Arc::new(adapter(false))));
    let refused = plan(&dir, &adapted, Some(0)).unwrap_err().to_string();
    assert!(refused.contains("layer.0.attention.self.query_proj.weight"), "{refused}");
}

#[test]
fn half_precision_is_kept_but_for_what_changes() {
    let dir = encoder();
    let half = |number: f32| f16::from_f32(number).to_le_bytes();
    let words: Vec<u8> = numbers(VOCABULARY * HIDDEN, 0).into_iter().flat_map(half).collect();
    let bias: Vec<u8> = numbers(HIDDEN, 1).into_iter().flat_map(half).collect();
    let halves = safetensors::Dtype::F16;
    let words = safetensors::tensor::TensorView::new(halves, vec![VOCABULARY, HIDDEN], &words).unwrap();
    let pooler = safetensors::tensor::TensorView::new(halves, vec![HIDDEN], &bias).unwrap();
    let bytes = safetensors::serialize([(WORDS, words), ("pooler.dense.bias", pooler)], None).unwrap();
    std::fs::write(dir.path().join(MODEL), bytes).unwrap();
    let model = files(&plan(&dir, &head(1), Some(TOKEN)).unwrap()).remove(MODEL).unwrap();
    let read = safetensors::SafeTensors::deserialize(&model).unwrap();
    let kept = read.tensor("pooler.dense.bias").unwrap();
    assert_eq!((kept.dtype(), kept.data()), (safetensors::Dtype::F16, &bias[..]));
    assert_eq!(read.tensor(WORDS).unwrap().dtype(), safetensors::Dtype::F32);
    let mut expected = numbers(VOCABULARY * HIDDEN, 0);
    expected[2 * HIDDEN..3 * HIDDEN].iter_mut().for_each(|number| *number += 0.5);
    assert_eq!(tensors(&model)[WORDS], expected);
}
