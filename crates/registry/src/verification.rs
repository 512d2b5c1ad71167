//! Checking everything a registry holds, down to the digest of what each version would export.

use std::collections::HashMap;
use std::sync::Arc;

use crate::capture::Capture;
use crate::change::Installed;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::head_folder::HeadFolder;
use crate::load::DamagedHead;
use crate::state::State;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The registry's generation.
    pub generation: u64,
    /// Versions that are whole, down to the digest of what they would export.
    pub heads: usize,
    /// Versions that are not.
    pub damaged: Vec<DamagedHead>,
    /// Objects that nothing refers to; the next start removes them.
    pub unused_objects: usize,
    /// Anything else that is wrong; the next start would repair it.
    pub problems: Vec<String>,
}

/// A check that has been prepared at one generation and runs beside further changes.
#[derive(Debug)]
pub struct Verification {
    capture: Capture,
    versions: Vec<Arc<Installed>>,
    /// What is known before any object is read.
    known: VerifyReport,
}

impl Verification {
    /// `found` holds what is damaged, unused or wrong already.
    pub(crate) fn new(state: &State, capture: Capture, found: VerifyReport) -> Self {
        let versions = state.tasks().flat_map(|(_, task)| task.versions.values().cloned()).collect();
        Self { capture, versions, known: VerifyReport { generation: state.generation, ..found } }
    }

    /// Objects to be read.
    #[must_use]
    pub fn n_objects(&self) -> usize {
        self.capture.n_objects()
    }

    /// Reads and proves every object, then every version; `progress` hears how many objects are done.
    ///
    /// # Errors
    /// If a version has no written form.
    pub fn run(self, mut progress: impl FnMut(usize)) -> Result<VerifyReport, RegistryError> {
        let mut bad: HashMap<Digest, String> = HashMap::new();
        for (done, digest) in self.capture.objects().iter().enumerate() {
            if let Err(error) = self.capture.read(digest) {
                bad.insert(*digest, error.to_string());
            }
            progress(done + 1);
        }
        let mut report = self.known;
        for installed in &self.versions {
            let unread = installed.objects.iter().find_map(|digest| bad.get(&digest).cloned());
            let reason = match unread {
                None => reason_against(installed)?,
                some => some,
            };
            match reason {
                None => report.heads += 1,
                Some(reason) => {
                    report.damaged.push(DamagedHead { key: installed.key.clone(), version: installed.version, reason })
                }
            }
        }
        Ok(report)
    }
}

/// Why a version is not what its digest names, if it is not.
fn reason_against(installed: &Installed) -> Result<Option<String>, RegistryError> {
    let folder = HeadFolder::of_head(&installed.key.task, &installed.head, installed.encoder)?;
    let is_whole = Digest::of(&folder.head_toml) == installed.digest;
    Ok((!is_whole).then(|| "its objects do not make the head that its digest names".to_owned()))
}
