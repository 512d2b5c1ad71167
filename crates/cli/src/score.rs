//! `headwater score`: the reward of answers to a prompt.

use std::path::PathBuf;

use api::v1::{Reward, ScoreInput, ScoreRequest, ScoreResponse};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::answer::{ConfidenceFields, Usage, mode_name, no_answer};
use crate::calls;
use crate::config::Format;
use crate::error::CliError;
use crate::options::OptionArguments;
use crate::output::{notes_of, shortened, table};
use crate::row;
use crate::session::{Outcome, Session, deadline};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task of kind reward.
    task: String,
    /// Answers; each is judged on its own.
    #[arg(value_name = "ANSWER")]
    answers: Vec<String>,
    /// What they answer.
    #[arg(long, default_value = "", value_name = "TEXT")]
    prompt: String,
    /// Prompt template in place of the head's own; {} stands for the prompt.
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,
    /// Read inputs from this file instead, `-` for standard input: JSON lines with the fields prompt and answer.
    /// Writes one line for each, in order.
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
    #[serde(alias = "text_pair")]
    answer: String,
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Answer {
    value: f32,
    task: String,
    version: u64,
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<ConfidenceFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let source = arguments.input.as_deref().map(|path| session.open(path)).transpose()?;
    let mut client = session.classifier().await?;
    let asked = ScoreRequest {
        task: arguments.task,
        version: arguments.options.version(),
        inputs: Vec::new(),
        prompt_template: arguments.template,
        options: Some(arguments.options.message()),
    };
    if let Some(source) = source {
        let timeout = session.timeout();
        return calls::each_line(source, session, |line| {
            let row: Row = row::parse(line)?;
            let input = ScoreInput { prompt: row.prompt.unwrap_or_default(), answer: row.answer };
            let request = ScoreRequest { inputs: vec![input], ..asked.clone() };
            row::check_size(api::encoded_bytes(&request))?;
            let mut client = client.clone();
            Ok(async move {
                let reply = client.score(deadline(timeout, request)).await?.into_inner();
                answers(reply).into_iter().next().ok_or_else(no_answer)
            })
        })
        .await;
    }
    let input = |answer: &String| ScoreInput { prompt: arguments.prompt.clone(), answer: answer.clone() };
    let request = ScoreRequest { inputs: arguments.answers.iter().map(input).collect(), ..asked };
    let reply = client.score(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let answers = answers(reply);
    match session.printer.format() {
        Format::Json => answers.iter().try_for_each(|answer| session.printer.json(answer))?,
        Format::Table => {
            let mut shown = table(["ANSWER", "REWARD"]);
            for (text, answer) in arguments.answers.iter().zip(&answers) {
                shown.add_row([shortened(text), answer.value.to_string()]);
                for note in notes_of(answer.confidence.as_ref(), answer.usage.as_ref()) {
                    shown.add_row([format!("({note})"), String::new()]);
                }
            }
            session.printer.table(&shown)?;
        }
    }
    Ok(Outcome::Done)
}

fn answers(reply: ScoreResponse) -> Vec<Answer> {
    let served_by = reply.served_by.unwrap_or_default();
    let answer = |reward: Reward| Answer {
        value: reward.reward,
        task: served_by.task.clone(),
        version: served_by.version,
        mode: mode_name(served_by.mode()),
        confidence: reward.confidence.map(ConfidenceFields::from),
        usage: reward.usage.map(Usage::from),
    };
    reply.rewards.into_iter().map(answer).collect()
}
