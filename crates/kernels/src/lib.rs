//! The DeBERTa encoder on a processor with AVX2 or AVX-512: packed weights, fused attention, no padding and no waiting.
//!
//! [`Builder`] takes plain arrays and packs them; an [`Encoder`] runs batches over them on a team of threads. Inside, a
//! pass is one region of the `team`: `plan` lays the batch out, `forward` is the order of its steps, `product` and
//! `attention` are the steps that cost, `tile` is the loop where the time goes.
#![expect(unsafe_code, reason = "kernels read and write memory that a team shares; every block says why it is sound")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of tokens and columns, far below 2^24"
)]

mod encoder;
mod weights;
mod plan;
mod forward;
mod embedding;
mod product;
mod attention;
mod adapter;
mod distance;
mod rows;
mod tile;
mod weight;
mod vector;
mod isa;
mod workspace;
mod buffer;
mod team;
mod sync;
mod placement;
mod clock;
mod peak;
mod support;

pub use adapter::{Adapter, Factors, LayerFactors};
pub use clock::{Profile, STAGES, Stage};
pub use encoder::{Builder, Encoder, EncoderError, OutputRow, Precision, SharedWeights, SlotOf};
pub use peak::peak;
pub use plan::InputRow;
pub use support::{Instructions, Unsupported, has_tiles};
pub use vector::Activation;
pub use weights::{Dense, EmbeddingArrays, Geometry, Packed, PackedLayer, PackedPositions, Scaling, Table};
