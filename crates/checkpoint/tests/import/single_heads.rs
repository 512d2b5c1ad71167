//! The classifier of a fine-tuned model, taken to an encoder that is there already.

use std::path::{Path, PathBuf};

use checkpoint::{CheckpointError, HeadOptions, HubSettings, ImportedHead, Source};
use engine::HeadKind;
use registry::Bundle;
use safetensors::Dtype;

use crate::hostile_files::{Tensors, change_json, change_tensors, copied};
use crate::{fixture, head, import, jail};

const HIDDEN: usize = 16;
const KEY: &str = "deberta.encoder.layer.1.attention.self.key_proj.weight";

pub(crate) fn options(source: &Path, bundle: &Bundle, scratch: &Path) -> HeadOptions {
    HeadOptions {
        source: Source::Folder(source.to_path_buf()),
        encoder_dir: bundle.encoder_dir(),
        task: Some("own/task".parse().unwrap()),
        kind: None,
        lora: None,
        leave_out_rest: false,
        scratch: scratch.to_path_buf(),
        jail: jail(),
        hub: HubSettings { offline: true, ..HubSettings::default() },
    }
}

/// A bundle made of `name`, and the outcome of importing `source` as a head over it.
fn import_over(name: &str, source: &Path) -> (Bundle, Result<ImportedHead, CheckpointError>) {
    let (_, folder, bundle) = import(&fixture(name)).unwrap();
    let outcome = checkpoint::import_head(&options(source, &bundle, folder.path()));
    (bundle, outcome)
}

/// The model `name` with its tensors changed.
fn changed(name: &str, change: impl FnOnce(&mut Tensors)) -> (tempfile::TempDir, PathBuf) {
    let (folder, model) = copied(name);
    change_tensors(&model, change);
    (folder, model)
}

fn widened(tensors: &mut Tensors) {
    for (dtype, _, data) in tensors.values_mut() {
        assert_eq!(*dtype, Dtype::F16);
        let number = |pair: &[u8; 2]| half::f16::from_le_bytes(*pair).to_f32().to_le_bytes();
        *data = data.as_chunks::<2>().0.iter().flat_map(number).collect();
        *dtype = Dtype::F32;
    }
}

fn refusal(name: &str, source: &Path) -> String {
    import_over(name, source).1.unwrap_err().whole()
}

#[test]
fn a_head_over_the_same_encoder_has_the_numbers_and_labels_of_the_model() {
    for name in ["c-sequence", "c-multi-label", "c-regression", "c-multiple-choice", "c-token"] {
        let (folder, bundle, whole) = {
            let (_, folder, bundle) = import(&fixture(name)).unwrap();
            let whole = head(&bundle, name, HIDDEN);
            (folder, bundle, whole)
        };
        let imported = checkpoint::import_head(&options(&fixture(name), &bundle, folder.path())).unwrap();
        assert_eq!(imported.row.task.as_str(), "own/task");
        assert_eq!(imported.head.parts().labels, whole.parts().labels);
        assert_eq!((imported.head.kind(), &imported.head.parts().weight), (whole.kind(), &whole.parts().weight));
        assert_eq!(imported.head.parts().bias, whole.parts().bias);
        assert!(imported.to_string().contains("tensors are equal"), "{imported}");
    }
}

#[test]
fn another_element_type_is_the_same_encoder_where_rounding_explains_all_of_it() {
    let (_wide, wide) = changed("c-sequence", widened);
    let (_, outcome) = import_over("c-sequence", &wide);
    assert!(outcome.unwrap().encoder.contains("tensors are equal"));
    // Less than half a step of the narrow type.
    let (_near, near) = changed("c-sequence", |tensors| {
        widened(tensors);
        for number in tensors.get_mut(KEY).unwrap().2.as_chunks_mut::<4>().0 {
            *number = (f32::from_le_bytes(*number) * (1.0 + 1e-5)).to_le_bytes();
        }
    });
    let (_, outcome) = import_over("c-sequence", &near);
    assert!(outcome.unwrap().encoder.contains("1 of them after rounding"));
}

#[test]
fn an_encoder_that_was_trained_too_is_refused_with_the_measured_difference() {
    let (_folder, model) = changed("c-sequence", |tensors| {
        widened(tensors);
        for name in [KEY, "deberta.embeddings.LayerNorm.bias"] {
            let factor = if name == KEY { 1.01 } else { 1.001 };
            for number in tensors.get_mut(name).unwrap().2.as_chunks_mut::<4>().0 {
                *number = (f32::from_le_bytes(*number) * factor).to_le_bytes();
            }
        }
    });
    let (_, outcome) = import_over("c-sequence", &model);
    let Err(CheckpointError::OtherEncoder { differing, compared, tensor, relative, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((differing, tensor.as_str()), (2, KEY));
    assert!(compared > 30, "{compared}");
    assert!((relative - 0.01 / 1.01).abs() < 1e-6, "{relative}");
}

#[test]
fn a_pooler_that_was_trained_counts_only_for_heads_that_read_it() {
    let changed_pooler = |tensors: &mut Tensors| tensors.get_mut("pooler.dense.bias").unwrap().2[1] ^= 1;
    let (_folder, model) = changed("c-sequence", changed_pooler);
    let text = refusal("c-sequence", &model);
    assert!(text.contains("pooler.dense.bias") && text.contains("`pooler` frozen"), "{text}");
    change_json(&model.join("config.json"), |config| {
        config["architectures"] = serde_json::json!(["DebertaV2ForTokenClassification"]);
    });
    let (_, outcome) = import_over("c-sequence", &model);
    assert_eq!(outcome.unwrap().head.kind(), HeadKind::TokenClassification);
}

#[test]
fn a_model_of_another_build_tokenizer_or_without_a_head_is_refused_by_name() {
    let (_folder, model) = copied("c-sequence");
    change_json(&model.join("config.json"), |config| config["layer_norm_eps"] = 0.5.into());
    let text = refusal("c-sequence", &model);
    assert!(text.contains("layer_norm_eps is 0.5, the served encoder has"), "{text}");

    let (_folder, model) = copied("c-sequence");
    change_json(&model.join("tokenizer.json"), |tokenizer| {
        tokenizer["added_tokens"].as_array_mut().unwrap().pop();
    });
    let text = refusal("c-sequence", &model);
    assert!(text.contains("its added tokens differ"), "{text}");

    let (_folder, model) = changed("c-sequence", |tensors| tensors.retain(|name, _| !name.starts_with("classifier.")));
    let text = refusal("c-sequence", &model);
    assert!(text.contains("no classifier"), "{text}");
}

#[test]
fn a_user_says_what_the_head_answers_with_where_the_files_do_not() {
    let (_, folder, bundle) = import(&fixture("c-sequence")).unwrap();
    let mut options = options(&fixture("c-sequence"), &bundle, folder.path());
    options.kind = Some(HeadKind::MultiLabel);
    assert_eq!(checkpoint::import_head(&options).unwrap().head.kind(), HeadKind::MultiLabel);
    options.kind = Some(HeadKind::Reward);
    let refused = checkpoint::import_head(&options).unwrap_err().whole();
    assert!(refused.contains("3 outputs"), "{refused}");
}
