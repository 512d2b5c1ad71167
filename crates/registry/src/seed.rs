//! Taking in the heads of a bundle: a bundle fills gaps, it never overrules what was decided in the registry.

use std::sync::Arc;

use engine::{Alias, Selector, TaskKey, TaskName, TenantName};

use crate::bundle::Bundle;
use crate::change::Install;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::registry::Registry;
use crate::weights::EncoderWidths;

/// The encoder that a bundle's heads are taken in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedEncoder {
    /// Its digest, as [`crate::encoder_digest`] gives it.
    pub digest: Digest,
    /// Its widths.
    pub widths: EncoderWidths,
}

/// What a bundle has that the registry lacks.
#[derive(Debug, Default)]
pub struct Seeds {
    /// To be committed as [`crate::Change::InstallMany`], each as `live`.
    pub installs: Vec<Install>,
    /// Heads of the bundle that were refused; the others are taken in all the same.
    pub refused: Vec<(TaskName, RegistryError)>,
}

/// Reads the heads of `bundle` that `registry` has no use for yet: those of tasks it never knew, and of tasks whose
/// live version belongs to another encoder and so cannot answer. A task whose versions were all deleted stays deleted.
#[must_use]
pub fn seeds(registry: &Registry, bundle: &Bundle, tenant: &TenantName, encoder: SeedEncoder) -> Seeds {
    let mut seeds = Seeds::default();
    for task in bundle.heads() {
        let key = TaskKey { tenant: tenant.clone(), task: task.clone() };
        if !has_gap(registry, &key, encoder.digest) {
            continue;
        }
        match read_seed(bundle, key, encoder) {
            Ok(install) => seeds.installs.push(install),
            Err(error) => seeds.refused.push((task.clone(), error)),
        }
    }
    seeds
}

fn has_gap(registry: &Registry, key: &TaskKey, encoder: Digest) -> bool {
    match registry.task(key) {
        Some(task) => {
            task.resolve(&Selector::Alias(Alias::live())).is_some_and(|live| live.encoder != encoder && !live.forced)
        }
        None => !registry.knows(key),
    }
}

fn read_seed(bundle: &Bundle, key: TaskKey, encoder: SeedEncoder) -> Result<Install, RegistryError> {
    let (manifest, head) = bundle.read_head(&key.task, encoder.widths)?;
    if manifest.encoder != encoder.digest {
        let dir = bundle.head_dir(&key.task);
        return Err(RegistryError::folder(&dir, "the head was trained on another encoder than the bundle's"));
    }
    let aliases = vec![Alias::live()];
    Ok(Install { key, version: None, head: Arc::new(head), encoder: manifest.encoder, forced: false, aliases })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::testing::{WIDTHS, delete, head, install, key, open, set_live};
    use crate::{BundleWriter, Change, EncoderFile};

    /// A bundle of tasks `a` and `b` whose encoder follows from `weights`.
    fn bundle(target: &Path, weights: &str) -> (Bundle, SeedEncoder) {
        let mut writer = BundleWriter::create(target).unwrap();
        for file in [EncoderFile::Config, EncoderFile::Model, EncoderFile::Tokenizer] {
            writer.create_encoder_file(file).unwrap().write_all(weights.as_bytes()).unwrap();
        }
        for name in ["a", "b"] {
            writer.add_head(&name.parse().unwrap(), &head(1)).unwrap();
        }
        let digest = writer.finish().unwrap();
        (Bundle::open(target).unwrap(), SeedEncoder { digest, widths: WIDTHS })
    }

    fn seed(registry: &mut Registry, bundle: &Bundle, encoder: SeedEncoder) -> Vec<String> {
        let seeds = seeds(registry, bundle, &TenantName::default_tenant(), encoder);
        assert!(seeds.refused.is_empty(), "{:?}", seeds.refused);
        let names = seeds.installs.iter().map(|install| install.key.task.to_string()).collect();
        registry.commit(Change::InstallMany(seeds.installs)).unwrap();
        names
    }

    #[test]
    fn a_bundle_fills_an_empty_registry_once_and_overrules_nothing() {
        let dir = TempDir::new().unwrap();
        let (bundle, encoder) = bundle(&dir.path().join("bundle"), "one");
        let mut registry = open(&dir.path().join("data"));
        assert_eq!(seed(&mut registry, &bundle, encoder), ["a", "b"]);
        assert!(seed(&mut registry, &bundle, encoder).is_empty());
        // Another live version and a deleted task are decisions.
        registry.install(Install { encoder: encoder.digest, ..install("a", 7) }).unwrap();
        registry.commit(set_live("a", 2)).unwrap();
        registry.commit(delete("b", 1)).unwrap();
        assert!(seed(&mut registry, &bundle, encoder).is_empty());
    }

    #[test]
    fn heads_of_another_encoder_make_way() {
        let dir = TempDir::new().unwrap();
        let (first, first_encoder) = bundle(&dir.path().join("first"), "one");
        let (second, second_encoder) = bundle(&dir.path().join("second"), "two");
        let mut registry = open(&dir.path().join("data"));
        seed(&mut registry, &first, first_encoder);
        assert_eq!(seed(&mut registry, &second, second_encoder), ["a", "b"]);
        let live = registry.task(&key("a")).unwrap().resolve(&Selector::Alias(Alias::live())).unwrap();
        assert_eq!((live.encoder, live.version.number()), (second_encoder.digest, 2));
    }

    #[test]
    fn one_bad_head_does_not_keep_the_others_out() {
        let dir = TempDir::new().unwrap();
        let (bundle, encoder) = bundle(&dir.path().join("bundle"), "one");
        std::fs::write(bundle.head_dir(&"a".parse().unwrap()).join("weights.safetensors"), b"bad").unwrap();
        let registry = open(&dir.path().join("data"));
        let seeds = seeds(&registry, &bundle, &TenantName::default_tenant(), encoder);
        assert_eq!((seeds.installs.len(), seeds.refused.len()), (1, 1));
        assert!(matches!(seeds.refused[0].1, RegistryError::WeightsDigest));
    }
}
