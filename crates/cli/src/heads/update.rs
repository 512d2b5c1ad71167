//! `headwater heads update`: what is said about a version, and settings that make a new one of the same weights.

use api::v1::{Mode, NumberList, TextList, UpdateMetadataRequest};
use clap::{Args, ValueEnum};
use serde_json::json;
use tonic::Code;

use crate::config::Format;
use crate::error::CliError;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").multiple(true).required(true))]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2.
    task: String,
    /// Version number or alias to start from [default: live].
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// One or two sentences on what is asked.
    #[arg(long, value_name = "TEXT", group = "change")]
    description: Option<String>,
    /// What it is not good for.
    #[arg(long, value_name = "TEXT", group = "change")]
    caution: Option<String>,
    /// Words to filter by, in place of all there are; separated by commas, none for an empty text.
    #[arg(long, value_name = "LIST", group = "change")]
    tags: Option<String>,
    /// The data set it was trained on.
    #[arg(long, value_name = "NAME", group = "change")]
    dataset: Option<String>,
    /// Licence of the head or of the data behind it.
    #[arg(long, value_name = "TEXT", group = "change")]
    licence: Option<String>,
    /// New version: a label's name; give one for each output, in order.
    #[arg(long = "label", value_name = "NAME", group = "change")]
    labels: Vec<String>,
    /// New version: prompt of a multiple choice or reward head; an empty text removes it.
    #[arg(long, value_name = "TEXT", group = "change")]
    prompt: Option<String>,
    /// New version: thresholds of a multi-label head, one for each label, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', group = "change")]
    thresholds: Vec<f32>,
    /// New version: what logits are divided by; 0 removes it.
    #[arg(long, value_name = "NUMBER", group = "change")]
    temperature: Option<f32>,
    /// New version: the mode of a call that names none.
    #[arg(long, value_enum, value_name = "MODE", group = "change")]
    default_mode: Option<ModeName>,
    /// New version: best probability below which answers say `abstain`; 0 removes it.
    #[arg(long, value_name = "NUMBER", group = "change")]
    abstain_below: Option<f32>,
    /// Move the alias live to the new version.
    #[arg(long)]
    live: bool,
    /// Refuse if the task has changed since this generation.
    #[arg(long, value_name = "N")]
    expect_generation: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    /// Rows carry the task's embedding.
    Exact,
    /// One row serves every head.
    Shared,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.heads().await?;
    let request = session.call(request(arguments));
    let reply = client.update_metadata(request).await.map_err(|status| session.failed(status))?.into_inner();
    let task = reply.task.ok_or_else(|| session.failed(tonic::Status::new(Code::Internal, "the reply has no task")))?;
    let live = task.aliases.iter().any(|alias| alias.name == "live" && alias.version == task.version);
    match session.printer.format() {
        Format::Json => session.printer.json(&json!({
            "task": task.name,
            "version": task.version,
            "new_version": reply.new_version,
            "live": live,
            "head_digest": task.head_digest,
            "generation": reply.generation,
        }))?,
        Format::Table => {
            let what = if reply.new_version { "is new, with the same weights" } else { "says so now" };
            let state = if live { ", and live" } else { "" };
            session.printer.line(&format!("{}: version {} {what}{state}", task.name, task.version))?;
        }
    }
    Ok(Outcome::Done)
}

fn request(arguments: Arguments) -> UpdateMetadataRequest {
    let words = |list: String| {
        let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
        TextList { values: words.map(str::to_owned).collect() }
    };
    let mode = arguments.default_mode.map(|mode| match mode {
        ModeName::Exact => Mode::Exact,
        ModeName::Shared => Mode::Shared,
    });
    let Arguments { labels, thresholds, .. } = arguments;
    UpdateMetadataRequest {
        task: arguments.task,
        version: arguments.version,
        description: arguments.description,
        caution: arguments.caution,
        tags: arguments.tags.map(words),
        dataset: arguments.dataset,
        licence: arguments.licence,
        labels: (!labels.is_empty()).then_some(TextList { values: labels }),
        prompt: arguments.prompt,
        thresholds: (!thresholds.is_empty()).then_some(NumberList { values: thresholds }),
        temperature: arguments.temperature,
        default_mode: mode.unwrap_or_default().into(),
        abstain_below: arguments.abstain_below,
        make_live: arguments.live,
        expected_generation: arguments.expect_generation,
    }
}
