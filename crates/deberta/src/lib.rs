//! The DeBERTa v2 and v3 encoder on libtorch, and its tokenizer: the engine's `Model` and `Tokenizer`.
//!
//! A batch goes through `model`: `fit` checks the rows, `packing` lays them out, `embeddings` makes the input, `encoder`
//! runs its `layer`s of `attention` and feed-forward, `pooler` reads the result. On a GPU in half
//! precision attention is `fused`, and `graphs` replays the forward of a small `batch`. Rows that carry an adapter
//! (`adapters`) go in the same batch.

mod tokenizer;
mod model;
mod fit;
mod native;
mod tensors;
mod gradient;
mod packing;
mod batch;
mod layout;
mod fused;
mod embeddings;
mod encoder;
mod graphs;
mod layer;
mod attention;
mod adapters;
mod placed_adapter;
mod relative_position;
mod convolution;
mod pooler;
mod linear;
mod shim;
mod activation;
mod loading;
mod weights;
mod config;
mod precision;
mod device;
mod error;

pub use device::Device;
pub use error::LoadError;
pub use model::{Deberta, Kernels, LoadOptions, Source, load};
pub use native::peak;
pub use precision::Precision;
pub use tokenizer::FastTokenizer;
