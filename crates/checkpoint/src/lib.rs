//! Published checkpoints in, bundles out.
//!
//! [`import()`] is the whole path; [`import_head()`] takes one head to an encoder that is served already. The modules stand in its order: where files come from, how they are read safely,
//! what the encoder must have, what each layout means, what is decided about heads, and what a person is told.
//! [`synth()`] goes the other way and makes checkpoints from a seed.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod import;
mod import_head;
mod import_adapter;
mod source;
mod hub;
mod folder;
mod model_config;
mod model_card;
mod tokenizer;
mod weights;
mod tensor_file;
pub mod jail;
mod state_dict;
mod archive;
mod pickle;
mod tensor_writer;
mod encoder_config;
mod encoder_tensors;
mod encoder_difference;
mod layout;
mod task_list;
mod one_file;
mod adapters;
mod multi_task;
mod fine_tuned;
mod peft_adapter;
mod encoder_low_rank;
mod left_out;
mod low_rank;
mod raw_head;
mod kinds;
mod names;
mod settle;
mod report;
mod synth;
mod error;

pub use error::CheckpointError;
pub use hub::HubSettings;
pub use import::{ImportOptions, import};
pub use import_head::{HeadOptions, ImportedHead, import_head};
pub use jail::Jail;
pub use kinds::DecidedBy;
pub use layout::Layout;
pub use report::{HeadRow, Report};
pub use source::{HubId, Source};
pub use synth::{Preset, SynthOptions, Synthetic, synth};
