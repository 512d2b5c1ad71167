//! Why a checkpoint cannot be read, or a bundle not be written.

use std::path::{Path, PathBuf};

use engine::{HeadError, NameError};
use registry::{RegistryError, WeightsError};

/// Why a checkpoint cannot be read, or a bundle not be written. Every text reads well after `cannot import: `,
/// and its sources, where it has some, after a colon: [`CheckpointError::whole`].
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused; usually a path that is wrong or a disk that is full.
    #[error("{path}")]
    Io {
        /// The file or folder in question.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The source is neither a folder nor `org/name[@revision]`.
    #[error("{0:?} is neither a folder nor a hub id of the form org/name or org/name@revision")]
    BadSource(String),
    /// The hub cannot be reached, does not have the repository, or answers with something unusable.
    #[error("hub repository {repository}: {reason}")]
    Hub {
        /// `org/name@revision`.
        repository: String,
        /// What happened.
        reason: String,
    },
    /// A file that the layout needs is not there.
    #[error("{folder} has no {file}{}", hint.map(|hint| format!(": {hint}")).unwrap_or_default())]
    MissingFile {
        /// Where it was looked for.
        folder: String,
        /// The file's name.
        file: String,
        /// How to make it, where one line says it.
        hint: Option<&'static str>,
    },
    /// A name in the source is a link out of it, a device, a pipe or a folder.
    #[error("{path} is {found}; only regular files inside the source are read")]
    NotRegular {
        /// The refused path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A file is larger than its kind may be.
    #[error("{path} has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The refused file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A JSON file is malformed or holds something else than its reader expects.
    #[error("{file} cannot be read: {reason}")]
    BadJson {
        /// The file's name.
        file: String,
        /// What is wrong, with its place.
        reason: String,
    },
    /// A safetensors file breaks a rule of its format or of ours.
    #[error("{file} is refused")]
    BadTensorFile {
        /// The file's name.
        file: String,
        /// The broken rule.
        #[source]
        source: WeightsError,
    },
    /// A tensor of the encoder holds NaN or infinity.
    #[error("tensor {name} holds a number that is not finite")]
    NotFinite {
        /// Its full name.
        name: String,
    },
    /// A pickled checkpoint is not a plain archive of tensors.
    #[error("refused pickle: {0}")]
    BadPickle(String),
    /// The process that reads a pickle broke one of its limits, or could not start.
    #[error("{file} could not be converted: {reason}")]
    Jail {
        /// The pickled file.
        file: String,
        /// Which limit, or what it said.
        reason: String,
    },
    /// A configuration key has a value that this encoder does not implement.
    #[error("config.json: {key} is {value}, {expected}")]
    BadConfig {
        /// The key.
        key: &'static str,
        /// Its value, as written.
        value: String,
        /// What is served.
        expected: &'static str,
    },
    /// A tensor that the configuration or the layout calls for is absent.
    #[error("tensor {name} is missing")]
    MissingTensor {
        /// Its full name.
        name: String,
    },
    /// A tensor that nothing in the layout explains.
    #[error("tensor {name} is not expected{}", hint.map(|hint| format!(": {hint}")).unwrap_or_default())]
    UnexpectedTensor {
        /// Its full name.
        name: String,
        /// What such a name means, where known.
        hint: Option<&'static str>,
    },
    /// A tensor's shape fits neither the configuration nor its neighbours.
    #[error("tensor {name} has shape {found:?}, expected {expected}")]
    BadShape {
        /// Its full name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What would fit.
        expected: String,
    },
    /// A tensor of integers or truth values stands where numbers are needed.
    #[error("tensor {name} has element type {found}, expected F32, F16, BF16 or F64")]
    BadElementType {
        /// Its full name.
        name: String,
        /// Its element type.
        found: &'static str,
    },
    /// The files make none of the layouts that are read.
    #[error("no known layout: {0}")]
    UnknownLayout(String),
    /// Names and tensors of a task list do not go together.
    #[error("task list: {0}")]
    BadTaskList(String),
    /// A task's name cannot be used.
    #[error("task name {name:?}")]
    BadTaskName {
        /// The name as given, shortened.
        name: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// A line of a file of task kinds is malformed.
    #[error("{file}, line {line}: {reason}")]
    BadKindsFile {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A kind was asked for that the tensors cannot be.
    #[error("task {task}: asked to be {asked}, but its tensors have {outputs} outputs")]
    KindMismatch {
        /// The task.
        task: String,
        /// The kind asked for.
        asked: String,
        /// Outputs found.
        outputs: usize,
    },
    /// Numbers and labels do not make a head.
    #[error("task {task}")]
    BadHead {
        /// The task.
        task: String,
        /// What is wrong.
        #[source]
        source: HeadError,
    },
    /// The encoder of a fine-tuned model is built otherwise than the one its head shall read.
    #[error("its encoder is built otherwise: config.json: {key} is {found}, the served encoder has {expected}")]
    OtherConfig {
        /// The first key that differs.
        key: String,
        /// Its value in the model.
        found: String,
        /// Its value in the bundle.
        expected: String,
    },
    /// The tokenizer of a fine-tuned model gives other ids.
    #[error("its tokenizer is another one: {0}")]
    OtherTokenizer(String),
    /// The encoder of a fine-tuned model was trained with its head.
    #[error(
        "its encoder was trained too: {differing} of {compared} tensors differ, most of all {tensor}, by {relative:.2e} of its size; {hint}"
    )]
    OtherEncoder {
        /// Tensors that differ.
        differing: usize,
        /// Tensors compared.
        compared: usize,
        /// The one that differs most, by its name in a bundle.
        tensor: String,
        /// The length of its difference by its own.
        relative: f64,
        /// What can be done.
        hint: &'static str,
    },
    /// Training changed more of the encoder than an adapter has a place for.
    #[error(
        "{tensors} tensors of its encoder changed that LoRA has no place for (biases, normalisations, embeddings), most of all {tensor}, by {relative:.2e} of its size; --leave-out-rest imports the head without these changes and lists them"
    )]
    NoPlaceInAdapter {
        /// How many.
        tensors: usize,
        /// The one that changed most, by its name in a bundle.
        tensor: String,
        /// The length of its difference by its own.
        relative: f64,
    },
    /// The source is an adapter, and nobody asked for one.
    #[error(
        "the source is a LoRA adapter: --lora imports it, and rows of its head cost more and are shared with no other"
    )]
    IsAdapter,
    /// The bundle could not be written.
    #[error("cannot write the bundle")]
    Bundle(#[from] RegistryError),
    /// A preset of synthetic checkpoints that does not exist.
    #[error("preset {0:?} is unknown: expected one of {1}")]
    UnknownPreset(String, String),
}

impl CheckpointError {
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }

    /// The text with those of its sources, joined by colons.
    #[must_use]
    pub fn whole(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }

    pub(crate) fn json(file: impl Into<String>, reason: impl ToString) -> Self {
        Self::BadJson { file: file.into(), reason: reason.to_string() }
    }
}
