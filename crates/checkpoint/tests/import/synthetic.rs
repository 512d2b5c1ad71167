//! Checkpoints made from a seed, through the same import as any other.

use std::path::Path;

use checkpoint::{Layout, Preset, Source, SynthOptions, Synthetic, synth};
use engine::HeadKind;
use registry::Bundle;

use crate::{head, options, place};

fn made(folder: &Path, layout: Layout, n_tasks: usize, seed: u64) -> Synthetic {
    synth(&SynthOptions { preset: Preset::Tiny, n_tasks, layout, seed, folder: folder.to_path_buf() }).unwrap()
}

#[test]
fn both_layouts_of_444_tasks_import_to_the_same_heads() {
    let work = tempfile::tempdir().unwrap();
    let mut bundles = Vec::new();
    for layout in [Layout::OneFile, Layout::Adapters] {
        let parts = made(&work.path().join(format!("{layout:?}")), layout, 444, 7);
        let bundle = work.path().join(format!("{layout:?}-bundle"));
        let mut options = options(&parts.model, &bundle);
        options.adapters = parts.adapters.map(Source::Folder);
        options.kinds_file = Some(parts.kinds);
        let report = checkpoint::import(&options).unwrap();
        assert_eq!(report.layout, layout);
        assert_eq!(report.heads.len(), 445, "444 tasks and the model's own classifier");
        assert!(report.distinct_weights() < 445, "tasks with equal labels share a weight");
        bundles.push((Bundle::open(&bundle).unwrap(), report));
    }
    let [(one, first), (two, second)] = bundles.as_slice() else { unreachable!() };
    assert_eq!(first.encoder, second.encoder);
    assert_eq!(one.heads(), two.heads());
    for row in &first.heads {
        let (a, b) = (head(one, row.task.as_str(), 32), head(two, row.task.as_str(), 32));
        assert_eq!(a.parts().weight, b.parts().weight, "{}", row.task);
        assert_eq!(a.parts().task_embedding, b.parts().task_embedding, "{}", row.task);
        assert_eq!((a.kind(), &a.parts().prompt), (b.kind(), &b.parts().prompt), "{}", row.task);
    }
    for kind in HeadKind::ALL {
        let found = second.heads.iter().filter(|row| row.kind == kind).count();
        let least = match kind {
            HeadKind::Classification => 250,
            HeadKind::MultipleChoice => 150,
            HeadKind::TokenClassification => 8,
            HeadKind::Regression | HeadKind::Reward => 4,
            HeadKind::MultiLabel => 0,
        };
        assert!(found >= least, "{found} of kind {kind}");
    }
    let largest = second.heads.iter().map(|row| row.outputs).max().unwrap();
    assert!((50..=150).contains(&largest), "{largest}");
}

#[test]
fn equal_seeds_make_equal_files_and_other_seeds_others() {
    let work = tempfile::tempdir().unwrap();
    let bytes = |name: &str, seed: u64| {
        let parts = made(&work.path().join(name), Layout::Adapters, 5, seed);
        let read = |folder: &Path, file: &str| std::fs::read(folder.join(file)).unwrap();
        let adapters = parts.adapters.unwrap();
        (
            read(&parts.model, "model.safetensors"),
            read(&parts.model, "tokenizer.json"),
            read(&adapters, "pytorch_model.bin"),
        )
    };
    let (first, again, other) = (bytes("a", 1), bytes("b", 1), bytes("c", 2));
    assert!(first == again, "one seed, different files");
    assert!(first.0 != other.0 && first.1 != other.1 && first.2 != other.2, "different seeds, one file");
}

#[test]
fn a_place_that_is_taken_is_left_alone() {
    let (folder, _) = place();
    let file = folder.path().join("kept");
    std::fs::write(&file, "kept").unwrap();
    let options = |folder: &Path, n_tasks| SynthOptions {
        preset: Preset::Tiny,
        n_tasks,
        layout: Layout::OneFile,
        seed: 0,
        folder: folder.to_path_buf(),
    };
    assert!(synth(&options(folder.path(), 3)).is_err());
    assert!(synth(&options(&file, 3)).is_err());
    assert!(synth(&options(&folder.path().join("none"), 0)).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    assert!(!folder.path().join("none").exists());
}

#[test]
fn presets_are_called_as_they_are_shown() {
    for preset in Preset::ALL {
        assert_eq!(preset.to_string().parse::<Preset>().unwrap(), preset);
    }
    assert!("huge".parse::<Preset>().unwrap_err().whole().contains("tiny, xsmall, small, base"));
}
