//! `headwater tasks suggest`: the tasks whose sample inputs are nearest to a text.

use api::v1::{Input, SuggestTasksRequest};
use clap::Args;
use serde_json::json;

use super::{FilterArguments, kind_name, object, page};
use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, shortened, table_of_lines};
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A text of the kind that is to be asked about.
    text: String,
    /// Second text of a pair.
    #[arg(long, value_name = "TEXT")]
    pair: Option<String>,
    #[command(flatten)]
    filter: FilterArguments,
    /// Most tasks to show, at most 100.
    #[arg(long, default_value_t = 10, value_name = "N")]
    limit: u32,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let input = Input { text: arguments.text, text_pair: arguments.pair, ..Input::default() };
    let selector = Some(arguments.filter.selector());
    let request = SuggestTasksRequest { input: Some(input), limit: arguments.limit, selector };
    let mut client = session.catalog().await?;
    let reply = client.suggest_tasks(session.call(request)).await.map_err(|status| session.failed(status))?;
    let reply = reply.into_inner();
    let mut shown = table_of_lines(["TASK", "KIND", "SIMILARITY", "NEAREST SAMPLE"]);
    for suggested in reply.tasks {
        let task = suggested.task.unwrap_or_default();
        match session.printer.format() {
            Format::Json => session.printer.json(&json!({
                "similarity": suggested.similarity,
                "sample": suggested.sample,
                "task": object(&task),
            }))?,
            Format::Table => {
                let kind = kind_name(task.kind()).unwrap_or("unknown").to_owned();
                let sample = task.samples.get(suggested.sample as usize).map(page::in_words).unwrap_or_default();
                let similarity = format!("{:.3}", suggested.similarity);
                shown.add_row(one_high([task.name, kind, similarity, shortened(&sample)]));
            }
        }
    }
    if session.printer.format() == Format::Table {
        session.printer.table(&shown)?;
        let pending = match reply.pending {
            0 => String::new(),
            pending => format!(", {pending} are still being read: ask again"),
        };
        let (compared, without) = (reply.compared, reply.without_samples);
        let summary = format!("\nnearest samples of {compared} tasks; {without} have none{pending}");
        session.printer.line(&summary)?;
        session.printer.line("This says what such texts are asked, not how well a head answers.")?;
    }
    Ok(Outcome::Done)
}
