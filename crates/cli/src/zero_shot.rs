//! `headwater zero-shot`: texts held against labels that the caller makes up.

use std::path::PathBuf;

use api::v1::{ZeroShotInput, ZeroShotPrediction, ZeroShotRequest, ZeroShotResponse};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::answer::{ConfidenceFields, Usage, mode_name};
use crate::calls;
use crate::config::Format;
use crate::error::CliError;
use crate::options::OptionArguments;
use crate::output::{notes_of, probability, shortened, table};
use crate::row;
use crate::session::{Outcome, Session, deadline};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task with entailment among its labels.
    task: String,
    /// Texts; each is one input.
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// A candidate label; give one for each label.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Sentence that says a label holds; {} stands for the label [default: This example is {}.]
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,
    /// Judge every label on its own.
    #[arg(long)]
    multi_label: bool,
    /// Read inputs from this file instead, `-` for standard input: JSON lines with the fields text and, if wanted,
    /// candidate_labels. Writes one line for each, in order.
    #[arg(long, value_name = "FILE", conflicts_with = "texts", required_unless_present = "texts")]
    input: Option<PathBuf>,
    #[command(flatten)]
    options: OptionArguments,
}

/// One row of a file.
#[derive(Debug, Deserialize)]
struct Row {
    text: String,
    #[serde(default)]
    candidate_labels: Option<Vec<String>>,
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Answer {
    labels: Vec<Label>,
    task: String,
    version: u64,
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<ConfidenceFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
struct Label {
    label: String,
    index: u32,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    entailment_logit: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contradiction_logit: Option<f32>,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let source = arguments.input.as_deref().map(|path| session.open(path)).transpose()?;
    let mut client = session.classifier().await?;
    let asked = ZeroShotRequest {
        task: arguments.task,
        version: arguments.options.version(),
        inputs: Vec::new(),
        candidate_labels: arguments.labels,
        hypothesis_template: arguments.template.unwrap_or_default(),
        multi_label: arguments.multi_label,
        options: Some(arguments.options.message()),
    };
    if let Some(source) = source {
        let timeout = session.timeout();
        return calls::each_line(source, session, |line| {
            let row: Row = row::parse(line)?;
            let input = ZeroShotInput { text: row.text, candidate_labels: row.candidate_labels.unwrap_or_default() };
            let request = ZeroShotRequest { inputs: vec![input], ..asked.clone() };
            row::check_size(api::encoded_bytes(&request))?;
            let mut client = client.clone();
            Ok(async move {
                let reply = client.zero_shot(deadline(timeout, request)).await?.into_inner();
                answers(reply).into_iter().next().ok_or_else(crate::answer::no_answer)
            })
        })
        .await;
    }
    let input = |text: &String| ZeroShotInput { text: text.clone(), candidate_labels: Vec::new() };
    let request = ZeroShotRequest { inputs: arguments.texts.iter().map(input).collect(), ..asked };
    let reply = client.zero_shot(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let answers = answers(reply);
    match session.printer.format() {
        Format::Json => answers.iter().try_for_each(|answer| session.printer.json(answer))?,
        Format::Table => {
            let mut shown = table(["TEXT", "LABEL", "SCORE"]);
            for (text, answer) in arguments.texts.iter().zip(&answers) {
                for (position, label) in answer.labels.iter().enumerate() {
                    let text = if position == 0 { shortened(text) } else { String::new() };
                    shown.add_row([text, label.label.clone(), probability(label.score)]);
                }
                for note in notes_of(answer.confidence.as_ref(), answer.usage.as_ref()) {
                    shown.add_row([String::new(), format!("({note})"), String::new()]);
                }
            }
            session.printer.table(&shown)?;
        }
    }
    Ok(Outcome::Done)
}

fn answers(reply: ZeroShotResponse) -> Vec<Answer> {
    let served_by = reply.served_by.unwrap_or_default();
    let answer = |prediction: ZeroShotPrediction| Answer {
        labels: prediction.labels.into_iter().map(Label::from).collect(),
        task: served_by.task.clone(),
        version: served_by.version,
        mode: mode_name(served_by.mode()),
        confidence: prediction.confidence.map(ConfidenceFields::from),
        usage: prediction.usage.map(Usage::from),
    };
    reply.predictions.into_iter().map(answer).collect()
}

impl From<api::v1::ZeroShotLabel> for Label {
    fn from(label: api::v1::ZeroShotLabel) -> Self {
        let api::v1::ZeroShotLabel { label, index, score, entailment_logit, contradiction_logit } = label;
        Self { label, index, score, entailment_logit, contradiction_logit }
    }
}
