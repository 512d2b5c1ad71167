//! Rows that carry an adapter, on a tiny random encoder: alike on both kinds of kernels, and nobody else's business.

use std::collections::BTreeMap;

use engine::{Adapter, LowRank, OwnPooler, Site};

use super::*;
use crate::packing::Granularity;

const TOLERANCE: f32 = 1e-5;
const INNER: usize = 2 * HIDDEN;

fn part(rank: usize, inputs: usize, outputs: usize, seed: usize) -> LowRank {
    let numbers = |count, seed| noise(count, seed).into_iter().map(|number| 0.4 * number).collect();
    LowRank::new(rank, numbers(rank * inputs, seed), numbers(rank * outputs, seed + 500))
}

fn widths(site: Site) -> (usize, usize) {
    match site {
        Site::Query | Site::Key | Site::Value | Site::AttentionOutput => (HIDDEN, HIDDEN),
        Site::Intermediate => (HIDDEN, INNER),
        Site::Output => (INNER, HIDDEN),
    }
}

/// An adapter that changes `sites` of both layers, with another rank at each.
fn adapter(sites: &[Site], with_pooler: bool, seed: usize) -> Arc<Adapter> {
    let mut parts = BTreeMap::new();
    for (place, site) in sites.iter().enumerate() {
        for layer in 0..2 {
            let (inputs, outputs) = widths(*site);
            parts.insert((layer, *site), part(1 + (place + layer) % 6, inputs, outputs, seed + 31 * place + layer));
        }
    }
    let pooler = OwnPooler { weight: noise(HIDDEN * HIDDEN, seed).into(), bias: noise(HIDDEN, seed + 1).into() };
    Arc::new(Adapter::new(HIDDEN, parts, with_pooler.then_some(pooler)).unwrap())
}

/// Rows of many lengths: with the first of `adapters`, with none, with the second, and so on.
fn rows(adapters: &[Arc<Adapter>]) -> Vec<Row> {
    let lengths = [5, 1, 32, 5, 17, 2, 5, 30, 17, 9];
    let with = |(seed, length): (usize, &usize)| {
        let adapter = (seed % 2 == 0).then(|| Arc::clone(&adapters[seed / 2 % adapters.len()]));
        let mut row = Row { adapter, ..row(*length, seed) };
        row.reads.tokens = seed % 3 == 0;
        row
    };
    lengths.iter().enumerate().map(with).collect()
}

fn every_set() -> Vec<Vec<Arc<Adapter>>> {
    let single = Site::ALL.map(|site| vec![adapter(&[site], false, site as usize)]);
    let mut sets = single.to_vec();
    sets.push(vec![adapter(&[], true, 7)]);
    sets.push(vec![adapter(&[Site::Key, Site::Value], false, 8)]);
    sets.push(vec![adapter(&Site::ALL, true, 9), adapter(&[Site::Value, Site::Output], false, 10)]);
    sets
}

#[test]
fn all_kernels_make_the_same_of_every_adapter() {
    let mut plain = load_on(Kernels::Libtorch, Precision::Fp32, true);
    let mut own = [Kernels::Auto, Kernels::Avx2].map(|kernels| load_on(kernels, Precision::Fp32, true));
    let without: Vec<Row> = rows(&every_set()[0]).into_iter().map(|row| Row { adapter: None, ..row }).collect();
    let without = plain.forward(&without).unwrap();
    for (number, adapters) in every_set().iter().enumerate() {
        let rows = rows(adapters);
        let expected = plain.forward(&rows).unwrap();
        let found = own.each_mut().map(|model| model.forward(&rows).unwrap());
        for (place, expected) in expected.iter().enumerate() {
            for found in &found {
                let difference = largest_difference(expected, &found[place]);
                assert!(difference <= TOLERANCE, "set {number}, row {place}: {difference}");
            }
            let moved = largest_difference(expected, &without[place]);
            let adapted = rows[place].adapter.is_some();
            assert_eq!(adapted, moved > 5e-5, "set {number}, row {place}: {moved}");
        }
    }
}

#[test]
fn a_row_with_an_adapter_answers_among_others_as_alone() {
    for kernels in [Kernels::Auto, Kernels::Avx2, Kernels::Libtorch] {
        let mut model = load_on(kernels, Precision::Fp32, true);
        for adapters in every_set() {
            let rows = rows(&adapters);
            let together = model.forward(&rows).unwrap();
            for (row, output) in rows.iter().zip(&together) {
                let alone = model.forward(std::slice::from_ref(row)).unwrap();
                let difference = largest_difference(&alone[0], output);
                assert!(difference <= TOLERANCE, "{kernels}, {} tokens: {difference}", row.tokens.len());
            }
        }
    }
}

#[test]
fn padding_to_whole_tiles_changes_nothing_of_it() {
    let mut model = load_tensors(Device::Cpu, Precision::Fp32);
    let rows = rows(every_set().last().unwrap());
    let expected = model.forward(&rows).unwrap();
    let Backbone::Tensors(tensors) = &mut model.backbone else { panic!("libtorch was asked for") };
    tensors.encoder.granularity = Granularity::Tiles;
    for (expected, found) in expected.iter().zip(&model.forward(&rows).unwrap()) {
        let difference = largest_difference(expected, found);
        assert!(difference <= TOLERANCE, "{difference}");
    }
}

#[test]
fn reduced_modes_stay_near_fp32() {
    let mut exact = load_random(Precision::Fp32, true);
    let mut modes = vec![load_on(Kernels::Libtorch, Precision::Bf16, true), load_random(Precision::Bf16, true)];
    if kernels::Instructions::best(kernels::Precision::Int8).is_ok() {
        modes.push(load_random(Precision::Int8, true));
    }
    let rows = rows(every_set().last().unwrap());
    let expected = exact.forward(&rows).unwrap();
    for mut rough in modes {
        let found = rough.forward(&rows).unwrap();
        let differences = expected.iter().zip(&found).map(|(one, other)| largest_difference(one, other));
        let largest = differences.fold(0.0, f32::max);
        assert!(largest > 1e-6 && largest < 0.25, "{}: {largest}", rough.info().dtype);
    }
}

#[test]
fn position_tables_follow_when_rows_grow_longer_than_the_tables_reach() {
    // Without absolute positions rows may be of any length.
    let folder = encoder_folder(Parts { with_pooler: true, with_convolution: false });
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["position_biased_input"] = false.into();
    std::fs::write(&path, config.to_string()).unwrap();
    let mut own = load(folder.path(), options(Kernels::Auto, Precision::Fp32)).unwrap();
    let mut plain = load(folder.path(), options(Kernels::Libtorch, Precision::Fp32)).unwrap();
    let adapter = adapter(&Site::ALL, false, 11);
    for length in [20, 600, 20] {
        let rows = [Row { adapter: Some(Arc::clone(&adapter)), ..row(length, 2) }];
        let difference = largest_difference(&own.forward(&rows).unwrap()[0], &plain.forward(&rows).unwrap()[0]);
        assert!(difference <= TOLERANCE, "{length} tokens: {difference}");
    }
}

#[test]
fn adapters_of_other_encoders_are_refused_by_reason() {
    let mut model = load_random(Precision::Fp32, true);
    let with = |hidden, place, part| Some(Arc::new(Adapter::new(hidden, [(place, part)].into(), None).unwrap()));
    let narrow = with(HIDDEN - 1, (0, Site::Query), part(1, HIDDEN - 1, HIDDEN - 1, 1));
    assert!(misfit(&mut model, |bad| bad.adapter = narrow).contains("width of 7, not 8"));
    let deep = with(HIDDEN, (2, Site::Query), part(1, HIDDEN, HIDDEN, 1));
    assert!(misfit(&mut model, |bad| bad.adapter = deep).contains("changes layer 2, the encoder has 2"));
    let wide = with(HIDDEN, (0, Site::Output), part(1, INNER + 1, HIDDEN, 1));
    assert!(misfit(&mut model, |bad| bad.adapter = wide).contains("17 wide inside, not 16"));
}
