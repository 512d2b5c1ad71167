//! A look at the certificates' files every second: what is new and good is in use at the next connection.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::material::Material;
use super::{Prepared, Tls, tell_of_bad_certificates};
use crate::metrics::Metrics;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a look found and could not be served with; `None` where a file could not be read.
struct Suspect(Option<Material>);

/// Looks until it is dropped. Contents are compared, not times: a link that was moved to another folder counts as well
/// as a file that was written over.
pub(crate) async fn watch_files(tls: Arc<Tls>, metrics: Arc<Metrics>) {
    let mut suspect = None;
    loop {
        sleep(LOOK_EVERY).await;
        let (looking, counting) = (Arc::clone(&tls), Arc::clone(&metrics));
        let look = tokio::task::spawn_blocking(move || look(&looking, suspect, &counting));
        // A look that panicked saw nothing.
        suspect = look.await.ok().flatten();
    }
}

/// One look. What is bad is suspect at first, because certificate and key are written one after the other, and refused
/// when the next look finds the same. A file that cannot be read is bad, too.
fn look(tls: &Tls, suspect: Option<Suspect>, metrics: &Metrics) -> Option<Suspect> {
    let (found, judged) = match Material::read(&tls.files) {
        Ok(found) => {
            if tls.judged.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&found) {
                return None;
            }
            let judged = found.to_served();
            (Some(found), judged)
        }
        Err(error) => {
            if tls.judged.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                return None;
            }
            (None, Err(error))
        }
    };
    match (found, judged) {
        (Some(material), Ok(served)) => {
            tls.publish(Prepared { material, served }, metrics);
            None
        }
        (found, Err(error)) if suspect.as_ref().is_some_and(|suspect| suspect.0 == found) => {
            tell_of_bad_certificates(&error, metrics);
            *tls.judged.lock().unwrap_or_else(PoisonError::into_inner) = found;
            None
        }
        (found, _) => Some(Suspect(found)),
    }
}
