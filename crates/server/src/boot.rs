//! From stored heads to served ones, once the encoder is loaded.

use std::sync::Arc;

use engine::{Alias, TaskKey, TenantName};
use registry::{Bundle, Change, Digest, EncoderWidths, Install, Registry, RegistryError};
use tracing::{info, warn};

use crate::changes::Writer;

/// Takes in the bundle's heads, then serves everything stored that fits.
pub(crate) fn publish_all(
    writer: &mut Writer,
    bundle: Option<&Bundle>,
    widths: EncoderWidths,
) -> Result<(), RegistryError> {
    if let Some(bundle) = bundle {
        let heads = missing_heads(writer.registry(), bundle, writer.encoder(), widths);
        if !heads.is_empty() {
            let n_heads = heads.len();
            match writer.apply(Change::InstallMany(heads)) {
                Ok(committed) => info!(heads = n_heads, generation = committed.generation, "heads taken in"),
                Err(error @ RegistryError::ReadOnly { .. }) => warn!(%error, "the bundle's heads were not taken in"),
                Err(error) => return Err(error),
            }
        }
    }
    let misfits = writer.publish_all();
    let report = writer.registry().boot_report();
    info!(
        heads = report.heads,
        misfits,
        damaged = report.damaged.len(),
        rebuilt = report.rebuilt.as_deref().unwrap_or("no"),
        "heads published"
    );
    Ok(())
}

/// The bundle's heads whose task the registry has never known, or knows on other encoders alone. A task whose
/// versions were all deleted stays deleted.
fn missing_heads(registry: &Registry, bundle: &Bundle, encoder: Digest, widths: EncoderWidths) -> Vec<Install> {
    let mut missing = Vec::new();
    for task in bundle.heads() {
        let key = TaskKey { tenant: TenantName::default_tenant(), task: task.clone() };
        let is_missing = match registry.task(&key) {
            None => !registry.knows(&key),
            Some(stored) => stored.versions.values().all(|installed| installed.encoder != encoder),
        };
        if !is_missing {
            continue;
        }
        match bundle.read_head(task, widths) {
            Ok((manifest, head)) => missing.push(Install {
                key,
                version: None,
                head: Arc::new(head),
                encoder: manifest.encoder,
                forced: false,
                aliases: vec![Alias::live()],
            }),
            Err(error) => warn!(%task, %error, "a head of the bundle was left out"),
        }
    }
    missing
}
