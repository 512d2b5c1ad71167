//! Logits equal the reference's for every configuration, and a row's logits are its own, whatever stands beside it.

use std::path::Path;
use std::sync::Arc;

use deberta::Kernels;
use engine::{Head, HeadKind, HeadParts, Model, Reads, Row, RowOutput, Tokens, score};
use serde::Deserialize;

use crate::chance::Chance;
use crate::fixtures::{self, largest_difference};

/// Absolute, on fp32 logits of about unit size.
const REFERENCE_TOLERANCE: f32 = 1e-4;
/// Absolute, between a row alone and the same row in a batch.
const NEIGHBOUR_TOLERANCE: f32 = 1e-5;
const SHUFFLES: u64 = 8;
/// What is served by default and on processors with less, and the plain path beside it.
const KERNELS: [Kernels; 3] = [Kernels::Auto, Kernels::Avx2, Kernels::Libtorch];

/// `golden.json` of one configuration.
#[derive(Debug, Deserialize)]
struct Golden {
    architecture: String,
    labels: usize,
    classifier: Classifier,
    task_embeddings: Vec<Vec<f32>>,
    rows: Vec<Sequence>,
    /// Row, task embedding, logits row-major.
    answers: Vec<(usize, Option<usize>, Vec<f32>)>,
}

#[derive(Debug, Deserialize)]
struct Classifier {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Debug, Deserialize)]
struct Sequence {
    ids: Vec<u32>,
    types: Option<Vec<u32>>,
}

impl Golden {
    fn read(folder: &Path) -> Self {
        fixtures::read_json(&folder.join("golden.json"))
    }

    fn head(&self, kind: HeadKind) -> Head {
        let parts = HeadParts {
            weight: self.classifier.weight.clone().into(),
            bias: self.classifier.bias.clone().into(),
            ..HeadParts::default()
        };
        let hidden = self.classifier.weight.len() / self.labels;
        Head::new(kind, hidden, parts).expect("a fixture's head is sound")
    }

    fn kind(&self) -> HeadKind {
        match (self.architecture.as_str(), self.labels) {
            ("DebertaV2ForTokenClassification", _) => HeadKind::TokenClassification,
            ("DebertaV2ForMultipleChoice", _) => HeadKind::MultipleChoice,
            ("DebertaV2ForSequenceClassification", 1) => HeadKind::Regression,
            ("DebertaV2ForSequenceClassification", _) => HeadKind::Classification,
            (other, _) => panic!("no head for {other}"),
        }
    }

    /// The row behind each answer, in order, for a head of `kind`.
    fn rows(&self, kind: HeadKind) -> Vec<Row> {
        let row = |(at, embedding, _): &(usize, Option<usize>, Vec<f32>)| {
            let sequence = &self.rows[*at];
            let length = sequence.ids.len();
            let tokens = Tokens {
                ids: sequence.ids.clone(),
                type_ids: sequence.types.clone().unwrap_or_else(|| vec![0; length]),
                origins: vec![None; length],
                cut: None,
            };
            Row {
                tokens: Arc::new(tokens),
                task_embedding: embedding.map(|index| self.task_embeddings[index].clone().into()),
                adapter: None,
                reads: Reads::of_kind(kind),
            }
        };
        self.answers.iter().map(row).collect()
    }
}

fn forward(model: &mut dyn Model, rows: &[Row]) -> Vec<RowOutput> {
    let outputs = model.forward(rows).expect("a fixture's rows fit its encoder");
    assert_eq!(outputs.len(), rows.len(), "one output a row");
    outputs
}

#[test]
fn a_row_alone_has_the_logits_of_the_reference() {
    let mut largest: f32 = 0.0;
    for (folder, kernels) in
        fixtures::folders("parity").iter().flat_map(|folder| KERNELS.map(|kernels| (folder, kernels)))
    {
        let golden = Golden::read(folder);
        let mut model = crate::encoder_on(folder, kernels);
        let head = golden.head(golden.kind());
        let rows = golden.rows(golden.kind());
        for (row, (_, embedding, logits)) in rows.iter().zip(&golden.answers) {
            let outputs = forward(&mut model, std::slice::from_ref(row));
            let scores = score(&head, &outputs[0]).expect("a fixture's head fits its encoder");
            let difference = largest_difference(&scores.logits, logits);
            assert!(
                difference <= REFERENCE_TOLERANCE,
                "{} on {kernels}: {} tokens, task embedding {embedding:?}: logits are off by {difference:.1e}",
                fixtures::name(folder),
                row.tokens.len(),
            );
            largest = largest.max(difference);
        }
    }
    println!("largest difference from the reference: {largest:.1e}");
}

#[test]
fn a_row_has_the_same_logits_in_any_batch() {
    let mut largest: f32 = 0.0;
    let folders = fixtures::folders("parity");
    for (number, (folder, kernels)) in
        folders.iter().flat_map(|folder| KERNELS.map(|kernels| (folder, kernels))).enumerate()
    {
        let golden = Golden::read(folder);
        let mut model = crate::encoder_on(folder, kernels);
        let chance = &mut Chance::new(5, number as u64);
        let rows = mixed_rows(&golden, chance);
        let alone: Vec<_> = rows.iter().flat_map(|row| forward(&mut model, std::slice::from_ref(row))).collect();
        for _ in 0..SHUFFLES {
            let mut order = chance.shuffled((0..rows.len()).collect::<Vec<_>>());
            while !order.is_empty() {
                let batch = order.split_off(order.len().saturating_sub(1 + chance.below(12) as usize));
                let together: Vec<_> = batch.iter().map(|index| rows[*index].clone()).collect();
                for (index, output) in batch.iter().zip(forward(&mut model, &together)) {
                    let difference = move_of(&golden, &output, &alone[*index]);
                    assert!(
                        difference <= NEIGHBOUR_TOLERANCE,
                        "{} on {kernels}: a row of {} tokens moves by {difference:.1e} among {:?}",
                        fixtures::name(folder),
                        rows[*index].tokens.len(),
                        together.iter().map(|row| row.tokens.len()).collect::<Vec<_>>(),
                    );
                    largest = largest.max(difference);
                }
            }
        }
    }
    println!("largest difference between a row alone and in a batch: {largest:.1e}");
}

/// The fixture's rows; of some every token is read too, so that batches mix what they must compute.
fn mixed_rows(golden: &Golden, chance: &mut Chance) -> Vec<Row> {
    let mut rows = golden.rows(golden.kind());
    for row in &mut rows {
        if chance.below(4) == 0 {
            row.reads.tokens = true;
        }
    }
    rows
}

/// By how much the logits differ, those of the fixture's own head and of a token head where every token was read.
fn move_of(golden: &Golden, output: &RowOutput, alone: &RowOutput) -> f32 {
    let mut kinds = vec![golden.kind()];
    if output.tokens.is_some() {
        kinds.push(HeadKind::TokenClassification);
    }
    let logits = |kind, output| score(&golden.head(kind), output).expect("a fixture's head fits its encoder").logits;
    kinds.into_iter().map(|kind| largest_difference(&logits(kind, output), &logits(kind, alone))).fold(0.0, f32::max)
}
