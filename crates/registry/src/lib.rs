//! Everything at rest: head folders and bundles as plain files, and the durable, versioned registry of heads.
//!
//! A head travels as a [`HeadFolder`]: a [`Manifest`] and weights. Folders lie in a [`Bundle`] or arrive over the wire,
//! become a [`Change`], and [`Registry::commit`] makes that durable. The modules stand in this order: what files say,
//! what a change is, how it is planned, how it is written, and how all of it is read back.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod digest;
pub mod safetensors_guard;
mod safetensors_header;
mod weights_error;
pub mod manifest;
mod about;
mod ood;
mod fit_table;
mod golden_table;
pub mod weights;
mod adapter_tensors;
mod head_folder;
mod bundle;
mod bundle_writer;
mod bundle_ood;
mod linear_layers;
mod transformers_config;
mod transformers_export;
mod accuracy;
mod known;
mod tenants;
mod audit_log;
mod change;
mod plan;
mod draft;
mod tenant_draft;
mod audit_draft;
mod quota_check;
mod retiring;
mod state;
mod steady_clock;
mod registry;
mod seed;
mod capture;
mod archive;
mod verification;
mod stats;
pub mod tools;
mod boot;
mod load;
mod store;
mod record;
mod task_record;
mod tenant_record;
mod objects;
mod journal;
mod snapshot;
mod tail;
mod barrier;
mod lock;
mod space;
mod files;
mod fields;
mod error;

#[cfg(test)]
mod hostile_weights;
#[cfg(test)]
mod memory_store;
#[cfg(test)]
mod testing;

pub use accuracy::{ACCURACY_FILE, Accuracy, MeasuredMode};
pub use audit_log::{AUDIT_ENTRIES, AuditEntry, AuditField, Author, MAX_SHOWN_BYTES, shown};
pub use boot::BootReport;
pub use bundle::{Bundle, encoder_digest};
pub use bundle_ood::OOD_AUROC;
pub use bundle_writer::{BundleWriter, EncoderFile};
pub use capture::{Archived, Capture};
pub use change::{Action, Change, Committed, HistoryEntry, Install, Installed, MAX_ALIASES, StoredTask};
pub use digest::{Digest, DigestError};
pub use error::RegistryError;
pub use head_folder::{HeadFolder, MANIFEST_FILE, WEIGHTS_FILE};
pub use known::{KnownTask, KnownTasksError, parse_known_tasks, published_tasks};
pub use linear_layers::{linear_module, linear_site};
pub use load::DamagedHead;
pub use manifest::{Manifest, ManifestError};
pub use objects::Swept;
pub use registry::{OpenOptions, Registry};
pub use safetensors_guard::{ElementType, TensorEntry, TensorIndex, TensorLimits};
pub use seed::{SeedEncoder, Seeds, seeds};
pub use stats::RegistryStats;
pub use steady_clock::SteadyClock;
pub use tenants::{
    MAX_TENANT_TEXT_BYTES, MAX_TENANTS, MAX_TOKENS, NewToken, Scope, Scopes, StoredTenant, StoredToken, TokenId,
    TokenIdError,
};
pub use transformers_config::HEADWATER_KEY;
pub use transformers_export::{EXPORT_CHUNK_BYTES, TransformersExport};
pub use verification::{Verification, VerifyReport};
pub use weights::{EncoderWidths, Tensors};
pub use weights_error::WeightsError;
