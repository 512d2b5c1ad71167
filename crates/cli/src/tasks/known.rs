//! `headwater tasks --known`: published tasks whose kind is known, served or not.

use api::v1::ListKnownTasksRequest;
use serde_json::json;

use super::{PAGE_SIZE, kind_name};
use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, one_line, table_of_lines};
use crate::session::{Outcome, Session};

pub(crate) async fn run(glob: String, kinds: Vec<i32>, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.catalog().await?;
    let mut shown = table_of_lines(["TASK", "KIND", "SERVED", "PROMPT"]);
    let mut page_token = String::new();
    loop {
        let (glob, kinds) = (glob.clone(), kinds.clone());
        let request = ListKnownTasksRequest { page_size: PAGE_SIZE, page_token, glob, kinds };
        let reply = client.list_known_tasks(session.call(request)).await.map_err(|status| session.failed(status))?;
        let page = reply.into_inner();
        for task in page.tasks {
            let kind = kind_name(task.kind()).unwrap_or("unknown");
            match session.printer.format() {
                Format::Json => session
                    .printer
                    .json(&json!({"task": task.name, "kind": kind, "served": task.served, "prompt": task.prompt}))?,
                Format::Table => {
                    let served = if task.served { "yes" } else { "" }.to_owned();
                    let prompt = one_line(&task.prompt.unwrap_or_default());
                    shown.add_row(one_high([task.name, kind.to_owned(), served, prompt]));
                }
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if session.printer.format() == Format::Table {
        session.printer.table(&shown)?;
        session.printer.line(&format!("\n{} known tasks", shown.row_count()))?;
    }
    Ok(Outcome::Done)
}
