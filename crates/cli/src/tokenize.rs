//! `headwater tokenize`: the tokens that the encoder would read.

use api::v1::{Token, TokenizeRequest, TokenizeResponse, TokenizedInput, Truncation};
use clap::Args;
use serde::Serialize;

use crate::answer::{Usage, no_answer};
use crate::calls;
use crate::config::Format;
use crate::error::CliError;
use crate::inputs::InputArguments;
use crate::options::Overlong;
use crate::output::table;
use crate::row::{self, TextRow};
use crate::session::{Outcome, Session, deadline};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    inputs: InputArguments,
    /// What to do with input that is too long [default: cut].
    #[arg(long, value_enum, value_name = "WAY")]
    truncation: Option<Overlong>,
    /// Longest row in tokens, special tokens included [default: the encoder's limit].
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
}

/// One line of output: the rows of one input.
#[derive(Debug, Serialize)]
struct Answer {
    rows: Vec<Vec<TokenFields>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
struct TokenFields {
    id: u32,
    piece: String,
    special: bool,
    side: u32,
    word: Option<u32>,
    start: u32,
    end: u32,
    start_byte: u32,
    end_byte: u32,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let source = arguments.inputs.input.as_deref().map(|path| session.open(path)).transpose()?;
    // A wrong command line is told before any server is reached.
    let inputs = if source.is_none() { arguments.inputs.inputs()? } else { Vec::new() };
    let mut client = session.classifier().await?;
    let asked = TokenizeRequest {
        inputs: Vec::new(),
        truncation: arguments.truncation.map(Truncation::from).unwrap_or_default().into(),
        max_tokens: arguments.max_tokens,
    };
    if let Some(source) = source {
        let timeout = session.timeout();
        return calls::each_line(source, session, |line| {
            let row: TextRow = row::parse(line)?;
            let request = TokenizeRequest { inputs: vec![row.into()], ..asked.clone() };
            row::check_size(api::encoded_bytes(&request))?;
            let mut client = client.clone();
            Ok(async move {
                let reply = client.tokenize(deadline(timeout, request)).await?.into_inner();
                answers(reply).into_iter().next().ok_or_else(no_answer)
            })
        })
        .await;
    }
    let request = TokenizeRequest { inputs, ..asked };
    let reply = client.tokenize(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let answers = answers(reply);
    match session.printer.format() {
        Format::Json => answers.iter().try_for_each(|answer| session.printer.json(answer))?,
        Format::Table => {
            let mut shown = table(["INPUT", "ROW", "ID", "PIECE", "START", "END"]);
            for (position, answer) in answers.iter().enumerate() {
                for (row, tokens) in answer.rows.iter().enumerate() {
                    shown.add_rows(tokens.iter().map(|token| token.cells(position, row)));
                }
            }
            session.printer.table(&shown)?;
        }
    }
    Ok(Outcome::Done)
}

fn answers(reply: TokenizeResponse) -> Vec<Answer> {
    let answer = |input: TokenizedInput| Answer {
        rows: input.rows.into_iter().map(|row| row.tokens.into_iter().map(TokenFields::from).collect()).collect(),
        usage: input.usage.map(Usage::from),
    };
    reply.inputs.into_iter().map(answer).collect()
}

impl TokenFields {
    fn cells(&self, input: usize, row: usize) -> [String; 6] {
        let offset = |at: u32| if self.special { String::new() } else { at.to_string() };
        [
            input.to_string(),
            row.to_string(),
            self.id.to_string(),
            self.piece.clone(),
            offset(self.start),
            offset(self.end),
        ]
    }
}

impl From<Token> for TokenFields {
    fn from(token: Token) -> Self {
        let Token { id, piece, special, side, word, start, end, start_byte, end_byte } = token;
        Self { id, piece, special, side, word, start, end, start_byte, end_byte }
    }
}
