//! From a published checkpoint to an answer: every layout, imported, gives the logits of the reference for text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use checkpoint::{HubSettings, ImportOptions, Source};
use engine::{Head, HeadKind, Model, Reads, Row, TaskName, Text, TokenizeRequest, Tokenizer, Tokens, score};
use registry::{Bundle, EncoderWidths};
use serde::Deserialize;
use tempfile::TempDir;

use crate::fixtures::{self, largest_difference};

/// Absolute, on fp32 logits of about unit size.
const TOLERANCE: f32 = 1e-4;

/// One input and what the reference says to it.
#[derive(Debug, Deserialize)]
struct Case {
    /// Absent for the classifier that a model carries as its own.
    task: Option<String>,
    kind: Option<String>,
    text: Option<String>,
    text_pair: Option<String>,
    #[serde(default)]
    choices: Vec<String>,
    #[serde(default)]
    tokens: Vec<String>,
    /// Per row.
    ids: Vec<Vec<u32>>,
    /// Of all rows in order, with the task embedding `on` and `off`.
    #[serde(default)]
    logits: BTreeMap<String, Vec<f32>>,
    /// Of a bare encoder: the last hidden state at position 0.
    vector: Option<Vec<f32>>,
}

/// An imported checkpoint, ready to answer.
struct Imported {
    bundle: Bundle,
    encoder: deberta::Deberta,
    tokenizer: deberta::FastTokenizer,
    /// Holds the bundle; removed at the end.
    _folder: TempDir,
}

impl Imported {
    fn new(source: &Path, adapters: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bundle = import(source, adapters, &folder.path().join("bundle"));
        let encoder = crate::encoder(&bundle.encoder_dir());
        let tokenizer = crate::open_tokenizer(&bundle.encoder_dir(), None);
        Self { bundle, encoder, tokenizer, _folder: folder }
    }

    /// The head for `task`; without one, the head that no case names: the model's own classifier.
    fn head(&self, task: Option<&str>, named: &[&str]) -> Arc<Head> {
        let tasks: Vec<&TaskName> = match task {
            Some(task) => self.bundle.heads().iter().filter(|name| name.as_str() == task).collect(),
            None => self.bundle.heads().iter().filter(|name| !named.contains(&name.as_str())).collect(),
        };
        assert_eq!(tasks.len(), 1, "heads for {task:?}: {tasks:?} of {:?}", self.bundle.heads());
        let info = self.encoder.info();
        let widths = EncoderWidths { hidden: info.hidden, embedding: info.embedding };
        Arc::new(self.bundle.read_head(tasks[0], widths).expect("an imported head is sound").1)
    }

    fn tokenize(&self, text: Text<'_>, pair: Option<&str>) -> Tokens {
        let request = TokenizeRequest { text, pair: pair.map(Text::Raw), max_tokens: self.tokenizer.max_tokens() };
        self.tokenizer.tokenize(request).expect("every case has tokens")
    }

    /// The rows of one case, as the engine would make them.
    fn sequences(&self, case: &Case, head: Option<&Head>) -> Vec<Tokens> {
        let prompt = head.and_then(|head| head.parts().prompt.as_deref());
        let text = case.text.as_deref().or(prompt).unwrap_or_default();
        if !case.tokens.is_empty() {
            vec![self.tokenize(Text::Words(&case.tokens), None)]
        } else if case.choices.is_empty() {
            vec![self.tokenize(Text::Raw(text), case.text_pair.as_deref())]
        } else {
            case.choices.iter().map(|choice| self.tokenize(Text::Raw(text), Some(choice))).collect()
        }
    }
}

pub(crate) fn import(source: &Path, adapters: Option<&Path>, into: &Path) -> Bundle {
    let options = ImportOptions {
        source: Source::Folder(source.to_owned()),
        adapters: adapters.map(|adapters| Source::Folder(adapters.to_owned())),
        task: None,
        kinds_file: None,
        bundle: into.to_owned(),
        jail: crate::jail(),
        hub: HubSettings { offline: true, ..HubSettings::default() },
    };
    if let Err(error) = checkpoint::import(&options) {
        panic!("{}: {error}", source.display());
    }
    Bundle::open(into).expect("what was imported is a bundle")
}

/// The tasks that cases name; a head without one is the model's own classifier.
pub(crate) fn named_tasks(folder: &str) -> Vec<String> {
    golden(folder).into_iter().filter_map(|case| case.task).collect()
}

fn golden(folder: &str) -> Vec<Case> {
    fixtures::read_json(&fixtures::path("layouts").join(folder).join("golden.json"))
}

/// Imports `source` and `adapters` of `folder`, compares every case, with and without its task embedding, and gives the
/// largest difference.
fn largest_difference_in(folder: &str, source: &str, adapters: Option<&str>) -> f32 {
    let root = fixtures::path("layouts").join(folder);
    let mut imported = Imported::new(&root.join(source), adapters.map(|name| root.join(name)).as_deref());
    let cases = golden(folder);
    let named: Vec<&str> = cases.iter().filter_map(|case| case.task.as_deref()).collect();
    let mut largest: f32 = 0.0;
    for case in &cases {
        let head = imported.head(case.task.as_deref(), &named);
        let kind: HeadKind = case.kind.as_deref().unwrap_or_default().parse().expect("a kind");
        assert_eq!(head.kind(), kind, "{folder}: {:?}", case.task);
        let sequences = imported.sequences(case, Some(&head));
        for (mode, logits) in &case.logits {
            let task_embedding = if mode == "on" { head.parts().task_embedding.clone() } else { None };
            assert_eq!(task_embedding.is_some(), mode == "on" && case.task.is_some(), "{folder}: {:?}", case.task);
            let row = |(tokens, ids): (&Tokens, &Vec<u32>)| {
                assert_eq!(tokens.ids, *ids, "{folder}: ids of {case:?}");
                let reads = Reads::of_kind(kind);
                Row { tokens: Arc::new(tokens.clone()), task_embedding: task_embedding.clone(), adapter: None, reads }
            };
            let rows: Vec<Row> = sequences.iter().zip(&case.ids).map(row).collect();
            let outputs = imported.encoder.forward(&rows).expect("the rows fit");
            let logits_of = |output| score(&head, output).expect("an imported head fits its encoder").logits;
            let found: Vec<f32> = outputs.iter().flat_map(logits_of).collect();
            let difference = largest_difference(&found, logits);
            assert!(difference <= TOLERANCE, "{folder}: {:?} is off by {difference:.1e} with {mode}", case.task);
            largest = largest.max(difference);
        }
    }
    largest
}

/// The same for an encoder without heads: its vectors.
fn vectors_like_the_reference(folder: &str) {
    let mut imported = Imported::new(&fixtures::path("layouts").join(folder), None);
    assert!(imported.bundle.heads().is_empty(), "{folder} has no head");
    for case in golden(folder) {
        let tokens = imported.sequences(&case, None).remove(0);
        assert_eq!(tokens.ids, case.ids[0], "{folder}: ids of {case:?}");
        let reads = Reads { cls: true, ..Reads::default() };
        let row = Row { tokens: Arc::new(tokens), task_embedding: None, adapter: None, reads };
        let output = imported.encoder.forward(&[row]).expect("the row fits").remove(0);
        let difference = largest_difference(&output.cls.unwrap_or_default(), &case.vector.unwrap_or_default());
        assert!(difference <= TOLERANCE, "{folder}: the vector is off by {difference:.1e}");
    }
}

#[test]
fn one_file_with_every_task_answers_like_the_reference() {
    let largest = largest_difference_in("a-one-file", "", None);
    println!("one file: largest difference from the reference: {largest:.1e}");
}

#[test]
fn a_model_with_pickled_adapters_answers_like_the_reference() {
    let largest = largest_difference_in("b-model-and-adapters", "model", Some("adapters"));
    println!("adapters: largest difference from the reference: {largest:.1e}");
}

#[test]
fn adapters_with_transposed_task_embeddings_answer_like_the_reference() {
    let largest = largest_difference_in("b-model-and-adapters", "model", Some("adapters-transposed"));
    println!("transposed adapters: largest difference from the reference: {largest:.1e}");
}

#[test]
fn fine_tuned_models_answer_like_the_reference() {
    for folder in ["c-sequence", "c-multi-label", "c-regression", "c-multiple-choice", "c-token"] {
        let largest = largest_difference_in(folder, "", None);
        println!("{folder}: largest difference from the reference: {largest:.1e}");
    }
}

#[test]
fn bare_encoders_give_the_vectors_of_the_reference() {
    for folder in ["d-prefixed", "d-bare"] {
        vectors_like_the_reference(folder);
    }
}
