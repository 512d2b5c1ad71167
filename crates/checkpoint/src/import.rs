//! The whole way from a published checkpoint to a bundle on disk.

use std::io::Write;
use std::path::{Path, PathBuf};

use engine::TaskName;
use registry::{BundleWriter, EncoderFile};
use serde_json::Value;

use crate::adapters;
use crate::encoder_config::EncoderConfig;
use crate::encoder_tensors::EncoderTensors;
use crate::error::CheckpointError;
use crate::fine_tuned;
use crate::hub::HubSettings;
use crate::jail::Jail;
use crate::kinds::Kinds;
use crate::layout::Layout;
use crate::model_card;
use crate::model_config;
use crate::names;
use crate::one_file;
use crate::raw_head::RawHead;
use crate::report::Report;
use crate::settle::{ModelFacts, check_names, settle};
use crate::source::{OpenSource, Source};
use crate::task_list::TaskList;
use crate::tokenizer;
use crate::weights::{Conversion, Weights};

/// The task of a model's own classifier where its labels are those of natural language inference.
const INFERENCE_TASK: &str = "nli";

/// What to import, and where to.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The model.
    pub source: Source,
    /// The adapters that belong to it, where they lie elsewhere.
    pub adapters: Option<Source>,
    /// The task of the model's own classifier; absent means `nli` where its labels say so, else the source's name.
    pub task: Option<TaskName>,
    /// A table of task kinds that overrides everything else.
    pub kinds_file: Option<PathBuf>,
    /// The bundle to write; nothing may be there.
    pub bundle: PathBuf,
    /// How pickles are read.
    pub jail: Jail,
    /// Where the hub is.
    pub hub: HubSettings,
}

/// Reads a checkpoint and writes it as a bundle. On failure nothing is left at the bundle's place.
///
/// # Errors
/// [`CheckpointError`]: the first thing that cannot be read, and why.
pub fn import(options: &ImportOptions) -> Result<Report, CheckpointError> {
    let kinds = Kinds::open(options.kinds_file.as_deref())?;
    let source = options.source.open(&options.hub)?;
    let adapters = options.adapters.as_ref().map(|adapters| adapters.open(&options.hub)).transpose()?;

    let config = model_config::read(&source.folder)?;
    let encoder = EncoderConfig::parse(&config)?;
    let tokenizer = tokenizer::read(&source.folder)?;
    let mut writer = BundleWriter::create(&options.bundle)?;
    let scratch = parent_of(&options.bundle);
    let conversion = Conversion { jail: &options.jail, scratch };
    let weights = Weights::open(&source.folder, conversion)?;
    let (tensors, others) = EncoderTensors::find(&weights, &encoder)?;
    let layout = Layout::detect(&others, adapters.is_some())?;

    let mut heads = Vec::new();
    let mut origin = format!("{}, {}", source.origin, weights.read_from);
    match layout {
        Layout::OneFile => heads.extend(one_file::read(&weights, &config, &encoder)?),
        Layout::Adapters => {
            if let Some(adapters) = &adapters {
                let read = adapters::read(&adapters.folder, &encoder, conversion)?;
                origin = format!("{origin}; {}, {}", adapters.origin, read.read_from);
                heads.extend(read.heads);
            }
        }
        Layout::FineTuned | Layout::Bare => {}
    }
    if others.iter().any(|name| fine_tuned::is_ours(name)) {
        let mut own = fine_tuned::read(&weights, &config, &encoder, tensors.has_pooler)?;
        own.name = own_task(options, &source, &own, &heads)?;
        heads.push(own);
    }
    let mut notes = remarks(&config, &encoder, layout, tokenizer.ids)?;

    let licences = [adapters.as_ref().map(|adapters| &adapters.folder), Some(&source.folder)];
    let licences: Result<Vec<_>, _> = licences.into_iter().flatten().map(model_card::licence).collect();
    let licence = licences?.into_iter().flatten().next().unwrap_or_default();
    let facts =
        ModelFacts { hidden: encoder.hidden, has_pooler: tensors.has_pooler, origin: &origin, licence: &licence };
    let mut settled = Vec::with_capacity(heads.len());
    for raw in heads {
        settled.push(settle(raw, &kinds, &facts)?);
    }
    check_names(settled.iter().map(|(row, _)| &row.task))?;
    if settled.is_empty() {
        notes.push("no heads: they can be installed later".to_owned());
    }

    let config = encoder.to_json();
    let mut text = serde_json::to_vec_pretty(&config).map_err(|error| CheckpointError::json("config.json", error))?;
    text.push(b'\n');
    write_small(&mut writer, EncoderFile::Config, &text)?;
    write_small(&mut writer, EncoderFile::Tokenizer, &tokenizer.tokenizer)?;
    if let Some(settings) = &tokenizer.settings {
        write_small(&mut writer, EncoderFile::TokenizerConfig, settings)?;
    }
    tensors.copy(&weights, writer.create_encoder_file(EncoderFile::Model)?)?;
    for (row, head) in &settled {
        writer.add_head(&row.task, head)?;
    }
    let digest = writer.finish()?;
    Ok(Report {
        source: origin.clone(),
        layout,
        encoder: digest,
        geometry: geometry(&encoder, tensors.has_pooler),
        heads: settled.into_iter().map(|(row, _)| row).collect(),
        notes,
    })
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_small(writer: &mut BundleWriter, file: EncoderFile, bytes: &[u8]) -> Result<(), CheckpointError> {
    writer.create_encoder_file(file)?.write_all(bytes).map_err(CheckpointError::io(file.name()))
}

/// The name of the model's own classifier, which must not be that of a listed task.
fn own_task(
    options: &ImportOptions,
    source: &OpenSource,
    own: &RawHead,
    listed: &[RawHead],
) -> Result<String, CheckpointError> {
    let is_listed = |name: &str| listed.iter().any(|head| head.name == name);
    if let Some(task) = &options.task {
        if is_listed(task.as_str()) {
            return Err(CheckpointError::BadTaskList(format!(
                "{task} is a listed task; name the model's own otherwise"
            )));
        }
        return Ok(task.to_string());
    }
    let from_source = || {
        let reason = format!("no task name can be made of {:?}; give one", source.name);
        names::from_source(&source.name).ok_or(CheckpointError::BadTaskList(reason))
    };
    let is_inference = fine_tuned::is_inference(&own.labels) && !listed.is_empty();
    let name = if is_inference { INFERENCE_TASK.to_owned() } else { from_source()?.to_string() };
    Ok(if is_listed(&name) { format!("{name}/own") } else { name })
}

/// What a person should know that no single head shows.
fn remarks(
    config: &Value,
    encoder: &EncoderConfig,
    layout: Layout,
    tokenizer_ids: usize,
) -> Result<Vec<String>, CheckpointError> {
    let mut notes = Vec::new();
    if tokenizer_ids > encoder.vocabulary {
        let vocabulary = encoder.vocabulary;
        notes.push(format!(
            "the tokenizer has {tokenizer_ids} ids, the encoder {vocabulary}: texts that use the rest fail"
        ));
    }
    let listed = TaskList::parse(config)?.tasks.len();
    if listed > 0 && matches!(layout, Layout::FineTuned | Layout::Bare) {
        notes.push(format!(
            "config.json lists {listed} tasks; name the repository of their adapters to import them too"
        ));
    }
    Ok(notes)
}

fn geometry(encoder: &EncoderConfig, has_pooler: bool) -> String {
    format!(
        "{} layers, {} wide, {} heads, vocabulary {}, {} pooler",
        encoder.layers,
        encoder.hidden,
        encoder.heads,
        encoder.vocabulary,
        if has_pooler { "with" } else { "without" }
    )
}
