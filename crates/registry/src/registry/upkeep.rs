//! Looking after an open registry: backups, checks, counts, and the removal of what nothing needs.

use std::collections::HashSet;

use super::{FOR_READING, Registry};
use crate::boot::{JOURNAL, OBJECTS};
use crate::capture::{Capture, Hold};
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::journal;
use crate::load::DamagedHead;
use crate::objects::{ObjectFolder, Swept};
use crate::snapshot;
use crate::stats::{self, RegistryStats};
use crate::verification::{Verification, VerifyReport};

impl Registry {
    /// The registry as it stands, to be written or checked on another thread while changes go on here.
    ///
    /// # Errors
    /// What the system refused.
    pub fn capture(&self) -> Result<Capture, RegistryError> {
        let objects: std::collections::BTreeSet<_> = self.state.referenced_objects().into_iter().collect();
        let hold = Hold::Objects(self.pins.pin(objects.iter().copied()));
        let snapshot = snapshot::encode(self.state.generation, &self.state.records);
        let folder = ObjectFolder::open(&self.dir.join(OBJECTS))?;
        Ok(Capture::new(self.state.generation, snapshot, objects, folder, hold))
    }

    /// A check of everything as it stands: both accounts of the records are compared here, the objects when it is run.
    ///
    /// # Errors
    /// What the system refused.
    pub fn verification(&self) -> Result<Verification, RegistryError> {
        let mut found = VerifyReport { problems: self.problems()?, ..VerifyReport::default() };
        for (key, task) in self.state.tasks() {
            found.damaged.extend(task.damaged.iter().map(|version| DamagedHead {
                key: key.clone(),
                version: *version,
                reason: "it was damaged when the registry was opened".to_owned(),
            }));
        }
        let capture = self.capture()?;
        let kept = self.kept();
        let stored = ObjectFolder::open(&self.dir.join(OBJECTS))?.list()?;
        found.unused_objects = stored.iter().filter(|digest| !kept.contains(digest)).count();
        Ok(Verification::new(&self.state, capture, found))
    }

    /// Counts and bytes.
    ///
    /// # Errors
    /// What the system refused.
    pub fn stats(&self) -> Result<RegistryStats, RegistryError> {
        stats::stats(&self.dir, &self.state)
    }

    /// Removes every object file that no version and no capture needs. A deletion does so by itself; this finds what a
    /// failed removal left.
    ///
    /// # Errors
    /// [`RegistryError::ReadOnly`], or what the system refused.
    pub fn collect_garbage(&mut self) -> Result<Swept, RegistryError> {
        if let Some(reason) = &self.read_only {
            return Err(RegistryError::ReadOnly { reason: reason.clone() });
        }
        let kept = self.kept();
        let Some(durable) = &self.durable else {
            return Err(RegistryError::ReadOnly { reason: FOR_READING.to_owned() });
        };
        let swept = durable.objects.sweep(&kept)?;
        self.outlived.retain(|digest| kept.contains(digest));
        Ok(swept)
    }

    /// Objects that a version or a capture needs.
    fn kept(&self) -> HashSet<Digest> {
        let mut kept = self.state.referenced_objects();
        kept.extend(self.pins.all());
        kept
    }

    /// Where the accounts on the disk differ from what is served.
    fn problems(&self) -> Result<Vec<String>, RegistryError> {
        let dir = self.dir.join(JOURNAL);
        let mut problems = journal::damaged_snapshots(&dir)?;
        let says_the_same = journal::load(&dir)?.is_some_and(|account| {
            account.generation == self.state.generation && account.records == self.state.records
        });
        if !says_the_same {
            problems.push("the journal differs from what is served".to_owned());
        }
        match self.durable.as_ref().map(|durable| durable.store.scan()) {
            None => {}
            Some(Ok(records)) if records == self.state.records => {}
            Some(Ok(_)) => problems.push("the record store differs from what is served".to_owned()),
            Some(Err(error)) => problems.push(format!("the record store cannot be read: {error}")),
        }
        Ok(problems)
    }
}
