//! Rows of a file as calls of their own, several at a time, their answers in the rows' order.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;

use serde::Serialize;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::answer::Failure;
use crate::error::CliError;
use crate::lines::{Line, Lines, Source};
use crate::progress::Bar;
use crate::session::{Outcome, Session};

/// Calls under way at once.
const CALLS_AT_ONCE: usize = 16;

/// What stands in a row's place when its call failed.
#[derive(Debug, Serialize)]
struct Failed {
    error: Failure,
}

/// The end of a row: its line of output, or why there is none.
type Ended<A> = Result<A, RowError>;

/// Why a row has no answer.
#[derive(Debug)]
pub(crate) enum RowError {
    /// It cannot be sent.
    Bad(Failure),
    /// The call failed.
    Call(Status),
}

/// Makes one call for each line, and prints one line for each, in order. `call` gets the line's bytes and returns the
/// call, or the failure to report in its place.
///
/// # Errors
/// [`CliError`] where the input breaks, the connection does, or the results cannot be written.
pub(crate) async fn each_line<A, C, F>(source: Source, session: &mut Session, mut call: C) -> Result<Outcome, CliError>
where
    A: Serialize + Send + 'static,
    C: FnMut(&[u8]) -> Result<F, Failure>,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let bar = Bar::of_input(&source, &session.printer);
    let mut lines = Lines::read(source);
    let mut under_way: VecDeque<JoinHandle<Ended<A>>> = VecDeque::new();
    let mut failed = 0;
    let mut reading = true;
    loop {
        tokio::select! {
            ended = oldest(&mut under_way), if !under_way.is_empty() => {
                under_way.pop_front();
                failed += u64::from(print(ended, session)?);
            }
            line = lines.next(), if reading && under_way.len() < CALLS_AT_ONCE => match line? {
                Some(Line { content, source_bytes }) => {
                    bar.advance(source_bytes);
                    let prepared = content.and_then(|bytes| call(&bytes));
                    under_way.push_back(tokio::spawn(async {
                        match prepared {
                            Ok(answer) => answer.await.map_err(RowError::Call),
                            Err(failure) => Err(RowError::Bad(failure)),
                        }
                    }));
                }
                None => reading = false,
            },
            else => break,
        }
    }
    bar.finish();
    Ok(Outcome::of_failures(failed))
}

async fn oldest<A>(under_way: &mut VecDeque<JoinHandle<Ended<A>>>) -> Ended<A> {
    match under_way.front_mut() {
        Some(oldest) => oldest.await.expect("a call neither panics nor is aborted"),
        None => std::future::pending().await,
    }
}

/// Prints the row's line; true where it tells of a failure.
fn print<A: Serialize>(ended: Ended<A>, session: &mut Session) -> Result<bool, CliError> {
    let error = match ended {
        Ok(answer) => {
            session.printer.json(&answer)?;
            session.printer.flush()?;
            return Ok(false);
        }
        Err(RowError::Bad(error)) => error,
        Err(RowError::Call(status)) if status.source().is_some() => return Err(session.failed(status)),
        Err(RowError::Call(status)) => Failure::from(&status),
    };
    session.printer.json(&Failed { error })?;
    Ok(true)
}
