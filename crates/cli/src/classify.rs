//! `headwater classify`: one task, or many, asked about texts or about the rows of a file.

use api::v1::ClassifyRequest;
use clap::Args;

use crate::answer::Answer;
use crate::classify_tasks::{self, SelectionArguments};
use crate::config::Format;
use crate::error::CliError;
use crate::inputs::InputArguments;
use crate::options::OptionArguments;
use crate::output::{answer_rows, table};
use crate::session::{Outcome, Session};
use crate::stream::{self, Question};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2. Where --tasks or another condition selects many, all that stands here is texts.
    task: Option<String>,
    #[command(flatten)]
    inputs: InputArguments,
    #[command(flatten)]
    selection: SelectionArguments,
    #[command(flatten)]
    options: OptionArguments,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let Arguments { task, mut inputs, selection, options } = arguments;
    if selection.is_given() {
        if options.version.is_some() {
            return Err(CliError::Usage(
                "--version is of one task; name a version of several as TASK@VERSION".to_owned(),
            ));
        }
        inputs.put_first(task);
        let question = selection.question(options.message())?;
        return match &inputs.input {
            Some(_) if inputs.has_texts() => Err(CliError::Usage("texts and --input exclude each other".to_owned())),
            Some(path) => classify_tasks::about_rows(session.open(path)?, &question, session).await,
            None => classify_tasks::about_texts(inputs.inputs()?, &question, session).await,
        };
    }
    let Some(task) = task else {
        return Err(CliError::Usage("a task is needed, or --tasks".to_owned()));
    };
    if let Some(path) = &inputs.input {
        let source = session.open(path)?;
        let question = Question { task, version: options.version(), options: options.message() };
        return stream::classify(source, &question, session).await;
    }
    let asked = inputs.inputs()?;
    let mut client = session.classifier().await?;
    let request =
        ClassifyRequest { task, version: options.version(), inputs: asked.clone(), options: Some(options.message()) };
    let reply = client.classify(session.call(request)).await.map_err(|status| session.failed(status))?.into_inner();
    let served_by = reply.served_by;
    let answers: Vec<Answer> =
        reply.predictions.into_iter().map(|prediction| Answer::of_prediction(prediction, served_by.clone())).collect();
    match session.printer.format() {
        Format::Json => answers.iter().try_for_each(|answer| session.printer.json(answer))?,
        Format::Table => {
            let mut shown = if options.logits {
                table(["TEXT", "ANSWER", "SCORE", "LOGIT"])
            } else {
                table(["TEXT", "ANSWER", "SCORE"])
            };
            for (input, answer) in asked.iter().zip(&answers) {
                shown.add_rows(answer_rows(&input.text, answer, options.logits));
            }
            session.printer.table(&shown)?;
            if let Some(served_by) = served_by {
                let mode = crate::answer::mode_name(served_by.mode()).unwrap_or("unknown mode");
                session.printer.line(&format!("\n{} version {}, {mode}", served_by.task, served_by.version))?;
            }
        }
    }
    Ok(Outcome::Done)
}
