//! Small heads and short words for the tests of this crate.

use std::path::Path;
use std::sync::Arc;

use engine::{Adapter, Alias, Head, HeadKind, HeadParts, LowRank, OwnPooler, Site, TaskKey, TenantName, Version};

use crate::change::{Change, Committed, Install};
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::registry::{OpenOptions, Registry};
use crate::weights::EncoderWidths;

pub(crate) const HIDDEN: usize = 4;
pub(crate) const WIDTHS: EncoderWidths = EncoderWidths { hidden: HIDDEN, embedding: HIDDEN };
pub(crate) const OPTIONS: OpenOptions = OpenOptions { ballast_bytes: 4096, ..OpenOptions::SERVER };

/// A head of two labels whose weight follows from `seed`; bias and task embedding are always the same.
pub(crate) fn head(seed: u64) -> Head {
    let parts = HeadParts {
        labels: vec!["no".to_owned(), "yes".to_owned()],
        weight: (0..2 * HIDDEN as u64).map(|index| (seed * 100 + index) as f32 * 0.1).collect(),
        bias: vec![0.25, -0.25].into(),
        task_embedding: Some(vec![0.5; HIDDEN].into()),
        task_embedding_by_default: true,
        ..HeadParts::default()
    };
    Head::new(HeadKind::Classification, HIDDEN, parts).unwrap()
}

/// An adapter that changes two layers, and perhaps the pooler.
pub(crate) fn adapter(with_pooler: bool) -> Adapter {
    let part = |rank: usize, inputs: usize, outputs: usize| {
        let numbers = |count: usize| (0..count).map(|index| index as f32 * 0.25 - 1.0).collect();
        LowRank::new(rank, numbers(rank * inputs), numbers(rank * outputs))
    };
    let parts = [
        ((0, Site::Query), part(2, HIDDEN, HIDDEN)),
        ((0, Site::Intermediate), part(1, HIDDEN, 3 * HIDDEN)),
        ((11, Site::Output), part(3, 3 * HIDDEN, HIDDEN)),
    ];
    let pooler = OwnPooler { weight: vec![0.5; HIDDEN * HIDDEN].into(), bias: vec![1.0; HIDDEN].into() };
    Adapter::new(HIDDEN, parts.into(), with_pooler.then_some(pooler)).unwrap()
}

/// The head of `seed` with that adapter.
pub(crate) fn head_with_adapter(seed: u64, with_pooler: bool) -> Head {
    let plain = head(seed);
    let parts = HeadParts { adapter: Some(Arc::new(adapter(with_pooler))), ..plain.parts().clone() };
    Head::new(HeadKind::Classification, HIDDEN, parts).unwrap()
}

pub(crate) fn encoder() -> Digest {
    Digest::of(b"encoder")
}

pub(crate) fn key(task: &str) -> TaskKey {
    TaskKey { tenant: TenantName::default_tenant(), task: task.parse().unwrap() }
}

pub(crate) fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

pub(crate) fn install(task: &str, seed: u64) -> Install {
    let head = Arc::new(head(seed));
    Install { key: key(task), version: None, head, encoder: encoder(), forced: false, aliases: vec![] }
}

pub(crate) fn set_live(task: &str, number: u64) -> Change {
    let alias = Alias::live();
    Change::SetAlias { key: key(task), alias, version: version(number), expected_generation: None }
}

pub(crate) fn delete(task: &str, number: u64) -> Change {
    Change::DeleteVersion { key: key(task), version: version(number), with_aliases: false }
}

pub(crate) fn open(dir: &Path) -> Registry {
    Registry::open(dir, &OPTIONS).unwrap()
}

impl Registry {
    /// Commits one install.
    pub(crate) fn install(&mut self, install: Install) -> Result<Committed, RegistryError> {
        self.commit(Change::Install(install))
    }

    pub(crate) fn versions(&self, task: &str) -> Vec<u64> {
        let task = self.task(&key(task));
        task.map_or_else(Vec::new, |task| task.versions.keys().map(|version| version.number()).collect())
    }
}
