//! `headwater tasks similar`: the tasks most like one.

use api::v1::{SimilarTasksRequest, Similarity};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{FilterArguments, kind_name, object};
use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, one_line, table_of_lines};
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2.
    task: String,
    /// In which respect.
    #[arg(long, value_enum, default_value_t = By::Labels)]
    by: By,
    /// Version number or alias [default: live].
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    #[command(flatten)]
    filter: FilterArguments,
    /// Most tasks to show, at most 100.
    #[arg(long, default_value_t = 10, value_name = "N")]
    limit: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    /// Labels that both have.
    Labels,
    /// Cosine of the task embeddings.
    Embedding,
    /// What the heads read of the encoder's vector.
    Head,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let by = match arguments.by {
        By::Labels => Similarity::Labels,
        By::Embedding => Similarity::Embedding,
        By::Head => Similarity::Head,
    };
    let Arguments { task, version, limit, filter, .. } = arguments;
    let request = SimilarTasksRequest { task, version, by: by.into(), limit, selector: Some(filter.selector()) };
    let mut client = session.catalog().await?;
    let reply = client.similar_tasks(session.call(request)).await.map_err(|status| session.failed(status))?;
    let mut shown = table_of_lines(["TASK", "KIND", "SIMILARITY", "SHARED LABELS", "DESCRIPTION"]);
    for similar in reply.into_inner().tasks {
        let task = similar.task.unwrap_or_default();
        match session.printer.format() {
            Format::Json => session.printer.json(&json!({
                "similarity": similar.similarity,
                "shared_labels": similar.shared_labels,
                "task": object(&task),
            }))?,
            Format::Table => {
                let kind = kind_name(task.kind()).unwrap_or("unknown").to_owned();
                let labels = one_line(&similar.shared_labels.join(", "));
                let similarity = format!("{:.3}", similar.similarity);
                shown.add_row(one_high([task.name, kind, similarity, labels, one_line(&task.description)]));
            }
        }
    }
    if session.printer.format() == Format::Table {
        session.printer.table(&shown)?;
    }
    Ok(Outcome::Done)
}
