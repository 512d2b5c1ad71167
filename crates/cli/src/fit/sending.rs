//! Rows to the server, several in a message, no faster than it takes them.

use api::v1::fit_head_request::Part;
use api::v1::{FitHeadRequest, LabelledRow, LabelledRows};
use tokio::sync::mpsc;

use crate::error::CliError;
use crate::fit::report::Skipped;
use crate::labelled_lines::{LabelledLine, LabelledLines, Places};

/// Rows of a message; servers take at least so many.
const ROWS: usize = 128;
/// Bytes of a message, unless a single row has more.
const BYTES: usize = 512 << 10;

/// What was sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Lines that were no rows.
    pub(crate) skipped: Skipped,
}

/// Sends every row of `lines`. The channel closes only if all were sent, or when the call is over: the server must never
/// take a part for everything.
///
/// # Errors
/// [`CliError::Usage`] for a line that is no row, unless `skips` says to go on; [`CliError::Read`] where a file breaks.
pub(crate) async fn all(
    mut lines: LabelledLines,
    places: &Places,
    skips: bool,
    sender: &mut Option<mpsc::Sender<FitHeadRequest>>,
) -> Result<Sent, CliError> {
    let Some(open) = sender.as_ref() else { return Ok(Sent::default()) };
    let sent = send(&mut lines, places, skips, open).await?;
    *sender = None;
    Ok(sent)
}

async fn send(
    lines: &mut LabelledLines,
    places: &Places,
    skips: bool,
    sender: &mpsc::Sender<FitHeadRequest>,
) -> Result<Sent, CliError> {
    let mut sent = Sent::default();
    let mut rows: Vec<LabelledRow> = Vec::new();
    let mut bytes = 0;
    while let Some(LabelledLine { line, row }) = lines.next().await? {
        match row {
            Ok(row) => {
                let size = api::encoded_bytes(&row);
                if rows.len() == ROWS || (bytes + size > BYTES && !rows.is_empty()) {
                    flush(&mut rows, sender).await;
                    bytes = 0;
                }
                bytes += size;
                rows.push(row);
            }
            Err(failure) if skips => sent.skipped.add(places, line, "line", &failure.message),
            Err(failure) => return Err(CliError::Usage(format!("{}: {}", places.of(line), failure.message))),
        }
    }
    flush(&mut rows, sender).await;
    Ok(sent)
}

async fn flush(rows: &mut Vec<LabelledRow>, sender: &mpsc::Sender<FitHeadRequest>) {
    if !rows.is_empty() {
        let rows = LabelledRows { rows: std::mem::take(rows) };
        // A closed channel means that the call has ended; its status comes with the next event.
        let _ = sender.send(FitHeadRequest { part: Some(Part::Rows(rows)) }).await;
    }
}
