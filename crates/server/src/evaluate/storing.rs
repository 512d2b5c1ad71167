//! What was fitted becomes a version: the weights as they are, another temperature, other thresholds.

use engine::{HeadKind, Selector, ServedHead};
use tonic::Status;

use super::judgement::Fitted;
use crate::caller::Caller;
use crate::changes::Writer;
use crate::revision::{Revision, with_settings};
use crate::serving::Serving;

/// Keeps what was fitted for `served` and returns the number of the version that does; no alias names it.
///
/// # Errors
/// NOT_FOUND where the version was deleted while its rows were asked, and what the registry refuses.
pub(super) async fn store(
    (serving, caller): (&Serving, &Caller),
    served: &ServedHead,
    fitted: Fitted,
) -> Result<u64, Status> {
    let revision = Revision {
        key: served.key.clone(),
        from: Selector::Version(served.version),
        expected_generation: None,
        make_live: false,
    };
    let kind = served.head.kind();
    let still_good = caller.clone();
    let apply = move |writer: &mut Writer| {
        still_good.check_still_good()?;
        with_settings(writer, &revision, |parts| {
            parts.temperature = fitted.temperature.or(parts.temperature);
            if kind == HeadKind::MultiLabel {
                parts.thresholds = fitted.deciding.thresholds;
            }
        })
    };
    Ok(serving.changes().run(caller.author(), apply).await??.served.version.number())
}
