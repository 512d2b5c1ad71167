//! Heads exported with their encoder for the `transformers` package, and taken back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::v1;
use api::v1::export_head_response::Part;
use checkpoint::{HeadOptions, HubSettings, ImportOptions, Source};
use deberta::Kernels;
use engine::{Head, Model, Reads, Row, Tokens, score};
use registry::{Bundle, Digest, EncoderWidths, TransformersExport};
use sha2::{Digest as _, Sha256};
use tests::TestServer;
use tonic::Code;

use crate::fixtures::{self, largest_difference};
use crate::serving::engine_on;

const HIDDEN: usize = 16;
const WIDTHS: EncoderWidths = EncoderWidths { hidden: HIDDEN, embedding: HIDDEN };
/// Sums are made in another order, and a merged weight is rounded.
const TOLERANCE: f32 = 2e-5;

fn hub() -> HubSettings {
    HubSettings { offline: true, ..HubSettings::default() }
}

/// Imports the checkpoint in `source` as a bundle in `place`.
fn import(source: &Path, place: &Path) -> Bundle {
    let options = ImportOptions {
        source: Source::Folder(source.to_owned()),
        adapters: None,
        task: None,
        kinds_file: None,
        bundle: place.to_owned(),
        jail: crate::jail(),
        hub: hub(),
    };
    checkpoint::import(&options).unwrap_or_else(|error| panic!("{}", error.whole()));
    Bundle::open(place).unwrap()
}

fn import_head(source: &Path, bundle: &Bundle, lora: Option<usize>) -> Result<Head, String> {
    let options = HeadOptions {
        source: Source::Folder(source.to_owned()),
        encoder_dir: bundle.encoder_dir(),
        task: Some("again".parse().unwrap()),
        kind: None,
        lora,
        leave_out_rest: false,
        scratch: bundle.dir().to_owned(),
        jail: crate::jail(),
        hub: hub(),
    };
    checkpoint::import_head(&options).map(|imported| imported.head).map_err(|error| error.whole())
}

fn head(bundle: &Bundle, task: &str) -> Head {
    bundle.read_head(&task.parse().unwrap(), WIDTHS).unwrap().1
}

/// Exports `task` from the server into `folder`, and proves every declared size and digest on the way.
async fn export(server: &TestServer, task: &str, folder: &Path) -> v1::ExportHeader {
    let request = v1::ExportHeadRequest {
        task: task.to_owned(),
        format: v1::ExportFormat::Transformers.into(),
        ..v1::ExportHeadRequest::default()
    };
    let mut parts = server.heads().export_head(request).await.unwrap().into_inner();
    let Some(Part::Header(header)) = parts.message().await.unwrap().and_then(|message| message.part) else {
        panic!("the header comes first")
    };
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    while let Some(message) = parts.message().await.unwrap() {
        let Some(Part::Chunk(chunk)) = message.part else { panic!("chunks follow") };
        let file = files.entry(chunk.name).or_default();
        assert_eq!(chunk.offset, file.len() as u64);
        assert!(chunk.data.len() <= 1 << 20);
        file.extend(chunk.data);
    }
    std::fs::create_dir_all(folder).unwrap();
    assert_eq!(files.len(), header.files.len());
    for declared in &header.files {
        let bytes = &files[&declared.name];
        assert_eq!(bytes.len() as u64, declared.size_bytes, "{}", declared.name);
        assert_eq!(
            Sha256::digest(bytes)[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            declared.sha256[..8]
        );
        std::fs::write(folder.join(&declared.name), bytes).unwrap();
    }
    header
}

/// The logits of `head` over the encoder of `bundle`, for rows of several lengths that begin with token 1.
fn logits(bundle: &Bundle, head: &Head) -> Vec<f32> {
    let mut model = crate::encoder(&bundle.encoder_dir());
    let parts = head.parts();
    let row = |length: u32| {
        let ids: Vec<u32> = std::iter::once(1).chain((2..length + 1).map(|at| 4 + at * 7 % 250)).collect();
        let tokens = Tokens { type_ids: vec![0; ids.len()], origins: vec![None; ids.len()], ids, cut: None };
        let (task_embedding, adapter) = (parts.task_embedding.clone(), parts.adapter.clone());
        Row { tokens: Arc::new(tokens), task_embedding, adapter, reads: Reads::of_kind(head.kind()) }
    };
    let rows: Vec<Row> = [1, 2, 9, 30, 48].map(row).to_vec();
    let outputs = model.forward(&rows).unwrap();
    outputs.iter().flat_map(|output| score(head, output).unwrap().logits).collect()
}

/// The one head of the bundle that an exported folder imports as.
fn taken_back(folder: &Path) -> (tempfile::TempDir, Bundle, Head) {
    let place = tempfile::tempdir().unwrap();
    let bundle = import(folder, &place.path().join("bundle"));
    let task = bundle.heads()[0].to_string();
    assert_eq!(bundle.heads().len(), 1);
    let head = head(&bundle, &task);
    (place, bundle, head)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_head_comes_back_with_its_numbers_and_answers_alike() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let bundle = import(&fixtures::path("layouts/a-one-file"), &place.join("bundle"));
    let server =
        TestServer::start_on(folder, &place.join("bundle"), engine_on(&place.join("bundle"), Kernels::Auto)).await;
    for task in ["nli", "glue/mnli", "glue/stsb", "swag/regular", "hh-rlhf", "conll2003/ner_tags"] {
        let original = head(&bundle, task);
        let exported = place.join("exported").join(task);
        let header = export(&server, task, &exported).await;
        assert_eq!((header.task.as_str(), &header.encoder_digest), (task, &server.encoder.to_string()));
        let (_place, other, found) = taken_back(&exported);
        let (parts, expected) = (found.parts(), original.parts());
        assert_eq!(found.kind(), original.kind(), "{task}");
        assert_eq!((&parts.weight, &parts.bias, &parts.labels), (&expected.weight, &expected.bias, &expected.labels));
        assert_eq!((&parts.prompt, parts.temperature), (&expected.prompt, expected.temperature));
        let difference = largest_difference(&logits(&other, &found), &logits(&bundle, &original));
        assert!(difference <= TOLERANCE, "{task}: {difference:.1e}");
        // As a head over the same encoder: whole without a task embedding, else the encoder is told from the served one.
        match import_head(&exported, &bundle, None) {
            Ok(again) => {
                assert_eq!((&again.parts().weight, expected.task_embedding.is_none()), (&expected.weight, true))
            }
            Err(refused) => assert!(refused.contains("1 of ") && refused.contains("word_embeddings"), "{refused}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_refused_where_the_encoder_s_files_were_changed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let bundle = import(&fixtures::path("layouts/c-sequence"), &place.join("bundle"));
    let server =
        TestServer::start_on(folder, &place.join("bundle"), engine_on(&place.join("bundle"), Kernels::Auto)).await;
    let config = bundle.encoder_dir().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n")).unwrap();
    let request = v1::ExportHeadRequest {
        task: "c-sequence".to_owned(),
        format: v1::ExportFormat::Transformers.into(),
        ..v1::ExportHeadRequest::default()
    };
    let refused = server.heads().export_head(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(!refused.message().contains(&*place.to_string_lossy()));
}

#[test]
fn an_adapter_is_merged_into_the_weights_and_found_again() {
    for name in ["every-site", "own-pooler", "stabilised-tokens"] {
        let folder = tempfile::tempdir().unwrap();
        let fixture = fixtures::path("adapters").join(name);
        let bundle = import(&fixture.join("model"), &folder.path().join("bundle"));
        let original = import_head(&fixture.join("adapter"), &bundle, Some(16)).unwrap();
        let export = TransformersExport::plan(&bundle.encoder_dir(), &"a/b".parse().unwrap(), &original, None).unwrap();
        let exported: PathBuf = folder.path().join("exported");
        write(&export, &exported);
        let (_place, other, found) = taken_back(&exported);
        assert!(found.parts().adapter.is_none());
        let difference = largest_difference(&logits(&other, &found), &logits(&bundle, &original));
        assert!(difference <= TOLERANCE, "{name}: {difference:.1e}");

        let refused = import_head(&exported, &bundle, None).unwrap_err();
        assert!(refused.contains("tensors differ"), "{refused}");
        let again = import_head(&exported, &bundle, Some(16)).unwrap();
        let difference = largest_difference(&logits(&bundle, &again), &logits(&bundle, &original));
        assert!(difference <= TOLERANCE, "{name}, as factors again: {difference:.1e}");
    }
}

fn write(export: &TransformersExport, folder: &Path) {
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    export
        .write(|name, bytes: &[u8]| {
            files.entry(name).or_default().extend(bytes);
            Ok::<_, registry::RegistryError>(())
        })
        .unwrap();
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes, digest) in export.declared().unwrap() {
        assert_eq!((files[name].len() as u64, Digest::of(&files[name])), (bytes, digest), "{name}");
        std::fs::write(folder.join(name), &files[name]).unwrap();
    }
}
