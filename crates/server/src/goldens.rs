//! Goldens for an export: what this server answers, for the next one to be held to.

use std::sync::Arc;

use engine::{About, DEFAULT_TOLERANCE, Golden, Head, HeadParts, MAX_GOLDENS, trial_input};
use registry::{HeadFolder, Installed};
use tonic::Status;

use crate::serving::Serving;
use crate::status;

/// The head folder of `installed` with goldens: its own where it has some, else the logits that it gives here for its
/// samples, or for a trial input where it has none.
pub(crate) async fn with_goldens(serving: &Serving, installed: &Installed) -> Result<HeadFolder, Status> {
    let head = &installed.head;
    let about = &head.parts().about;
    let mut goldens = about.goldens.clone();
    if goldens.is_empty() {
        let mut inputs = about.samples.clone();
        inputs.truncate(MAX_GOLDENS);
        if inputs.is_empty() {
            inputs.push(trial_input(head.kind()));
        }
        for input in inputs {
            let logits = serving.engine().logits(head, &input).await.map_err(status::of_engine)?;
            goldens.push(Golden { input, logits, tolerance: DEFAULT_TOLERANCE });
        }
    }
    let about = About { goldens, ..about.clone() };
    let head = Head::new(head.kind(), head.hidden(), HeadParts { about, ..head.parts().clone() });
    let head = Arc::new(head.map_err(|error| status::internal("the export failed", &error.to_string()))?);
    HeadFolder::of_head(&installed.key.task, &head, installed.encoder).map_err(status::of_registry)
}
