//! Small heads of every kind, and bundles of them.

use std::path::Path;

use engine::{Head, HeadKind, HeadParts, TaskName};
use registry::{Digest, HeadFolder};

/// Hidden size of the encoder that tests without weights pretend to have.
pub const HIDDEN: usize = 8;

/// A head of `kind` with these labels, whose weights follow from `seed`.
#[must_use]
pub fn head(kind: HeadKind, labels: &[&str], seed: u16) -> Head {
    let outputs = labels.len().max(1);
    let number = |index: usize| f32::from((index as u16).wrapping_mul(31).wrapping_add(seed) % 17) / 8.0 - 1.0;
    let parts = HeadParts {
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        weight: (0..outputs * HIDDEN).map(number).collect(),
        bias: (0..outputs).map(|index| number(index + 7)).collect(),
        task_embedding: Some((0..HIDDEN).map(|index| number(index + 3)).collect()),
        task_embedding_by_default: true,
        ..HeadParts::default()
    };
    Head::new(kind, HIDDEN, parts).expect("the parts of a test's head fit together")
}

/// A head that answers `number` to everything.
#[must_use]
pub fn constant(number: u16) -> Head {
    let parts =
        HeadParts { weight: vec![0.0; HIDDEN].into(), bias: vec![f32::from(number)].into(), ..HeadParts::default() };
    Head::new(HeadKind::Regression, HIDDEN, parts).expect("the parts of a test's head fit together")
}

/// Writes a bundle of `heads` for a pretended encoder, and returns the encoder's digest.
pub fn write_bundle(dir: &Path, heads: &[(&str, Head)]) -> Digest {
    let encoder_dir = dir.join("encoder");
    std::fs::create_dir_all(&encoder_dir).expect("the temporary folder takes files");
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::write(encoder_dir.join(name), "{}").expect("the temporary folder takes files");
    }
    let encoder = registry::encoder_digest(&encoder_dir).expect("the three files were just written");
    for (task, head) in heads {
        let name: TaskName = task.parse().expect("a test's task has a proper name");
        let folder = HeadFolder::of_head(&name, head, encoder).expect("a small head can be written");
        folder.write(&dir.join("heads").join(task)).expect("the temporary folder takes files");
    }
    encoder
}
