//! A look at the certificates' files every second: what is new and good is recorded, and in use at the next connection.

use std::sync::Arc;
use std::time::Duration;

use registry::Author;
use tokio::time::sleep;
use tracing::error;

use super::material::Material;
use super::{Prepared, Tls, TlsError, tell_of_bad_certificates};
use crate::changes::Changes;
use crate::metrics::Metrics;
use crate::recording::record;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a look found and could not be served with; `None` where a file could not be read.
struct Suspect(Option<Material>);

/// What a look has come to.
enum Seen {
    /// What was judged before.
    Nothing,
    /// Bad, and perhaps half-written.
    Suspect(Suspect),
    /// Bad twice in a row.
    Bad(Option<Material>, TlsError),
    /// Good, and another than before.
    Good(Box<Prepared>),
}

/// Looks until it is dropped. Contents are compared, not times: a link that was moved to another folder counts as well
/// as a file that was written over. What the audit log does not take is not in use; it is tried again at every look, and
/// told of once.
pub(crate) async fn watch_files(tls: Arc<Tls>, changes: Changes, metrics: Arc<Metrics>) {
    let author = Author::server("certificates");
    let (mut suspect, mut told) = (None, None);
    loop {
        sleep(LOOK_EVERY).await;
        let _alone = tls.alone().await;
        let (looking, suspected) = (Arc::clone(&tls), suspect.take());
        // A look that panicked saw nothing.
        match tokio::task::spawn_blocking(move || look(&looking, suspected)).await.unwrap_or(Seen::Nothing) {
            Seen::Nothing => {}
            Seen::Suspect(found) => suspect = Some(found),
            Seen::Bad(found, error) => {
                tell_of_bad_certificates(&error, &metrics);
                tls.judge(found);
            }
            Seen::Good(prepared) => match record(&changes, &author, tls.differences(&prepared)).await {
                Ok(()) => drop(tls.publish(*prepared, &metrics)),
                Err(_) if told.as_ref() == Some(&prepared.material) => {}
                Err(failure) => {
                    metrics.certificates_refused();
                    error!(%failure, "new certificates were not recorded; the old ones stay in use");
                    told = Some(prepared.material);
                }
            },
        }
    }
}

/// One look. What is bad is suspect at first, because certificate and key are written one after the other, and bad when
/// the next look finds the same. A file that cannot be read is bad, too.
fn look(tls: &Tls, suspect: Option<Suspect>) -> Seen {
    let read = Material::read(&tls.files);
    if tls.has_judged(read.as_ref().ok()) {
        return Seen::Nothing;
    }
    let (found, judged) = match read {
        Ok(found) => {
            let served = found.to_served();
            (Some(found), served)
        }
        Err(error) => (None, Err(error)),
    };
    match (found, judged) {
        (Some(material), Ok(served)) => Seen::Good(Box::new(Prepared { material, served })),
        (found, Err(error)) if suspect.is_some_and(|suspect| suspect.0 == found) => Seen::Bad(found, error),
        (found, _) => Seen::Suspect(Suspect(found)),
    }
}
