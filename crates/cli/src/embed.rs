//! `headwater embed`: the encoder's vectors of texts.

use api::v1::{EmbedRequest, EmbedResponse, Embedding, Truncation, VectorKind};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::answer::{Usage, mode_name, no_answer};
use crate::calls;
use crate::config::Format;
use crate::error::CliError;
use crate::inputs::InputArguments;
use crate::options::Overlong;
use crate::output::{shortened, table};
use crate::row::{self, TextRow};
use crate::session::{Outcome, Session, deadline};

/// Numbers of a vector in a table.
const NUMBERS_SHOWN: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    inputs: InputArguments,
    /// Which vector.
    #[arg(long, value_enum, default_value_t = Vector::Pooled)]
    vector: Vector,
    /// Task whose embedding goes through the encoder [default: none].
    #[arg(long)]
    task: Option<String>,
    /// Version number or alias of that task [default: live].
    #[arg(long, requires = "task")]
    version: Option<String>,
    /// What to do with input that is too long [default: cut].
    #[arg(long, value_enum, value_name = "WAY")]
    truncation: Option<Overlong>,
    /// Longest row in tokens, special tokens included [default: the encoder's limit].
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Vector {
    /// The pooler's output: what heads read.
    Pooled,
    /// The last hidden state of the first token.
    Cls,
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Answer {
    vector: Vec<f32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    task: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    mode: Option<&'static str>,
    encoder_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let source = arguments.inputs.input.as_deref().map(|path| session.open(path)).transpose()?;
    // A wrong command line is told before any server is reached.
    let inputs = if source.is_none() { arguments.inputs.inputs()? } else { Vec::new() };
    let mut client = session.classifier().await?;
    let vector = match arguments.vector {
        Vector::Pooled => VectorKind::Pooled,
        Vector::Cls => VectorKind::Cls,
    };
    let asked = EmbedRequest {
        inputs: Vec::new(),
        vector: vector.into(),
        task: arguments.task.unwrap_or_default(),
        version: arguments.version.unwrap_or_default(),
        truncation: arguments.truncation.map(Truncation::from).unwrap_or_default().into(),
        max_tokens: arguments.max_tokens,
    };
    if let Some(source) = source {
        let timeout = session.timeout();
        return calls::each_line(source, session, |line| {
            let row: TextRow = row::parse(line)?;
            let request = EmbedRequest { inputs: vec![row.into()], ..asked.clone() };
            row::check_size(api::encoded_bytes(&request))?;
            let mut client = client.clone();
            Ok(async move {
                let reply = client.embed(deadline(timeout, request)).await?.into_inner();
                answers(reply).into_iter().next().ok_or_else(no_answer)
            })
        })
        .await;
    }
    let request = EmbedRequest { inputs, ..asked };
    let texts: Vec<String> = request.inputs.iter().map(|input| shortened(&input.text)).collect();
    let reply = client.embed(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let answers = answers(reply);
    match session.printer.format() {
        Format::Json => answers.iter().try_for_each(|answer| session.printer.json(answer))?,
        Format::Table => {
            let mut shown = table(["TEXT", "WIDTH", "LENGTH", "BEGINS WITH"]);
            for (text, answer) in texts.into_iter().zip(&answers) {
                let length = answer.vector.iter().map(|number| number * number).sum::<f32>().sqrt();
                let first: Vec<String> =
                    answer.vector.iter().take(NUMBERS_SHOWN).map(|number| format!("{number:.4}")).collect();
                shown.add_row([text, answer.vector.len().to_string(), format!("{length:.4}"), first.join(" ")]);
            }
            session.printer.table(&shown)?;
        }
    }
    Ok(Outcome::Done)
}

fn answers(reply: EmbedResponse) -> Vec<Answer> {
    let served_by = reply.served_by.unwrap_or_default();
    let answer = |embedding: Embedding| Answer {
        vector: embedding.values,
        task: served_by.task.clone(),
        version: Some(served_by.version).filter(|version| *version > 0),
        mode: mode_name(served_by.mode()),
        encoder_digest: served_by.encoder_digest.clone(),
        usage: embedding.usage.map(Usage::from),
    };
    reply.embeddings.into_iter().map(answer).collect()
}
