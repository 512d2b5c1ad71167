//! What the model owes the engine, on a tiny random encoder. Its numbers are held to the reference elsewhere.

mod adapters;
mod gpu;
mod padding;

use std::sync::Arc;

use engine::{Reads, Tokens};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::json;
use tch::{Kind, Tensor};

use super::*;

const HIDDEN: usize = 8;
const VOCABULARY: usize = 20;
const POSITIONS: usize = 32;

/// Numbers between -1 and 1 that look like noise and are the same everywhere.
fn noise(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| (((seed * 1_009 + index) as f64 * 12.9898).sin() * 43_758.545).fract() as f32).collect()
}

fn tensors(parts: Parts) -> Vec<(String, Vec<usize>)> {
    let square = |name: &str| (name.to_owned(), HIDDEN, HIDDEN);
    let mut dense = vec![];
    let mut shapes = vec![
        ("deberta.embeddings.word_embeddings.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("deberta.embeddings.position_embeddings.weight".to_owned(), vec![POSITIONS, HIDDEN]),
        ("deberta.embeddings.token_type_embeddings.weight".to_owned(), vec![2, HIDDEN]),
        ("deberta.encoder.rel_embeddings.weight".to_owned(), vec![16, HIDDEN]),
    ];
    let mut norms = vec!["deberta.embeddings".to_owned(), "deberta.encoder".to_owned()];
    if parts.with_convolution {
        shapes.push(("deberta.encoder.conv.conv.weight".to_owned(), vec![HIDDEN, HIDDEN, 3]));
        shapes.push(("deberta.encoder.conv.conv.bias".to_owned(), vec![HIDDEN]));
        norms.push("deberta.encoder.conv".to_owned());
    }
    for layer in 0..2 {
        let layer = format!("deberta.encoder.layer.{layer}");
        for part in ["self.query_proj", "self.key_proj", "self.value_proj", "output.dense"] {
            dense.push(square(&format!("{layer}.attention.{part}")));
        }
        dense.push((format!("{layer}.intermediate.dense"), 2 * HIDDEN, HIDDEN));
        dense.push((format!("{layer}.output.dense"), HIDDEN, 2 * HIDDEN));
        norms.extend([format!("{layer}.attention.output"), format!("{layer}.output")]);
    }
    if parts.with_pooler {
        dense.push(square("pooler.dense"));
    }
    for (name, outputs, inputs) in dense {
        shapes.push((format!("{name}.weight"), vec![outputs, inputs]));
        shapes.push((format!("{name}.bias"), vec![outputs]));
    }
    for name in norms {
        shapes.extend(["weight", "bias"].map(|part| (format!("{name}.LayerNorm.{part}"), vec![HIDDEN])));
    }
    shapes
}

fn load_random(precision: Precision, with_pooler: bool) -> Deberta {
    load_on(Kernels::Auto, precision, with_pooler)
}

fn load_on(kernels: Kernels, precision: Precision, with_pooler: bool) -> Deberta {
    load(encoder_folder(Parts { with_pooler, with_convolution: false }).path(), options(kernels, precision)).unwrap()
}

/// An encoder with a convolution, of tensors.
fn load_tensors(device: Device, precision: Precision) -> Deberta {
    let folder = encoder_folder(Parts { with_pooler: true, with_convolution: true });
    load(folder.path(), LoadOptions { device, ..options(Kernels::Libtorch, precision) }).unwrap()
}

/// What an encoder may do without.
#[derive(Clone, Copy)]
struct Parts {
    with_pooler: bool,
    with_convolution: bool,
}

fn encoder_folder(parts: Parts) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut config = json!({"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 2 * HIDDEN, "max_position_embeddings": POSITIONS,
        "relative_attention": true, "position_buckets": 8, "pos_att_type": "c2p|p2c", "share_att_key": true,
        "norm_rel_ebd": "layer_norm", "position_biased_input": true, "type_vocab_size": 2});
    if parts.with_convolution {
        config["conv_kernel_size"] = 3.into();
        config["conv_act"] = "gelu".into();
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors(parts)
        .into_iter()
        .enumerate()
        .map(|(seed, (name, shape))| {
            let numbers = noise(shape.iter().product(), seed);
            (name, shape, numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    folder
}

fn options(kernels: Kernels, precision: Precision) -> LoadOptions {
    LoadOptions { encoder_digest: "sha256:00".to_owned(), device: Device::Cpu, precision, threads: 1, kernels }
}

fn row(length: usize, seed: usize) -> Row {
    let ids = (0..length).map(|at| ((at * 7 + seed) % VOCABULARY) as u32).collect();
    let tokens = Tokens { ids, type_ids: vec![0; length], origins: vec![None; length], cut: None };
    Row {
        tokens: Arc::new(tokens),
        task_embedding: (seed % 2 == 1).then(|| noise(HIDDEN, seed).into()),
        adapter: None,
        reads: Reads { pooled: true, cls: true, tokens: false },
    }
}

fn largest_difference(one: &RowOutput, other: &RowOutput) -> f32 {
    let numbers = |output: &RowOutput| -> Vec<f32> {
        let parts = [&output.pooled, &output.cls, &output.tokens];
        parts.into_iter().flatten().flat_map(|part| part.iter().copied()).collect()
    };
    let (one, other) = (numbers(one), numbers(other));
    assert_eq!(one.len(), other.len());
    one.iter().zip(&other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

fn misfit(model: &mut Deberta, change: impl FnOnce(&mut Row)) -> String {
    let mut bad = row(4, 0);
    change(&mut bad);
    match model.forward(&[row(3, 0), bad]) {
        Err(ModelError::RowMisfit { row: 1, reason }) => reason,
        other => panic!("expected a refusal of row 1, got {other:?}"),
    }
}

#[test]
fn a_row_keeps_its_place_and_its_answer_among_others() {
    let mut model = load_random(Precision::Fp32, true);
    let rows: Vec<Row> = [5, 1, 32, 5, 17, 2].into_iter().enumerate().map(|(seed, length)| row(length, seed)).collect();
    let together = model.forward(&rows).unwrap();
    for (row, output) in rows.iter().zip(&together) {
        let alone = model.forward(std::slice::from_ref(row)).unwrap();
        let difference = largest_difference(&alone[0], output);
        assert!(difference <= 1e-5, "{} tokens: {difference}", row.tokens.len());
    }
    assert!(largest_difference(&together[0], &together[3]) > 1e-3, "unlike rows have unlike answers");
}

#[test]
fn a_neighbour_that_reads_every_token_changes_nothing() {
    let mut model = load_random(Precision::Fp32, true);
    let plain = [row(6, 0), row(9, 1)];
    let mut mixed = plain.clone();
    mixed[1].reads.tokens = true;
    let (before, after) = (model.forward(&plain).unwrap(), model.forward(&mixed).unwrap());
    assert!(largest_difference(&before[0], &after[0]) <= 1e-5);
    assert_eq!(after[0].tokens, None, "only who reads every token gets them");
    let tokens = after[1].tokens.as_ref().unwrap();
    assert_eq!(tokens.len(), 9 * HIDDEN);
    assert_eq!(tokens[..HIDDEN], after[1].cls.as_ref().unwrap()[..]);
}

#[test]
fn a_task_embedding_moves_the_answer_and_absent_types_are_zero() {
    let mut model = load_random(Precision::Fp32, true);
    let (with, mut without, mut untyped) = (row(6, 1), row(6, 1), row(6, 1));
    without.task_embedding = None;
    Arc::make_mut(&mut untyped.tokens).type_ids.clear();
    let outputs = model.forward(&[with, without, untyped]).unwrap();
    assert!(largest_difference(&outputs[0], &outputs[1]) > 1e-3);
    assert!(largest_difference(&outputs[0], &outputs[2]) <= 1e-5);
}

#[test]
fn rows_that_do_not_fit_are_refused_by_place_and_reason() {
    let mut model = load_random(Precision::Fp32, true);
    let tokens = |row: &mut Row| Arc::clone(&row.tokens);
    assert!(misfit(&mut model, |bad| Arc::make_mut(&mut bad.tokens).ids.clear()).contains("no tokens"));
    assert!(misfit(&mut model, |bad| Arc::make_mut(&mut bad.tokens).ids[2] = 20).contains("token id 20"));
    assert!(misfit(&mut model, |bad| Arc::make_mut(&mut bad.tokens).type_ids[2] = 2).contains("token type 2"));
    assert!(misfit(&mut model, |bad| Arc::make_mut(&mut bad.tokens).type_ids.push(0)).contains("5 token types"));
    assert!(misfit(&mut model, |bad| bad.tokens = tokens(&mut row(33, 0))).contains("33 tokens"));
    assert!(misfit(&mut model, |bad| bad.task_embedding = Some(vec![0.0; 7].into())).contains("7 numbers"));
    assert!(misfit(&mut model, |bad| bad.task_embedding = Some(vec![f32::NAN; 8].into())).contains("not finite"));
}

#[test]
fn without_a_pooler_only_the_other_parts_are_served() {
    let mut model = load_random(Precision::Fp32, false);
    assert!(!model.info().has_pooler);
    let mut tagged = row(4, 0);
    tagged.reads = Reads { pooled: false, cls: true, tokens: true };
    let output = model.forward(&[tagged.clone()]).unwrap().remove(0);
    assert_eq!(output.tokens.map(|tokens| tokens.len()), Some(4 * HIDDEN));
    assert!(output.cls.is_some() && output.pooled.is_none());
    tagged.reads.pooled = true;
    for refused in [row(4, 0), tagged] {
        let refused = model.forward(&[refused]);
        assert!(matches!(refused, Err(ModelError::RowMisfit { row: 0, reason }) if reason.contains("no pooler")));
    }
}

#[test]
fn an_output_that_is_not_finite_names_its_row() {
    let mut model = load_random(Precision::Fp32, true);
    let mut huge = row(4, 1);
    let sign = |at: usize| if at.is_multiple_of(2) { 1.0 } else { -1.0 };
    huge.task_embedding = Some((0..HIDDEN).map(|at| sign(at) * f32::MAX).collect());
    assert_eq!(model.forward(&[row(2, 0), huge]), Err(ModelError::NotFinite { row: 1 }));
    assert!(model.forward(&[row(2, 0)]).is_ok());
}

#[test]
fn no_rows_have_no_outputs() {
    assert_eq!(load_random(Precision::Fp32, true).forward(&[]), Ok(Vec::new()));
}

fn pool(model: &Deberta, input: &Tensor) -> Tensor {
    let Backbone::Tensors(tensors) = &model.backbone else { panic!("libtorch was asked for") };
    tensors.pool(input).unwrap()
}

#[test]
fn no_gradient_is_tracked_even_after_another_model_is_gone() {
    let mut model = load_on(Kernels::Libtorch, Precision::Fp32, true);
    drop(load_on(Kernels::Libtorch, Precision::Fp32, true));
    let input = Tensor::f_zeros([1, 8], (Kind::Float, tch::Device::Cpu)).unwrap().f_set_requires_grad(true).unwrap();
    let _no_gradients = tch::no_grad_guard();
    assert!(!pool(&model, &input).requires_grad());
    drop(_no_gradients);
    model.forward(&[row(4, 0)]).unwrap();
    assert!(pool(&model, &input).requires_grad(), "the guard ends with the call");
}

/// Largest difference between the two models on rows of many lengths, some of which read every token.
fn distance(one: &mut Deberta, other: &mut Deberta) -> f32 {
    let mut rows: Vec<Row> = (1..9).map(|seed| row(4 * seed, seed)).collect();
    rows[2].reads.tokens = true;
    let (one, other) = (one.forward(&rows).unwrap(), other.forward(&rows).unwrap());
    one.iter().zip(&other).map(|(one, other)| largest_difference(one, other)).fold(0.0, f32::max)
}

#[test]
fn kernels_equal_the_plain_path() {
    let mut plain = load_on(Kernels::Libtorch, Precision::Fp32, true);
    for kernels in [Kernels::Auto, Kernels::Avx2] {
        let largest = distance(&mut plain, &mut load_on(kernels, Precision::Fp32, true));
        assert!(largest <= 1e-5, "{kernels}: {largest}");
    }
}

#[test]
fn reduced_modes_stay_near_fp32() {
    let mut exact = load_random(Precision::Fp32, true);
    let mut modes = vec![load_on(Kernels::Libtorch, Precision::Bf16, true), load_random(Precision::Bf16, true)];
    if kernels::Instructions::best(kernels::Precision::Int8).is_ok() {
        modes.push(load_random(Precision::Int8, true));
    }
    for mut rough in modes {
        let largest = distance(&mut exact, &mut rough);
        assert!(largest > 1e-6 && largest < 0.2, "{}: {largest}", rough.info().dtype);
    }
}

#[test]
fn models_of_one_source_answer_alike() {
    let folder = encoder_folder(Parts { with_pooler: true, with_convolution: false });
    let source = Source::new(folder.path(), options(Kernels::Auto, Precision::Fp32));
    let (mut one, mut other) = (source.load().unwrap(), source.load().unwrap());
    assert_eq!(distance(&mut one, &mut other), 0.0);
}

#[test]
fn kernels_that_cannot_serve_say_why() {
    let folder = encoder_folder(Parts { with_pooler: true, with_convolution: false });
    let refused = load(folder.path(), options(Kernels::Libtorch, Precision::Int8)).unwrap_err();
    assert!(refused.to_string().contains("the options ask for libtorch"), "{refused}");
}

#[test]
fn the_model_says_what_it_is() {
    let expected = ModelInfo {
        encoder_digest: "sha256:00".to_owned(),
        hidden: HIDDEN,
        embedding: HIDDEN,
        vocabulary: VOCABULARY,
        max_positions: Some(POSITIONS),
        has_pooler: true,
        device: "cpu".to_owned(),
        dtype: "bf16".to_owned(),
    };
    assert_eq!(load_random(Precision::Bf16, true).info(), &expected);
}
