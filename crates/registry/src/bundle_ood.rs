//! Statistics of out-of-distribution scores put into the head folders of a bundle, whose other lines stay as they are.

use std::sync::Arc;

use engine::{OodStatistics, TaskName};

use crate::bundle::Bundle;
use crate::error::RegistryError;
use crate::files;
use crate::head_folder::{HeadFolder, MANIFEST_FILE};
use crate::manifest::Manifest;
use crate::ood::RawOod;

/// The figure of [`Bundle::record_ood`] in a manifest: how well the scores tell the task's own texts from those of other
/// tasks, as the area under the ROC curve.
pub const OOD_AUROC: &str = "ood_auroc";

const SECTION: &str = "[ood]";
const METRICS: &str = "[about.metrics]";

impl Bundle {
    /// Writes `statistics` into the `head.toml` of `task`, with the figure [`OOD_AUROC`] where there is one, in place
    /// of what was recorded before. The weights stay, and with them their digest; the head's own digest changes.
    ///
    /// # Errors
    /// If the folder cannot be read, parsed or written.
    pub fn record_ood(
        &self,
        task: &TaskName,
        statistics: Arc<OodStatistics>,
        auroc: Option<f64>,
    ) -> Result<(), RegistryError> {
        let dir = self.head_dir(task);
        let folder = HeadFolder::read(&dir)?;
        let mut manifest = Manifest::parse(&folder.head_toml)?;
        manifest.trust.ood = Some(statistics);
        manifest.about.metrics.remove(OOD_AUROC);
        if let Some(auroc) = auroc {
            manifest.about.metrics.insert(OOD_AUROC.to_owned(), auroc);
        }
        let edited = edited(&String::from_utf8_lossy(&folder.head_toml), &manifest);
        // Where the lines were written in some other manner, the file is written anew as a whole.
        let head_toml = match Manifest::parse(edited.as_bytes()) {
            Ok(read) if read == manifest => edited,
            _ => manifest.to_toml()?,
        };
        files::replace(&dir.join(MANIFEST_FILE), head_toml.as_bytes())?;
        files::sync_directory(&dir)
    }
}

/// The lines of `head_toml` with the statistics and the figure of `manifest` in place of those it has.
fn edited(head_toml: &str, manifest: &Manifest) -> String {
    let mut lines = Vec::new();
    let mut in_section = false;
    for line in head_toml.lines() {
        if line.starts_with('[') {
            in_section = line == SECTION;
        }
        if in_section || line.strip_prefix(OOD_AUROC).is_some_and(|rest| rest.starts_with(" = ")) {
            continue;
        }
        lines.push(line.to_owned());
        if let (METRICS, Some(auroc)) = (line, manifest.about.metrics.get(OOD_AUROC)) {
            lines.push(format!("{OOD_AUROC} = {auroc:?}"));
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let section = manifest.trust.ood.as_deref().map(RawOod::of).and_then(|ood| toml::to_string(&ood).ok());
    lines.extend([String::new(), SECTION.to_owned(), section.unwrap_or_default()]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use tempfile::TempDir;

    use super::*;
    use crate::testing::{HIDDEN, WIDTHS, head};
    use crate::{BundleWriter, EncoderFile};

    fn statistics(scale: f32) -> Arc<OodStatistics> {
        Arc::new(OodStatistics::new(40, scale, vec![0.25; HIDDEN], vec![0.5; HIDDEN]).unwrap())
    }

    /// The bundle, its task, and the path of the task's manifest.
    fn bundle(dir: &TempDir) -> (Bundle, TaskName, std::path::PathBuf) {
        let target = dir.path().join("bundle");
        let mut writer = BundleWriter::create(&target).unwrap();
        for file in [EncoderFile::Config, EncoderFile::Model, EncoderFile::Tokenizer] {
            writer.create_encoder_file(file).unwrap().write_all(b"{}").unwrap();
        }
        let task: TaskName = "a/b".parse().unwrap();
        writer.add_head(&task, &head(1)).unwrap();
        writer.finish().unwrap();
        let bundle = Bundle::open(&target).unwrap();
        let path = bundle.head_dir(&task).join(MANIFEST_FILE);
        (bundle, task, path)
    }

    #[test]
    fn recording_changes_the_statistics_and_the_figure_alone_and_again_replaces_them() {
        let dir = TempDir::new().unwrap();
        let (bundle, task, path) = bundle(&dir);
        let plain = fs::read_to_string(&path).unwrap();
        let by_hand =
            format!("# A remark.\n{plain}\n[about]\ntags = [\n    \"one\",\n]\n\n[about.metrics]\nf1 = 0.5\n");
        fs::write(&path, &by_hand).unwrap();
        for (scale, auroc) in [(1.0, 0.75), (2.0, 0.875)] {
            bundle.record_ood(&task, statistics(scale), Some(auroc)).unwrap();
            let (manifest, head) = bundle.read_head(&task, WIDTHS).unwrap();
            assert_eq!(head.parts().trust.ood, Some(statistics(scale)));
            assert_eq!((manifest.about.metrics["f1"], manifest.about.metrics[OOD_AUROC]), (0.5, auroc));
            assert_eq!(head.parts().weight, self::head(1).parts().weight);
            let text = fs::read_to_string(&path).unwrap();
            let kept: Vec<_> = by_hand.lines().filter(|line| !line.is_empty()).collect();
            assert!(kept.iter().all(|line| text.lines().any(|other| other == *line)), "{text}");
            assert_eq!((text.matches(SECTION).count(), text.matches(OOD_AUROC).count()), (1, 1), "{text}");
        }
    }

    #[test]
    fn a_manifest_without_figures_gets_them_all_the_same() {
        let dir = TempDir::new().unwrap();
        let (bundle, task, _) = bundle(&dir);
        bundle.record_ood(&task, statistics(1.0), Some(0.75)).unwrap();
        let (manifest, _) = bundle.read_head(&task, WIDTHS).unwrap();
        assert_eq!((manifest.about.metrics[OOD_AUROC], manifest.trust.ood), (0.75, Some(statistics(1.0))));
        bundle.record_ood(&task, statistics(2.0), None).unwrap();
        let (manifest, _) = bundle.read_head(&task, WIDTHS).unwrap();
        assert!(!manifest.about.metrics.contains_key(OOD_AUROC));
    }
}
