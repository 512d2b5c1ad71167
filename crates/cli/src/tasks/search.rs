//! `headwater tasks search`: tasks by words, with the reasons.

use api::v1::{MatchReason, SearchField, SearchTasksRequest, TaskMatch};
use clap::Args;
use serde_json::{Value, json};

use super::{FilterArguments, kind_name, object};
use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, one_line, table_of_lines};
use crate::session::{Outcome, Session};

/// Matches asked for at once.
const PAGE_SIZE: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Words, in any order.
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
    #[command(flatten)]
    filter: FilterArguments,
    /// Most matches to show.
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let query = arguments.words.join(" ");
    let selector = Some(arguments.filter.selector());
    let mut client = session.catalog().await?;
    let mut shown = table_of_lines(["TASK", "KIND", "SCORE", "FOUND", "DESCRIPTION"]);
    let (mut page_token, mut left, mut total) = (String::new(), arguments.limit, 0);
    while left > 0 {
        let page_size = left.min(PAGE_SIZE) as u32;
        let request = SearchTasksRequest { query: query.clone(), selector: selector.clone(), page_size, page_token };
        let reply = client.search_tasks(session.call(request)).await.map_err(|status| session.failed(status))?;
        let page = reply.into_inner();
        left = left.saturating_sub(page.matches.len());
        total = page.total;
        for found in page.matches {
            match session.printer.format() {
                Format::Json => session.printer.json(&fields(found))?,
                Format::Table => drop(shown.add_row(one_high(cells(found)))),
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if session.printer.format() == Format::Table {
        session.printer.table(&shown)?;
        session.printer.line(&format!("\n{} of {total} found", shown.row_count()))?;
    }
    Ok(Outcome::Done)
}

fn fields(found: TaskMatch) -> Value {
    let reason = |reason: &MatchReason| json!({"word": reason.word, "field": field_name(reason.field()), "points": reason.points});
    let reasons: Vec<Value> = found.reasons.iter().map(reason).collect();
    json!({"score": found.score, "reasons": reasons, "task": object(&found.task.unwrap_or_default())})
}

fn cells(found: TaskMatch) -> [String; 5] {
    let reason = |reason: &MatchReason| format!("{} in {}", one_line(&reason.word), field_name(reason.field()));
    let reasons: Vec<String> = found.reasons.iter().map(reason).collect();
    let task = found.task.unwrap_or_default();
    let kind = kind_name(task.kind()).unwrap_or("unknown").to_owned();
    [task.name, kind, format!("{:.1}", found.score), reasons.join(", "), one_line(&task.description)]
}

fn field_name(field: SearchField) -> &'static str {
    match field {
        SearchField::Unspecified => "unknown",
        SearchField::Name => "name",
        SearchField::Tag => "tag",
        SearchField::Label => "label",
        SearchField::Dataset => "dataset",
        SearchField::Kind => "kind",
        SearchField::Description => "description",
    }
}
