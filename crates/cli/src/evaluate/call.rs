//! One evaluation: rows go up while progress and bad rows come down, and the report ends it.

use api::v1::evaluate_head_request::Part;
use api::v1::evaluate_head_response::Event;
use api::v1::{
    BadRow, EvaluateHeadRequest, EvaluationPlan, EvaluationReport, LabelledRow, LabelledRows, Progress, Stage,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::source::{NumberedLine, RowSource};
use crate::error::CliError;
use crate::labelled::Labelling;
use crate::progress::Bar;
use crate::row::check_size;
use crate::session::Session;

/// Rows of a message; a server takes 256 by default, and fewer where its operator says so.
const ROWS_A_MESSAGE: usize = 16;
/// Bytes of a message, beyond which it takes no further row.
const BYTES_A_MESSAGE: usize = 1 << 20;
/// Messages ahead of the network.
const AHEAD: usize = 4;

/// What to evaluate.
pub(crate) struct Job {
    pub(crate) plan: EvaluationPlan,
    pub(crate) source: RowSource,
    pub(crate) labelling: Labelling,
    pub(crate) skip_bad_rows: bool,
}

/// How it ended.
pub(crate) struct Finished {
    pub(crate) report: EvaluationReport,
    /// Rows skipped, in order of their lines.
    pub(crate) bad_rows: Vec<BadRow>,
}

/// Evaluates, and shows on `bar` how far it has come.
///
/// # Errors
/// [`CliError`] where the file breaks or holds a row that cannot be used and none is to be skipped, or the call fails.
pub(crate) async fn evaluate(job: Job, session: &mut Session, bar: &Bar) -> Result<Finished, CliError> {
    let Job { plan, source, labelling, skip_bad_rows } = job;
    let mut client = session.heads().await?;
    let (sender, requests) = mpsc::channel(AHEAD);
    let sending = send(Sending { sender, labelling, skip_bad_rows, bad_rows: Vec::new() }, plan, source);
    let call = session.call(ReceiverStream::new(requests));
    let receiving = async {
        let reply = client.evaluate_head(call).await.map_err(|status| session.failed(status))?;
        let mut events = reply.into_inner();
        let mut bad_rows = Vec::new();
        loop {
            let message = events.message().await.map_err(|status| session.failed(status))?;
            match message.and_then(|message| message.event) {
                Some(Event::Progress(progress)) => show(progress, bar),
                Some(Event::BadRow(bad)) => bad_rows.push(bad),
                Some(Event::Report(report)) => return Ok((report, bad_rows)),
                None => return Err(session.failed(Status::new(Code::Internal, "the server ended without a report"))),
            }
        }
    };
    // Where the file is at fault, the call ends with it; where the server is, it stops taking rows.
    let ((report, mut bad_rows), skipped_here) = tokio::try_join!(receiving, sending)?;
    bad_rows.extend(skipped_here);
    bad_rows.sort_by_key(|bad| bad.line);
    Ok(Finished { report, bad_rows })
}

/// The upward half of a call.
struct Sending {
    sender: mpsc::Sender<EvaluateHeadRequest>,
    labelling: Labelling,
    skip_bad_rows: bool,
    bad_rows: Vec<BadRow>,
}

/// Sends the plan and every row, and returns those that never left. Ends early where nobody listens any more: the
/// status tells why.
async fn send(mut sending: Sending, plan: EvaluationPlan, mut source: RowSource) -> Result<Vec<BadRow>, CliError> {
    let mut listening = sending.part(Part::Plan(plan)).await;
    let mut rows = Vec::new();
    let mut bytes = 0;
    while let Some(line) = source.next().await?.filter(|_| listening) {
        let Some(row) = sending.read(line, &source)? else { continue };
        bytes += api::encoded_bytes(&row);
        rows.push(row);
        if rows.len() >= ROWS_A_MESSAGE || bytes >= BYTES_A_MESSAGE {
            listening = sending.part(Part::Rows(LabelledRows { rows: std::mem::take(&mut rows) })).await;
            bytes = 0;
        }
    }
    if listening && !rows.is_empty() {
        sending.part(Part::Rows(LabelledRows { rows })).await;
    }
    Ok(sending.bad_rows)
}

impl Sending {
    async fn part(&self, part: Part) -> bool {
        self.sender.send(EvaluateHeadRequest { part: Some(part) }).await.is_ok()
    }

    /// The row, or `None` where it is skipped.
    fn read(&mut self, line: NumberedLine, source: &RowSource) -> Result<Option<LabelledRow>, CliError> {
        let NumberedLine { line, content } = line;
        let row = content.and_then(|bytes| self.labelling.row(line, &bytes));
        let row = row.and_then(|row| check_size(api::encoded_bytes(&row)).map(|()| row));
        match row {
            Ok(row) => Ok(Some(row)),
            Err(failure) if self.skip_bad_rows => {
                self.bad_rows.push(BadRow { line, field: String::new(), reason: failure.message });
                Ok(None)
            }
            Err(failure) => {
                let path = source.path().display();
                Err(CliError::Usage(format!(
                    "{path}, line {line}: {} (--bad-rows skip goes on without it)",
                    failure.message
                )))
            }
        }
    }
}

fn show(progress: Progress, bar: &Bar) {
    match progress.stage() {
        Stage::Encoding => bar.at(progress.done),
        Stage::Judging => bar.say(&format!("figures {} of {}", progress.done, progress.total)),
        Stage::Installing => bar.say("storing"),
        Stage::Unspecified
        | Stage::Receiving
        | Stage::Searching
        | Stage::Solving
        | Stage::TaskEmbedding
        | Stage::Verifying
        | Stage::Trying => {}
    }
}
