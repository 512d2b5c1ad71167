//! `headwater compare`: answers to one prompt, ranked.

use std::path::PathBuf;

use api::v1::{CompareRequest, CompareResponse};
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
    /// Task of kind reward.
    task: String,
    /// Two answers or more.
    #[arg(value_name = "ANSWER", num_args = 2..)]
    answers: Vec<String>,
    /// What they answer.
    #[arg(long, default_value = "", value_name = "TEXT")]
    prompt: String,
    /// Prompt template in place of the head's own; {} stands for the prompt.
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,
    /// Read inputs from this file instead, `-` for standard input: JSON lines with the fields prompt and answers, or
    /// text and choices. Writes one line for each, in order.
    #[arg(long, value_name = "FILE", conflicts_with = "answers", required_unless_present = "answers")]
    input: Option<PathBuf>,
    #[command(flatten)]
    options: OptionArguments,
}

/// One row of a file.
#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default, alias = "text")]
    prompt: Option<String>,
    #[serde(alias = "choices")]
    answers: Vec<String>,
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Answer {
    ranking: Vec<Ranked>,
    preferences: Vec<Vec<f32>>,
    task: String,
    version: u64,
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<ConfidenceFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
struct Ranked {
    index: u32,
    reward: f32,
    preference: f32,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let source = arguments.input.as_deref().map(|path| session.open(path)).transpose()?;
    let mut client = session.classifier().await?;
    let asked = CompareRequest {
        task: arguments.task,
        version: arguments.options.version(),
        prompt: arguments.prompt,
        answers: arguments.answers,
        prompt_template: arguments.template,
        options: Some(arguments.options.message()),
    };
    if let Some(source) = source {
        let timeout = session.timeout();
        return calls::each_line(source, session, |line| {
            let row: Row = row::parse(line)?;
            let prompt = row.prompt.unwrap_or_default();
            let request = CompareRequest { prompt, answers: row.answers, ..asked.clone() };
            row::check_size(api::encoded_bytes(&request))?;
            let mut client = client.clone();
            Ok(async move { client.compare(deadline(timeout, request)).await.map(|reply| answer(reply.into_inner())) })
        })
        .await;
    }
    let answers = asked.answers.clone();
    let reply = client.compare(session.call(asked)).await.map_err(|status| session.failed(status))?;
    let answer = answer(reply.into_inner());
    match session.printer.format() {
        Format::Json => session.printer.json(&answer)?,
        Format::Table => {
            let mut shown = table(["ANSWER", "PREFERENCE", "REWARD"]);
            for ranked in &answer.ranking {
                let text = answers.get(ranked.index as usize).map(|text| shortened(text)).unwrap_or_default();
                shown.add_row([text, probability(ranked.preference), ranked.reward.to_string()]);
            }
            for note in notes_of(answer.confidence.as_ref(), answer.usage.as_ref()) {
                shown.add_row([format!("({note})"), String::new(), String::new()]);
            }
            session.printer.table(&shown)?;
        }
    }
    Ok(Outcome::Done)
}

fn answer(reply: CompareResponse) -> Answer {
    let served_by = reply.served_by.unwrap_or_default();
    let ranked = |ranked: api::v1::RankedAnswer| Ranked {
        index: ranked.index,
        reward: ranked.reward,
        preference: ranked.preference,
    };
    Answer {
        ranking: reply.ranking.into_iter().map(ranked).collect(),
        preferences: reply.preferences.into_iter().map(|row| row.probabilities).collect(),
        mode: mode_name(served_by.mode()),
        confidence: reply.confidence.map(ConfidenceFields::from),
        usage: reply.usage.map(Usage::from),
        version: served_by.version,
        task: served_by.task,
    }
}
