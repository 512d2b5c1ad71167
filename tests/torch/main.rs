//! The encoder and its tokenizer on libtorch, held to golden answers.

mod chance;
mod fixtures;
mod layouts;
mod parity;
mod tokenizer;

use std::path::Path;

use deberta::{Deberta, Device, FastTokenizer, LoadOptions, Precision};

/// The encoder in `folder`, in the precision in which answers are compared.
fn encoder(folder: &Path) -> Deberta {
    let options =
        LoadOptions { encoder_digest: String::new(), device: Device::Cpu, precision: Precision::Fp32, threads: 1 };
    deberta::load(folder, options).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// The tokenizer in `folder`; without `max_tokens` a sequence is as long as the files there say.
fn open_tokenizer(folder: &Path, max_tokens: Option<usize>) -> FastTokenizer {
    FastTokenizer::open(folder, max_tokens).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}
