//! Rows that carry an adapter: the logits that `peft` gives, beside rows that carry none or another.

use std::path::Path;
use std::sync::Arc;

use checkpoint::{HeadOptions, HubSettings, ImportOptions, Source};
use deberta::Kernels;
use engine::{Adapter, Head, Model, Reads, Row, RowOutput, Tokens, score};
use serde::Deserialize;

use crate::chance::Chance;
use crate::fixtures::{self, largest_difference};

/// Absolute, on fp32 logits of about unit size.
const REFERENCE_TOLERANCE: f32 = 1e-4;
/// Absolute, between a row alone and the same row in a batch, and between the two kinds of kernels.
const NEIGHBOUR_TOLERANCE: f32 = 1e-5;
const SHUFFLES: u64 = 8;

/// `golden.json` of one fixture.
#[derive(Debug, Deserialize)]
struct Golden {
    rows: Vec<Sequence>,
    /// One a row, row-major.
    logits: Vec<Vec<f32>>,
}

#[derive(Debug, Deserialize)]
struct Sequence {
    ids: Vec<u32>,
    types: Option<Vec<u32>>,
}

/// One fixture, imported: its encoder as a bundle, its adapter as a head.
struct Case {
    name: String,
    golden: Golden,
    head: Head,
    folder: tempfile::TempDir,
}

impl Case {
    fn open(folder: &Path) -> Self {
        let place = tempfile::tempdir().unwrap();
        let bundle = place.path().join("bundle");
        let hub = HubSettings { offline: true, ..HubSettings::default() };
        let import = ImportOptions {
            source: Source::Folder(folder.join("model")),
            adapters: None,
            task: None,
            kinds_file: None,
            bundle: bundle.clone(),
            jail: crate::jail(),
            hub: hub.clone(),
        };
        checkpoint::import(&import).unwrap();
        let head = HeadOptions {
            source: Source::Folder(folder.join("adapter")),
            encoder_dir: bundle.join("encoder"),
            task: None,
            kind: None,
            lora: Some(16),
            leave_out_rest: false,
            scratch: place.path().to_owned(),
            jail: crate::jail(),
            hub,
        };
        let head = checkpoint::import_head(&head).unwrap().head;
        let golden = fixtures::read_json(&folder.join("golden.json"));
        Self { name: fixtures::name(folder), golden, head, folder: place }
    }

    fn model(&self, kernels: Kernels) -> deberta::Deberta {
        crate::encoder_on(&self.folder.path().join("bundle/encoder"), kernels)
    }

    fn adapter(&self) -> &Arc<Adapter> {
        self.head.parts().adapter.as_ref().unwrap()
    }

    /// The fixture's rows, all with `adapter`.
    fn rows(&self, adapter: Option<&Arc<Adapter>>) -> Vec<Row> {
        let row = |sequence: &Sequence| {
            let length = sequence.ids.len();
            let tokens = Tokens {
                ids: sequence.ids.clone(),
                type_ids: sequence.types.clone().unwrap_or_else(|| vec![0; length]),
                origins: vec![None; length],
                cut: None,
            };
            let reads = Reads::of_kind(self.head.kind());
            Row { tokens: Arc::new(tokens), task_embedding: None, adapter: adapter.cloned(), reads }
        };
        self.golden.rows.iter().map(row).collect()
    }

    /// The rows with the fixture's adapter, with none, and with one that does half as much.
    fn mixed(&self) -> Vec<Row> {
        let half = Arc::new(halved(self.adapter()));
        [Some(self.adapter()), None, Some(&half)].into_iter().flat_map(|adapter| self.rows(adapter)).collect()
    }

    fn logits(&self, output: &RowOutput) -> Vec<f32> {
        score(&self.head, output).unwrap().logits
    }
}

fn halved(adapter: &Adapter) -> Adapter {
    let half = |numbers: &[f32]| numbers.iter().map(|number| number / 2.0).collect();
    let part = |part: &engine::LowRank| engine::LowRank::new(part.rank(), Arc::clone(part.down()), half(part.up()));
    let parts = adapter.parts().map(|(layer, site, found)| ((layer, site), part(found))).collect();
    Adapter::new(adapter.hidden(), parts, None).unwrap()
}

fn cases() -> Vec<Case> {
    fixtures::folders("adapters").iter().map(|folder| Case::open(folder)).collect()
}

/// What is served by default, and the plain path beside it.
const KERNELS: [Kernels; 3] = [Kernels::Auto, Kernels::Avx2, Kernels::Libtorch];

#[test]
fn a_row_with_an_adapter_has_the_logits_of_peft() {
    let mut largest: f32 = 0.0;
    for (case, kernels) in cases().iter().flat_map(|case| KERNELS.map(|kernels| (case, kernels))) {
        let mut model = case.model(kernels);
        for (row, expected) in case.rows(Some(case.adapter())).iter().zip(&case.golden.logits) {
            let output = model.forward(std::slice::from_ref(row)).unwrap().remove(0);
            let difference = largest_difference(&case.logits(&output), expected);
            let length = row.tokens.len();
            assert!(difference <= REFERENCE_TOLERANCE, "{} on {kernels}: {length} tokens: {difference:.1e}", case.name);
            largest = largest.max(difference);
        }
    }
    println!("largest difference from peft: {largest:.1e}");
}

#[test]
fn rows_with_and_without_adapters_answer_in_one_batch_as_alone() {
    let mut largest: f32 = 0.0;
    for (number, (case, kernels)) in cases().iter().flat_map(|case| KERNELS.map(|kernels| (case, kernels))).enumerate()
    {
        let mut model = case.model(kernels);
        let mut rows = case.mixed();
        let chance = &mut Chance::new(6, number as u64);
        for row in &mut rows {
            row.reads.tokens |= chance.below(4) == 0;
        }
        let alone: Vec<RowOutput> =
            rows.iter().map(|row| model.forward(std::slice::from_ref(row)).unwrap().remove(0)).collect();
        let adapted = largest_difference(&case.logits(&alone[8]), &case.logits(&alone[8 + case.golden.rows.len()]));
        assert!(adapted > 0.05, "{}: the adapter does something: {adapted}", case.name);
        for _ in 0..SHUFFLES {
            let mut order = chance.shuffled((0..rows.len()).collect::<Vec<_>>());
            while !order.is_empty() {
                let batch = order.split_off(order.len().saturating_sub(1 + chance.below(12) as usize));
                let together: Vec<_> = batch.iter().map(|index| rows[*index].clone()).collect();
                for (index, output) in batch.iter().zip(model.forward(&together).unwrap()) {
                    let difference = largest_difference(&case.logits(&output), &case.logits(&alone[*index]));
                    assert!(difference <= NEIGHBOUR_TOLERANCE, "{} on {kernels}: {difference:.1e}", case.name);
                    largest = largest.max(difference);
                }
            }
        }
    }
    println!("largest difference between a row alone and in a mixed batch: {largest:.1e}");
}
