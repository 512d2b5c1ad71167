//! The encoder and its tokenizer on libtorch, held to golden answers.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod accuracy;
mod adapters;
mod asking;
mod catalogue;
mod chance;
mod evaluating;
mod exports;
mod fitting;
mod fixtures;
mod gradients;
mod layouts;
mod many_heads;
mod many_tasks;
mod parity;
mod serving;
mod tokenizer;

use std::path::Path;
use std::time::Duration;

use checkpoint::Jail;
use deberta::{Deberta, Device, FastTokenizer, Kernels, LoadOptions, Precision};

/// The encoder in `folder` as it is served by default, in the precision in which answers are compared.
fn encoder(folder: &Path) -> Deberta {
    encoder_on(folder, Kernels::Auto)
}

/// The same on kernels of the caller's choice, and on two threads.
fn encoder_on(folder: &Path, kernels: Kernels) -> Deberta {
    let options = LoadOptions {
        encoder_digest: String::new(),
        device: Device::Cpu,
        precision: Precision::Fp32,
        threads: 2,
        kernels,
    };
    deberta::load(folder, options).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// The tokenizer in `folder`; without `max_tokens` a sequence is as long as the files there say.
fn open_tokenizer(folder: &Path, max_tokens: Option<usize>) -> FastTokenizer {
    FastTokenizer::open(folder, max_tokens).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// A process of our own in which pickles are read.
fn jail() -> Jail {
    Jail {
        program: env!("CARGO_BIN_EXE_jailed-reader").into(),
        arguments: Vec::new(),
        memory_bytes: 1 << 30,
        processor: Duration::from_secs(20),
        patience: Duration::from_secs(60),
    }
}
