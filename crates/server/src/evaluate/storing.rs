//! What was fitted becomes a version: the weights as they are, another temperature, other thresholds.

use std::sync::Arc;

use engine::{EngineError, Head, HeadKind, HeadParts, ServedHead};
use registry::{Change, Install};
use tonic::Status;

use super::judgement::Fitted;
use crate::changes::Writer;
use crate::serving::Serving;
use crate::status;

/// Keeps what was fitted for `served` and returns the number of the version that does; no alias names it.
pub(super) async fn store(serving: &Serving, served: &ServedHead, fitted: Fitted) -> Result<u64, Status> {
    let (key, version) = (served.key.clone(), served.version);
    let apply = move |writer: &mut Writer| -> Result<u64, Status> {
        let task = writer.registry().task(&key);
        // It may have been deleted while its rows were asked.
        let base = task.and_then(|task| task.versions.get(&version)).cloned();
        let base = base.ok_or_else(|| status::of_engine(EngineError::NotFound))?;
        let head = Arc::new(with_fit(&base.head, fitted)?);
        let (encoder, forced) = (base.encoder, base.forced);
        let install = Install { key, version: None, head, encoder, forced, aliases: Vec::new() };
        let committed = writer.apply(Change::Install(install)).map_err(status::of_registry)?;
        let installed = committed.installed.first();
        let installed =
            installed.ok_or_else(|| status::internal("the registry failed", "an install without a version"))?;
        Ok(installed.version.number())
    };
    serving.changes().run(apply).await?
}

fn with_fit(head: &Head, fitted: Fitted) -> Result<Head, Status> {
    let held = head.parts();
    let thresholds = if head.kind() == HeadKind::MultiLabel { fitted.deciding.thresholds } else { Vec::new() };
    let parts = HeadParts { temperature: fitted.temperature.or(held.temperature), thresholds, ..held.clone() };
    Head::new(head.kind(), head.hidden(), parts)
        .map_err(|error| status::internal("what was fitted makes no head", &error.to_string()))
}
