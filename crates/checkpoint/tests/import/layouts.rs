//! Each layout, as the reference saved it.

use checkpoint::{DecidedBy, Layout, Source};
use engine::HeadKind;
use registry::Bundle;

use crate::{fixture, head, import, options, place};

const HIDDEN: usize = 16;

/// Task, kind and outputs of the multi-task fixtures, in their order.
const TASKS: [(&str, HeadKind, usize); 10] = [
    ("glue/mnli", HeadKind::Classification, 3),
    ("tweet_eval/irony", HeadKind::Classification, 2),
    ("glue/stsb", HeadKind::Regression, 1),
    ("swag/regular", HeadKind::MultipleChoice, 1),
    ("hh-rlhf", HeadKind::Reward, 1),
    ("conll2003/ner_tags", HeadKind::TokenClassification, 9),
    ("own/sixteen", HeadKind::Classification, 16),
    ("own/rating", HeadKind::Regression, 1),
    ("own/wrong-size", HeadKind::Classification, 5),
    ("WANLI", HeadKind::Classification, 3),
];

#[test]
fn one_file_gives_a_head_for_each_task_and_its_own() {
    let (report, _folder, bundle) = import(&fixture("a-one-file")).unwrap();
    assert_eq!(report.layout, Layout::OneFile);
    let found: Vec<_> = report.heads.iter().map(|row| (row.task.as_str(), row.kind, row.outputs)).collect();
    assert_eq!(&found[..10], TASKS);
    assert_eq!(found[10], ("nli", HeadKind::Classification, 3));
    assert_eq!(bundle.heads().len(), 11);
    let own = head(&bundle, "nli", HIDDEN);
    assert_eq!(own.parts().labels, ["entailment", "neutral", "contradiction"]);
    assert!(own.parts().task_embedding.is_none());
    let reward = head(&bundle, "hh-rlhf", HIDDEN);
    assert_eq!(reward.parts().prompt.as_deref(), Some("Most helpful assistant answer:"));
    assert!(reward.parts().task_embedding_by_default);
    let wrong = report.heads.iter().find(|row| row.task.as_str() == "own/wrong-size").unwrap();
    assert!(wrong.notes.iter().any(|note| note.contains("config says size 4")), "{:?}", wrong.notes);
    // Tasks with equal labels share a weight.
    assert_eq!(report.heads[0].weight, report.heads[9].weight);
    assert_eq!(head(&bundle, "glue/mnli", HIDDEN).parts().labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
}

#[test]
fn the_report_is_a_table_with_reasons() {
    let (report, _folder, _) = import(&fixture("a-one-file")).unwrap();
    let text = report.to_string();
    for expected in ["one file with every task", "conll2003/ner_tags", "token_classification", "catalogue", "outputs"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn adapters_may_hold_task_embeddings_either_way_round() {
    let folder = fixture("b-model-and-adapters");
    let mut embeddings = Vec::new();
    for adapters in ["adapters", "adapters-transposed"] {
        let (_folder, bundle) = place();
        let mut options = options(&folder.join("model"), &bundle);
        options.adapters = Some(Source::Folder(folder.join(adapters)));
        let report = checkpoint::import(&options).unwrap();
        assert_eq!(report.layout, Layout::Adapters);
        let found: Vec<_> = report.heads.iter().map(|row| (row.task.as_str(), row.kind, row.outputs)).collect();
        assert_eq!(&found[..10], TASKS, "{adapters}");
        let bundle = Bundle::open(&bundle).unwrap();
        let inference = head(&bundle, "WANLI", HIDDEN);
        assert_eq!(inference.parts().labels, ["entailment", "neutral", "contradiction"]);
        embeddings.push(head(&bundle, "own/rating", HIDDEN).parts().task_embedding.clone().unwrap());
    }
    assert_eq!(embeddings[0], embeddings[1]);
}

#[test]
fn a_model_whose_adapters_are_elsewhere_imports_alone() {
    let (report, _folder, bundle) = import(&fixture("b-model-and-adapters/model")).unwrap();
    assert_eq!(report.layout, Layout::FineTuned);
    assert_eq!(bundle.heads().len(), 1);
    assert_eq!(report.heads[0].task.as_str(), "model");
}

#[test]
fn fine_tuned_models_say_what_their_head_is() {
    for (name, kind, outputs, by) in [
        ("c-sequence", HeadKind::Classification, 3, "architecture"),
        ("c-multi-label", HeadKind::MultiLabel, 4, "problem_type"),
        ("c-regression", HeadKind::Regression, 1, "one output"),
        ("c-multiple-choice", HeadKind::MultipleChoice, 1, "architecture"),
        ("c-token", HeadKind::TokenClassification, 9, "architecture"),
    ] {
        let (report, _folder, bundle) = import(&fixture(name)).unwrap();
        let row = &report.heads[0];
        assert_eq!((row.task.as_str(), row.kind, row.outputs), (name, kind, outputs));
        assert_eq!(row.decided_by, DecidedBy::Model(by));
        assert_eq!(head(&bundle, name, HIDDEN).kind(), kind);
    }
    let (report, ..) = import(&fixture("c-sequence")).unwrap();
    assert_eq!(report.heads[0].labels, ["contradiction", "neutral", "entailment"]);
}

#[test]
fn a_user_names_the_task_and_its_kind() {
    let (folder, bundle) = place();
    let kinds = folder.path().join("kinds.tsv");
    std::fs::write(&kinds, "mine/moods\tclassification\n").unwrap();
    let mut options = options(&fixture("c-multi-label"), &bundle);
    options.task = Some("mine/moods".parse().unwrap());
    options.kinds_file = Some(kinds);
    let report = checkpoint::import(&options).unwrap();
    assert_eq!(report.heads[0].task.as_str(), "mine/moods");
    assert_eq!((report.heads[0].kind, report.heads[0].decided_by), (HeadKind::Classification, DecidedBy::User));
}

#[test]
fn bare_encoders_have_no_heads_and_leave_out_what_pre_training_left() {
    for name in ["d-bare", "d-prefixed"] {
        let (report, _folder, bundle) = import(&fixture(name)).unwrap();
        assert_eq!(report.layout, Layout::Bare);
        assert!(bundle.heads().is_empty());
        let model = std::fs::read(bundle.encoder_dir().join("model.safetensors")).unwrap();
        let header = String::from_utf8_lossy(&model[8..4_000]);
        assert!(header.contains("deberta.embeddings.word_embeddings.weight"), "{header}");
        assert!(!header.contains("_predictions"), "{header}");
    }
}

#[test]
fn one_encoder_has_one_digest_wherever_it_came_from() {
    let (report, folder, bundle) = import(&fixture("a-one-file")).unwrap();
    assert_eq!(report.encoder, bundle.encoder_digest().unwrap());
    // The same encoder without its tasks.
    let alone = folder.path().join("alone");
    crate::copy(&bundle.encoder_dir(), &alone);
    let (again, ..) = import(&alone).unwrap();
    assert_eq!(again.layout, Layout::Bare);
    assert_eq!(again.encoder, report.encoder);
}

#[test]
fn every_configuration_of_the_family_has_the_tensors_it_calls_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut n_configurations = 0;
    for entry in std::fs::read_dir(fixture("../parity")).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("config.json").exists() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let model = folder.path().join(&name);
        crate::copy(&path, &model);
        std::fs::copy(fixture("c-sequence").join("tokenizer.json"), model.join("tokenizer.json")).unwrap();
        let imported = import(&model);
        assert!(imported.is_ok(), "{name}: {}", imported.unwrap_err().whole());
        n_configurations += 1;
    }
    assert!(n_configurations >= 14, "{n_configurations}");
}

#[test]
fn heads_say_where_they_come_from_and_under_which_licence() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("moods");
    crate::copy(&fixture("c-sequence"), &model);
    std::fs::write(model.join("README.md"), "---\nlanguage: en\nlicense: cc-by-4.0\n---\n# Moods\n").unwrap();
    let (_, _folder, bundle) = import(&model).unwrap();
    let about = head(&bundle, "moods", HIDDEN).parts().about.clone();
    assert_eq!((about.source.as_str(), about.licence.as_str()), ("moods, model.safetensors", "cc-by-4.0"));
}
