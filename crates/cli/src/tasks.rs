//! `headwater tasks` and `headwater task`: what there is to ask.

mod known;
mod page;
mod search;
mod similar;
mod suggest;
mod watch;

use api::v1::{GetTaskRequest, Input, ListTasksRequest, Task, TaskKind, TaskSelector};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tonic::Code;

use crate::answer::mode_name;
use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, one_line, table, table_of_lines};
use crate::session::{Outcome, Session};

/// Tasks asked for at once.
const PAGE_SIZE: u32 = 500;

/// Without a word of these, tasks are listed.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Find tasks by words, best first.
    Search(search::Arguments),
    /// The tasks most like one.
    Similar(similar::Arguments),
    /// The tasks that a text may be meant for.
    Suggest(suggest::Arguments),
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ListArguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Pattern for names, such as 'tweet_eval/*' [default: all].
    glob: Option<String>,
    /// List the published tasks whose kind is known, served or not.
    #[arg(long, conflicts_with_all = ["tags", "labels", "search", "dataset"])]
    known: bool,
    /// Show the tasks, and then every change of them as it comes, until the server stops.
    #[arg(long, conflicts_with = "known")]
    watch: bool,
    /// With --watch: only what changed after this generation, which an earlier watch has shown.
    #[arg(long, requires = "watch", value_name = "GENERATION")]
    from: Option<u64>,
    #[command(flatten)]
    filter: FilterArguments,
    /// Only tasks with this text in name, description, tags or labels.
    #[arg(long, default_value = "", value_name = "TEXT")]
    search: String,
}

/// Conditions on tasks, all of which must hold.
#[derive(Debug, Args)]
pub(crate) struct FilterArguments {
    /// Only this kind; give one for each kind.
    #[arg(long = "kind", value_enum)]
    kinds: Vec<Kind>,
    /// Only tasks with this tag; give one for each tag.
    #[arg(long = "tag")]
    tags: Vec<String>,
    /// Only tasks with this label; give one for each label.
    #[arg(long = "label")]
    labels: Vec<String>,
    /// Only tasks trained on this data set.
    #[arg(long, default_value = "", value_name = "NAME")]
    dataset: String,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// Task, such as glue/sst2.
    task: String,
    /// Version number or alias [default: live].
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
}

/// A kind as spelled on the command line and in manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Classification,
    MultiLabel,
    Regression,
    MultipleChoice,
    TokenClassification,
    Reward,
}

impl FilterArguments {
    /// The conditions as the server takes them.
    fn selector(self) -> TaskSelector {
        TaskSelector {
            kinds: self.kinds.into_iter().map(|kind| TaskKind::from(kind).into()).collect(),
            tags: self.tags,
            labels: self.labels,
            dataset: self.dataset,
            ..TaskSelector::default()
        }
    }
}

pub(crate) async fn run(arguments: ListArguments, session: &mut Session) -> Result<Outcome, CliError> {
    match arguments.verb {
        Some(Verb::Search(arguments)) => search::run(arguments, session).await,
        Some(Verb::Similar(arguments)) => similar::run(arguments, session).await,
        Some(Verb::Suggest(arguments)) => suggest::run(arguments, session).await,
        None if arguments.known => {
            let kinds = arguments.filter.selector().kinds;
            known::run(arguments.glob.unwrap_or_default(), kinds, session).await
        }
        None => {
            let glob = arguments.glob.unwrap_or_default();
            let selector = TaskSelector { glob, text: arguments.search, ..arguments.filter.selector() };
            if arguments.watch {
                watch::run(selector, arguments.from, session).await
            } else {
                list(selector, session).await
            }
        }
    }
}

async fn list(selector: TaskSelector, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.catalog().await?;
    let mut shown = table_of_lines(["TASK", "KIND", "LABELS", "VERSION", "DESCRIPTION"]);
    let mut page_token = String::new();
    loop {
        let request = ListTasksRequest { page_size: PAGE_SIZE, page_token, selector: Some(selector.clone()) };
        let reply = client.list_tasks(session.call(request)).await.map_err(|status| session.failed(status))?;
        let page = reply.into_inner();
        for task in page.tasks {
            match session.printer.format() {
                Format::Json => session.printer.json(&object(&task))?,
                Format::Table => drop(shown.add_row(one_high(summary(&task)))),
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if session.printer.format() == Format::Table {
        session.printer.table(&shown)?;
        let n_tasks = shown.row_count();
        session.printer.line(&format!("\n{n_tasks} task{}", if n_tasks == 1 { "" } else { "s" }))?;
    }
    Ok(Outcome::Done)
}

/// The name of every task that is served.
pub(crate) async fn names(session: &mut Session) -> Result<Vec<String>, CliError> {
    let tasks = selected(TaskSelector::default(), session).await?;
    Ok(tasks.into_iter().map(|task| task.name).collect())
}

/// Every task that `selector` selects, in order of name.
pub(crate) async fn selected(selector: TaskSelector, session: &mut Session) -> Result<Vec<Task>, CliError> {
    let mut client = session.catalog().await?;
    let mut tasks = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListTasksRequest { page_size: PAGE_SIZE, page_token, selector: Some(selector.clone()) };
        let reply = client.list_tasks(session.call(request)).await.map_err(|status| session.failed(status))?;
        let page = reply.into_inner();
        tasks.extend(page.tasks);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(tasks);
        }
    }
}

pub(crate) async fn show(arguments: ShowArguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.catalog().await?;
    let request = GetTaskRequest { task: arguments.task, version: arguments.version };
    let reply = client.get_task(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let task = reply.task.ok_or_else(|| session.failed(tonic::Status::new(Code::Internal, "the reply has no task")))?;
    let calls = page::calls(&task, session.address());
    match session.printer.format() {
        Format::Json => {
            let mut page = object(&task);
            page.insert(
                "calls".to_owned(),
                calls.iter().map(|call| (call.language.to_owned(), json!(call.text))).collect(),
            );
            session.printer.json(&page)?;
        }
        Format::Table => {
            let mut shown = table(["FIELD", "VALUE"]);
            for (name, value) in fields(&task).into_iter().filter(|(name, _)| *name != "samples") {
                shown.add_row([name, &one_line(&in_words(&value))]);
            }
            session.printer.table(&shown)?;
            for sample in &task.samples {
                session.printer.line(&format!("\nSample input: {}", one_line(&page::in_words(sample))))?;
            }
            for call in &calls {
                session.printer.line(&format!("\n{}:\n\n{}", call.title, page::indented(&call.text)))?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// The kind's name in output; none where the server named one that is not known here.
pub(crate) fn kind_name(kind: TaskKind) -> Option<&'static str> {
    match kind {
        TaskKind::Unspecified => None,
        TaskKind::Classification => Some("classification"),
        TaskKind::MultiLabel => Some("multi_label"),
        TaskKind::Regression => Some("regression"),
        TaskKind::MultipleChoice => Some("multiple_choice"),
        TaskKind::TokenClassification => Some("token_classification"),
        TaskKind::Reward => Some("reward"),
    }
}

impl From<Kind> for TaskKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Classification => Self::Classification,
            Kind::MultiLabel => Self::MultiLabel,
            Kind::Regression => Self::Regression,
            Kind::MultipleChoice => Self::MultipleChoice,
            Kind::TokenClassification => Self::TokenClassification,
            Kind::Reward => Self::Reward,
        }
    }
}

fn summary(task: &Task) -> [String; 5] {
    let kind = kind_name(task.kind()).unwrap_or("unknown").to_owned();
    let labels = if task.labels.is_empty() { String::new() } else { task.labels.len().to_string() };
    [task.name.clone(), kind, labels, task.version.to_string(), one_line(&task.description)]
}

/// A task as JSON.
fn object(task: &Task) -> Map<String, Value> {
    fields(task).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What there is to say about a task: what is empty or not set is left out.
fn fields(task: &Task) -> Vec<(&'static str, Value)> {
    let aliases: Map<String, Value> =
        task.aliases.iter().map(|alias| (alias.name.clone(), json!(alias.version))).collect();
    let metrics: Map<String, Value> =
        task.metrics.iter().map(|metric| (metric.name.clone(), json!(metric.value))).collect();
    let all = [
        ("task", json!(task.name)),
        ("kind", json!(kind_name(task.kind()))),
        ("description", json!(task.description)),
        ("caution", json!(task.caution)),
        ("labels", json!(task.labels)),
        ("version", json!(task.version)),
        ("versions", json!(task.versions)),
        ("aliases", json!(aliases)),
        ("has_task_embedding", json!(task.has_task_embedding)),
        ("default_mode", json!(mode_name(task.default_mode()))),
        ("prompt", json!(task.prompt)),
        ("thresholds", task.thresholds.iter().copied().map(exact).collect()),
        ("temperature", json!(task.temperature.map(exact))),
        ("value_minimum", json!(task.value_minimum.map(exact))),
        ("value_maximum", json!(task.value_maximum.map(exact))),
        ("abstain_below", json!(task.abstain_below.map(exact))),
        ("ood_unit", json!(task.ood_unit)),
        ("zero_shot", json!(task.zero_shot)),
        ("tags", json!(task.tags)),
        ("dataset", json!(task.dataset)),
        ("licence", json!(task.licence)),
        ("source", json!(task.source)),
        ("metrics", json!(metrics)),
        ("samples", task.samples.iter().map(input).collect()),
        ("head_digest", json!(task.head_digest)),
        ("encoder_digest", json!(task.encoder_digest)),
        ("generation", json!(task.generation)),
    ];
    all.into_iter().filter(|(_, value)| !is_empty(value)).collect()
}

/// An input as the rows of a file have it.
fn input(input: &Input) -> Value {
    let fields = [
        ("text", json!(input.text)),
        ("text_pair", json!(input.text_pair)),
        ("choices", json!(input.choices)),
        ("tokens", json!(input.tokens)),
    ];
    fields.into_iter().filter(|(_, value)| !is_empty(value)).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A float32 in its shortest form: as a float64 it would show digits that nobody wrote.
fn exact(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A value for people: lists without brackets.
fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name} {}", in_words(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Null | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_as_json_leaves_out_what_is_not_known() {
        let task = Task { name: "a/b".into(), kind: TaskKind::MultiLabel.into(), version: 2, ..Task::default() };
        let known: Vec<&str> = fields(&task).into_iter().map(|(name, _)| name).collect();
        assert_eq!(known, ["task", "kind", "version", "has_task_embedding", "zero_shot", "generation"]);
        assert_eq!(object(&task)["kind"], "multi_label");
    }

    #[test]
    fn numbers_and_lists_read_as_they_were_written() {
        let task = Task { temperature: Some(1.1), thresholds: vec![0.3, 0.25], ..Task::default() };
        let object = object(&task);
        assert_eq!(object["temperature"].to_string(), "1.1");
        assert_eq!(object["thresholds"].to_string(), "[0.3,0.25]");
        assert_eq!(in_words(&object["thresholds"]), "0.3, 0.25");
        assert_eq!(in_words(&json!({"live": 2, "next": 3})), "live 2, next 3");
    }
}
