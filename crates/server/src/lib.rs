//! The serving process: from a socket to the engine and back, and from a change to the disk and the live table.
//!
//! [`serve`] takes everything it needs as arguments: the parts, a listener, and a future that ends when it should stop.

mod edge;
mod deadline;
mod expiring_body;
mod listener;
mod adjustable;
mod tls;
mod peer;
mod serving;
mod classifier;
mod classify_stream;
mod classify_tasks;
mod zero_shot;
mod rewards;
mod catalog;
mod finding;
mod ranking;
mod samples;
mod heads;
mod upload;
mod download;
mod transformers;
mod install;
mod bundles;
mod moving;
mod retention;
mod evaluate;
mod revision;
mod update_metadata;
mod fit;
mod tenants;
mod registry_tools;
mod backup;
mod server_config;
mod reloading;
mod from_proto;
mod to_proto;
mod confidence;
mod status;
mod registry_status;
mod changes;
mod boot;
mod measured;
mod health;
mod metrics;
mod serve;
pub mod comparison;
pub mod far_text;

pub use adjustable::Adjustable;
pub use measured::device_kind;
pub use reloading::{ConfigOption, ConfigurationError, Configured, ReadConfiguration, Reloading, Source};
pub use serve::{Ended, Parts, ServeError, Settings, serve};
pub use tls::{Tls, TlsError, TlsFiles};
