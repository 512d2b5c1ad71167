//! From stored heads to served ones, once the encoder is loaded.

use engine::TenantName;
use registry::{Bundle, Change, EncoderWidths, Install, RegistryError, SeedEncoder, Seeds, seeds};
use tonic::Status;
use tracing::{info, warn};

use crate::changes::Writer;

/// What is wrong with each of these heads on the served encoder, if anything is.
pub(crate) type Trial<'a> = &'a dyn Fn(&[Install]) -> Vec<Result<(), Status>>;

/// How many heads are there and not served, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Stored versions whose bytes are not what they were.
    pub(crate) damaged: usize,
    /// Stored versions that do not fit the encoder.
    pub(crate) unfit: usize,
    /// Heads of the bundle that could not be taken in.
    pub(crate) refused: usize,
}

/// Takes in the bundle's heads that pass `trial`, then serves everything stored that fits.
pub(crate) fn publish_all(
    writer: &mut Writer,
    bundle: Option<&Bundle>,
    widths: EncoderWidths,
    trial: Trial<'_>,
) -> Result<LeftOut, RegistryError> {
    let refused = bundle.map_or(Ok(0), |bundle| take_in(writer, bundle, widths, trial))?;
    let misfits = writer.publish_all();
    let heads: usize = writer.registry().tasks().map(|(_, task)| task.versions.len()).sum();
    let report = writer.registry().boot_report();
    for damaged in &report.damaged {
        warn!(?damaged, "a stored head is damaged");
    }
    if let Some(reason) = &report.rebuilt {
        warn!(%reason, "the registry was rebuilt");
    }
    info!(heads, misfits, damaged = report.damaged.len(), "heads published");
    Ok(LeftOut { damaged: report.damaged.len(), unfit: misfits, refused })
}

/// A registry that is read-only serves what it has; a bad head of the bundle is left out and the others serve. Returns
/// how many were left out.
fn take_in(
    writer: &mut Writer,
    bundle: &Bundle,
    widths: EncoderWidths,
    trial: Trial<'_>,
) -> Result<usize, RegistryError> {
    let encoder = SeedEncoder { digest: writer.encoder(), widths };
    let Seeds { mut installs, refused } = seeds(writer.registry(), bundle, &TenantName::default_tenant(), encoder);
    let mut n_refused = refused.len();
    for (task, error) in refused {
        warn!(%task, %error, "a head of the bundle was left out");
    }
    let mut tried = trial(&installs).into_iter();
    installs.retain(|install| match tried.next() {
        Some(Err(refusal)) => {
            n_refused += 1;
            warn!(task = %install.key.task, reason = refusal.message(), "a head of the bundle was left out");
            false
        }
        Some(Ok(())) | None => true,
    });
    if installs.is_empty() {
        return Ok(n_refused);
    }
    let n_heads = installs.len();
    match writer.store(Change::InstallMany(installs)) {
        Ok(committed) => info!(heads = n_heads, generation = committed.generation, "the bundle's heads were taken in"),
        Err(error @ RegistryError::ReadOnly { .. }) => warn!(%error, "the bundle's heads were not taken in"),
        Err(error) => return Err(error),
    }
    Ok(n_refused)
}
