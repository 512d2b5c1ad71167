//! The whole way from a fine-tuned model over a known encoder to one head for it.

use std::fmt;
use std::path::PathBuf;

use engine::{Head, HeadKind, TaskName};

use crate::encoder_config::EncoderConfig;
use crate::encoder_difference::{EncoderDifference, OpenEncoder, check_config, compare};
use crate::encoder_tensors::{EncoderTensors, is_of_pooler};
use crate::error::CheckpointError;
use crate::fine_tuned;
use crate::folder::SourceFolder;
use crate::hub::HubSettings;
use crate::import_adapter;
use crate::jail::Jail;
use crate::kinds::Kinds;
use crate::model_card;
use crate::model_config;
use crate::names;
use crate::peft_adapter;
use crate::raw_head::RawHead;
use crate::report::HeadRow;
use crate::settle::{ModelFacts, settle};
use crate::source::{OpenSource, Source};
use crate::tokenizer;
use crate::weights::{Conversion, Weights};

const FROZEN: &str = "a head reads the served encoder: train with it frozen, or import the difference with --lora";
const FROZEN_POOLER: &str =
    "a head reads the served encoder's pooler: train with `pooler` frozen as well, or bring its own along with --lora";

/// What to import, and for which encoder.
#[derive(Debug, Clone)]
pub struct HeadOptions {
    /// The fine-tuned model.
    pub source: Source,
    /// The served encoder: `config.json`, `model.safetensors` and `tokenizer.json` of a bundle.
    pub encoder_dir: PathBuf,
    /// The head's task; absent means the source's name.
    pub task: Option<TaskName>,
    /// What the head answers with; absent means what the model's files say.
    pub kind: Option<HeadKind>,
    /// Import what training changed of the encoder, as factors of at most this rank where they must be found; `None`
    /// refuses a changed encoder.
    pub lora: Option<usize>,
    /// With `lora`, import a head also where changes of the encoder have no place in an adapter: without them.
    pub leave_out_rest: bool,
    /// A folder with room for a converted pickle.
    pub scratch: PathBuf,
    /// How pickles are read.
    pub jail: Jail,
    /// Where the hub is.
    pub hub: HubSettings,
}

/// A head over the served encoder, and what a person should know of its way here.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedHead {
    /// The head.
    pub head: Head,
    /// What was decided about it.
    pub row: HeadRow,
    /// What was read: names, revisions and files.
    pub source: String,
    /// How the model's encoder compares with the served one.
    pub encoder: String,
}

/// Reads the classifier of a fine-tuned model, or of a LoRA adapter, as a head over the encoder in `encoder_dir`.
///
/// # Errors
/// [`CheckpointError`]: the first thing that cannot be read, or in what the model's encoder is another one.
pub fn import_head(options: &HeadOptions) -> Result<ImportedHead, CheckpointError> {
    let source = options.source.open(&options.hub)?;
    let conversion = Conversion { jail: &options.jail, scratch: &options.scratch };
    let own = Served::open(options, conversion)?;
    if peft_adapter::is_adapter(&source.folder) {
        return import_adapter::of_adapter(options, &own, &source);
    }
    let config = model_config::read(&source.folder)?;
    let encoder = EncoderConfig::parse(&config)?;
    check_config(&own.config, &encoder)?;
    let mut notes = check_tokenizer(&own.folder, &source.folder)?;
    let weights = Weights::open(&source.folder, conversion)?;
    let (tensors, others) = EncoderTensors::find(&weights, &encoder)?;
    check_others(&others)?;

    let mut raw = fine_tuned::read(&weights, &config, &encoder, tensors.has_pooler)?;
    raw.name = task_name(options, &source)?;
    if let Some(kind) = options.kind {
        raw.said = Some((kind, "your option"));
    }
    let found = OpenEncoder { weights: &weights, tensors: &tensors };
    let difference = compare(own.encoder(), found)?;
    let said = describe(&difference);
    match options.lora {
        Some(rank) => {
            let how = (rank, options.leave_out_rest);
            import_adapter::of_difference((own.encoder(), found), difference, &mut raw, how)?;
        }
        None => check_frozen(difference, &raw)?,
    }
    raw.notes.append(&mut notes);
    let origin = format!("{}, {}", source.origin, weights.read_from);
    finish(raw, &own, &source, (origin, said))
}

/// Settles what is left open and makes the head.
pub(crate) fn finish(
    raw: RawHead,
    own: &Served,
    source: &OpenSource,
    (origin, encoder): (String, String),
) -> Result<ImportedHead, CheckpointError> {
    let licence = model_card::licence(&source.folder)?.unwrap_or_default();
    let (hidden, has_pooler) = (own.config.hidden, own.tensors.has_pooler);
    let facts = ModelFacts { hidden, has_pooler, origin: &origin, licence: &licence };
    let (row, head) = settle(raw, &Kinds::open(None)?, &facts)?;
    Ok(ImportedHead { head, row, source: origin, encoder })
}

/// The served encoder's files.
pub(crate) struct Served {
    pub(crate) folder: SourceFolder,
    pub(crate) config: EncoderConfig,
    weights: Weights,
    tensors: EncoderTensors,
}

impl Served {
    fn open(options: &HeadOptions, conversion: Conversion<'_>) -> Result<Self, CheckpointError> {
        let folder = SourceFolder::open(&options.encoder_dir)?;
        let config = EncoderConfig::parse(&model_config::read(&folder)?)?;
        let weights = Weights::open(&folder, conversion)?;
        let (tensors, _) = EncoderTensors::find(&weights, &config)?;
        Ok(Self { folder, config, weights, tensors })
    }

    pub(crate) fn encoder(&self) -> OpenEncoder<'_> {
        OpenEncoder { weights: &self.weights, tensors: &self.tensors }
    }
}

/// Both tokenizers must give the same ids. A model without one is taken at its word, with a note.
pub(crate) fn check_tokenizer(own: &SourceFolder, found: &SourceFolder) -> Result<Vec<String>, CheckpointError> {
    let Some(found) = tokenizer::bytes(found)? else {
        return Ok(vec!["it has no tokenizer.json: the served encoder's tokenizer is taken for its own".to_owned()]);
    };
    let own = tokenizer::read(own)?.tokenizer;
    match tokenizer::difference(&own, &found)? {
        Some(reason) => Err(CheckpointError::OtherTokenizer(reason)),
        None => Ok(Vec::new()),
    }
}

fn check_others(others: &[String]) -> Result<(), CheckpointError> {
    if let Some(name) = others.iter().find(|name| !fine_tuned::is_ours(name)) {
        let hint = name.starts_with("qa_outputs.").then_some("heads that answer questions with spans are not served");
        return Err(CheckpointError::UnexpectedTensor { name: name.clone(), hint });
    }
    if others.is_empty() {
        let reason = "the model has no classifier: there is no head in it".to_owned();
        return Err(CheckpointError::UnknownLayout(reason));
    }
    Ok(())
}

pub(crate) fn task_name(options: &HeadOptions, source: &OpenSource) -> Result<String, CheckpointError> {
    if let Some(task) = &options.task {
        return Ok(task.to_string());
    }
    let unnamed = || CheckpointError::BadTaskList(format!("no task name can be made of {:?}; give one", source.name));
    names::from_source(&source.name).map(|task| task.to_string()).ok_or_else(unnamed)
}

/// A head on the pooled vector needs the same pooler as well; one on tokens does not read it.
fn check_frozen(difference: EncoderDifference, head: &RawHead) -> Result<(), CheckpointError> {
    let reads_tokens = head.said.is_some_and(|(kind, _)| kind.reads_tokens());
    let compared = difference.compared;
    let (pooler, encoder) = difference.split(is_of_pooler);
    let refused = |part: &EncoderDifference, hint| match part.largest() {
        Some(largest) => Err(CheckpointError::OtherEncoder {
            differing: part.tensors.len(),
            compared,
            tensor: largest.name.clone(),
            relative: largest.relative,
            hint,
        }),
        None => Ok(()),
    };
    refused(&encoder, FROZEN)?;
    if reads_tokens { Ok(()) } else { refused(&pooler, FROZEN_POOLER) }
}

fn describe(difference: &EncoderDifference) -> String {
    let EncoderDifference { compared, tensors, rounded } = difference;
    match (tensors.len(), rounded) {
        (0, 0) => format!("the served one: {compared} tensors are equal"),
        (0, rounded) => format!("the served one: {compared} tensors are equal, {rounded} of them after rounding"),
        (differing, _) => format!("{differing} of {compared} tensors differ"),
    }
}

impl fmt::Display for ImportedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeadRow { task, kind, decided_by, outputs, labels, notes, .. } = &self.row;
        writeln!(f, "source   {}", self.source)?;
        writeln!(f, "encoder  {}", self.encoder)?;
        write!(f, "head     {task}, {kind} ({decided_by}), {outputs} outputs")?;
        if !labels.is_empty() {
            let shown: Vec<&str> = labels.iter().take(10).map(String::as_str).collect();
            write!(f, ": {}{}", shown.join(", "), if labels.len() > shown.len() { ", …" } else { "" })?;
        }
        notes.iter().try_for_each(|note| write!(f, "\nnote     {note}"))
    }
}
