//! `headwater classify --tasks`: one text, many tasks, one line for each.

use api::v1::task_outcome::Outcome as TaskResult;
use api::v1::{
    ClassifyOptions, ClassifyTasksRequest, ClassifyTasksResponse, Input, TaskKind, TaskOutcome, TaskReference,
    TaskSelector, Timings,
};
use clap::Args;
use serde::Serialize;

use crate::answer::{Answer, Failure, mode_name};
use crate::calls;
use crate::config::Format;
use crate::error::CliError;
use crate::lines::Source;
use crate::output::{best_of, notes, one_high, shortened, table_of_lines};
use crate::row::{self, TextRow};
use crate::session::{Outcome, Session, deadline};
use crate::tasks::Kind;

/// Which tasks are asked; conditions are met together.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many tasks at once (in place of TASK)")]
pub(crate) struct SelectionArguments {
    /// Tasks by name, such as glue/sst2 or glue/sst2@3, or one pattern, such as 'tweet_eval/*'; '*' is all there are.
    /// Separated by commas, or given several times.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    tasks: Vec<String>,
    /// Tasks of this kind; give one for each kind.
    #[arg(long = "kind", value_enum)]
    kinds: Vec<Kind>,
    /// Tasks with this tag; give one for each tag.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Tasks with this label; give one for each label.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
}

/// What every text is asked.
#[derive(Debug)]
pub(crate) struct Question {
    tasks: Vec<TaskReference>,
    selector: Option<TaskSelector>,
    options: ClassifyOptions,
}

/// One answer on a line of its own.
#[derive(Serialize)]
struct InputAnswer<'a> {
    input: usize,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// All answers to one row of a file.
#[derive(Serialize)]
struct RowAnswers {
    tasks: Vec<Answer>,
    mode: Option<&'static str>,
    rows: u32,
}

impl SelectionArguments {
    /// Whether tasks are selected here at all.
    pub(crate) fn is_given(&self) -> bool {
        !(self.tasks.is_empty() && self.kinds.is_empty() && self.tags.is_empty() && self.labels.is_empty())
    }

    /// What they ask.
    ///
    /// # Errors
    /// [`CliError::Usage`] for more than one pattern.
    pub(crate) fn question(self, options: ClassifyOptions) -> Result<Question, CliError> {
        let Self { tasks, kinds, tags, labels } = self;
        let (patterns, names): (Vec<String>, Vec<String>) =
            tasks.into_iter().partition(|name| name.contains(['*', '?']));
        if patterns.len() > 1 {
            return Err(CliError::Usage("--tasks takes names, or one pattern".to_owned()));
        }
        let has_conditions = !(patterns.is_empty() && kinds.is_empty() && tags.is_empty() && labels.is_empty());
        let kinds = kinds.into_iter().map(|kind| TaskKind::from(kind).into()).collect();
        let glob = patterns.into_iter().next().unwrap_or_default();
        let selector = TaskSelector { glob, kinds, tags, labels, ..TaskSelector::default() };
        let reference = |name: &String| {
            let (task, version) = name.split_once('@').unwrap_or((name, ""));
            TaskReference { task: task.to_owned(), version: version.to_owned() }
        };
        let tasks = names.iter().map(reference).collect();
        Ok(Question { tasks, selector: has_conditions.then_some(selector), options })
    }
}

impl Question {
    fn about(&self, input: Input) -> ClassifyTasksRequest {
        let Self { tasks, selector, options } = self;
        let (tasks, selector, options) = (tasks.clone(), selector.clone(), Some(options.clone()));
        ClassifyTasksRequest { input: Some(input), tasks, selector, options }
    }
}

/// Asks about each of `inputs` in turn.
///
/// # Errors
/// [`CliError`] where a call is refused as a whole or results cannot be written.
pub(crate) async fn about_texts(
    inputs: Vec<Input>,
    question: &Question,
    session: &mut Session,
) -> Result<Outcome, CliError> {
    let mut client = session.classifier().await?;
    let several = inputs.len() > 1;
    let mut failed = 0;
    for (index, input) in inputs.into_iter().enumerate() {
        let text = shortened(&input.text);
        let request = session.call(question.about(input));
        let reply = client.classify_tasks(request).await.map_err(|status| session.failed(status))?.into_inner();
        let closing = closing_line(&reply);
        let answers: Vec<Answer> = reply.outcomes.into_iter().map(answer).collect();
        failed += answers.iter().filter(|answer| answer.error.is_some()).count() as u64;
        match session.printer.format() {
            Format::Json => {
                answers.iter().try_for_each(|answer| session.printer.json(&InputAnswer { input: index, answer }))?
            }
            Format::Table => {
                if several {
                    let gap = if index == 0 { "" } else { "\n" };
                    session.printer.line(&format!("{gap}{text}\n"))?;
                }
                let mut shown = table_of_lines(["TASK", "SCORE", "ANSWER", "NOTE"]);
                for answer in &answers {
                    let (best, score) = best_of(answer);
                    shown.add_row(one_high([answer.task.clone(), score, best, notes(answer).join("; ")]));
                }
                session.printer.table(&shown)?;
                session.printer.line(&closing)?;
            }
        }
    }
    Ok(Outcome::of_failures(failed))
}

/// Asks about every line of `source` and prints one line for each.
///
/// # Errors
/// As [`calls::each_line`].
pub(crate) async fn about_rows(
    source: Source,
    question: &Question,
    session: &mut Session,
) -> Result<Outcome, CliError> {
    let client = session.classifier().await?;
    let timeout = session.timeout();
    calls::each_line(source, session, |line| {
        let request = question.about(row::parse::<TextRow>(line)?.into());
        row::check_size(api::encoded_bytes(&request))?;
        let mut client = client.clone();
        Ok(async move {
            let reply = client.classify_tasks(deadline(timeout, request)).await?.into_inner();
            let (mode, rows) = (mode_name(reply.mode()), reply.rows);
            Ok(RowAnswers { tasks: reply.outcomes.into_iter().map(answer).collect(), mode, rows })
        })
    })
    .await
}

fn answer(outcome: TaskOutcome) -> Answer {
    let TaskOutcome { task, outcome, served_by } = outcome;
    let answer = match outcome {
        Some(TaskResult::Prediction(prediction)) => Answer::of_prediction(prediction, served_by),
        Some(TaskResult::Error(status)) => Answer::of_failure(&task, Failure::from(&status)),
        None => Answer::of_failure(&task, Failure::from(&crate::answer::no_answer())),
    };
    Answer { task, ..answer }
}

fn closing_line(reply: &ClassifyTasksResponse) -> String {
    let (n_tasks, n_rows) = (reply.outcomes.len(), reply.rows);
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let milliseconds = reply.timings.as_ref().map_or(0.0, |Timings { total_micros, .. }| *total_micros as f64 / 1e3);
    format!(
        "\n{n_tasks} task{}, {n_rows} row{}, {milliseconds:.1} ms\n{}",
        plural(n_tasks),
        plural(n_rows as usize),
        reply.mode_meaning
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(tasks: &[&str]) -> SelectionArguments {
        let tasks = tasks.iter().map(|&name| name.to_owned()).collect();
        SelectionArguments { tasks, kinds: Vec::new(), tags: Vec::new(), labels: Vec::new() }
    }

    #[test]
    fn names_are_references_and_a_pattern_is_a_condition() {
        let question = selection(&["a/b", "c@2", "d/*"]).question(ClassifyOptions::default()).unwrap();
        let named: Vec<_> = question.tasks.iter().map(|task| (task.task.as_str(), task.version.as_str())).collect();
        assert_eq!(named, [("a/b", ""), ("c", "2")]);
        assert_eq!(question.selector.unwrap().glob, "d/*");
        assert!(selection(&["a"]).question(ClassifyOptions::default()).unwrap().selector.is_none());
        assert!(selection(&["a*", "b*"]).question(ClassifyOptions::default()).is_err());
        assert!(!selection(&[]).is_given());
    }
}
