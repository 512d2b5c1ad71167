//! Rows asked of the serving engine, a few at a time, in the order in which they come.

use std::sync::Arc;
use std::time::Duration;

use api::v1::Stage;
use engine::{Ask, EngineError, Input, Priority, Reading, Selector, ServedHead};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::answers::{Answer, answer_of};
use super::events::Events;
use super::plan::Plan;
use super::rows::{BadRow, Incoming, Row, Truth, parse};
use crate::from_proto::with_single_input;
use crate::serving::Serving;
use crate::status;

/// Rows on their way through the engine: enough for a batch, few enough that callers beside them hardly wait.
const ROWS_IN_FLIGHT: usize = 16;
/// Logits kept until the last row is there; they are what an evaluation weighs.
const MAX_KEPT_LOGITS: usize = 64 << 20;
const MAX_ROWS: usize = 1_000_000;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How often a row is asked that the engine has no room for: about a minute.
const MOST_ATTEMPTS: u32 = 35;

/// A row with its answers.
#[derive(Debug)]
pub(super) struct AskedRow {
    pub(super) line: u64,
    pub(super) truth: Truth,
    pub(super) first: Answer,
    pub(super) second: Option<Answer>,
    /// Whether the encoder read it whole.
    pub(super) was_cut: bool,
}

/// Everything that came back.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// In the caller's order.
    pub(super) rows: Vec<AskedRow>,
    pub(super) skipped: u64,
    pub(super) first_skipped: Option<BadRow>,
}

/// Why a row has no answer.
enum Unanswered {
    /// The row's own fault.
    Bad(BadRow),
    /// The call's end.
    Failed(EngineError),
}

type Ended = (usize, Result<AskedRow, Unanswered>);

/// Asks every row that comes.
pub(super) async fn ask_all(
    serving: &Arc<Serving>,
    plan: &Arc<Plan>,
    incoming: &mut Incoming,
    (deadline, events): (Option<Instant>, &Events),
) -> Result<Asked, Status> {
    let mut in_flight: JoinSet<Ended> = JoinSet::new();
    let mut gathered = Gathered { plan, events, rows: Vec::new(), kept_logits: 0, skipped: 0, first_skipped: None };
    let mut open = true;
    while open || !in_flight.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = in_flight.join_next() => gathered.take(ended).await?,
            next = incoming.next(), if open && in_flight.len() < ROWS_IN_FLIGHT => match next? {
                None => open = false,
                Some(_) if incoming.received() > MAX_ROWS => {
                    return Err(status::invalid_field("rows", &format!("more than the limit of {MAX_ROWS}")));
                }
                Some((line, row)) => match parse(line, row, &plan.first.head) {
                    Ok(row) => {
                        let (serving, plan, place) = (Arc::clone(serving), Arc::clone(plan), incoming.received());
                        in_flight.spawn(async move { (place, ask_row(&serving, &plan, row, deadline).await) });
                    }
                    Err(bad) => gathered.refuse(bad).await?,
                },
            },
        }
        let settled = gathered.rows.len() + gathered.skipped as usize;
        events.progress(Stage::Encoding, settled, if open { 0 } else { incoming.received() });
    }
    gathered.rows.sort_unstable_by_key(|(place, _)| *place);
    let rows = gathered.rows.into_iter().map(|(_, row)| row).collect();
    Ok(Asked { rows, skipped: gathered.skipped, first_skipped: gathered.first_skipped })
}

/// Answers as they come back, in any order.
struct Gathered<'a> {
    plan: &'a Plan,
    events: &'a Events,
    /// With each row's place among the caller's.
    rows: Vec<(usize, AskedRow)>,
    kept_logits: usize,
    skipped: u64,
    first_skipped: Option<BadRow>,
}

impl Gathered<'_> {
    async fn take(&mut self, ended: Result<Ended, JoinError>) -> Result<(), Status> {
        let (place, outcome) = ended.map_err(|failure| status::internal("internal error", &failure.to_string()))?;
        match outcome {
            Ok(row) => {
                self.kept_logits += row.first.numbers() + row.second.as_ref().map_or(0, Answer::numbers);
                if self.kept_logits > MAX_KEPT_LOGITS {
                    let reason = format!("their answers are more than the limit of {MAX_KEPT_LOGITS} logits");
                    return Err(status::invalid_field("rows", &reason));
                }
                self.rows.push((place, row));
                Ok(())
            }
            Err(Unanswered::Bad(bad)) => self.refuse(bad).await,
            Err(Unanswered::Failed(error)) => Err(status::of_engine(error)),
        }
    }

    /// Tells of a bad row, or ends the call with it.
    async fn refuse(&mut self, bad: BadRow) -> Result<(), Status> {
        if !self.plan.skip_bad_rows {
            let reason = format!("line {}: {}", bad.line, bad.reason);
            return Err(status::invalid_field(&format!("rows.{}", bad.field), &reason));
        }
        self.skipped += 1;
        self.first_skipped.get_or_insert_with(|| bad.clone());
        self.events.bad_row(bad).await;
        Ok(())
    }
}

async fn ask_row(serving: &Serving, plan: &Plan, row: Row, deadline: Option<Instant>) -> Result<AskedRow, Unanswered> {
    let Row { line, input, truth } = row;
    let asked = match &plan.second {
        None => ask(serving, (&plan.first, plan), &input, deadline).await.map(|first| (first, None)),
        // Together, so that a row that both read alike is computed once.
        Some(second) => {
            let first = ask(serving, (&plan.first, plan), &input, deadline);
            let second = ask(serving, (second, plan), &input, deadline);
            tokio::try_join!(first, second).map(|(first, second)| (first, Some(second)))
        }
    };
    let ((first, was_cut), second) = asked.map_err(|error| of_row(error, line))?;
    Ok(AskedRow { line, truth, first, second: second.map(|(answer, _)| answer), was_cut })
}

/// Asks one version, again where the engine is full for the moment. Also tells whether the input was cut.
async fn ask(
    serving: &Serving,
    (served, plan): (&ServedHead, &Plan),
    input: &Input,
    deadline: Option<Instant>,
) -> Result<(Answer, bool), EngineError> {
    let mut wait = FIRST_WAIT;
    for attempt in 1.. {
        let ask = Ask {
            key: served.key.clone(),
            selector: Selector::Version(served.version),
            inputs: vec![input.clone()],
            mode: plan.mode,
            reading: Reading { deadline, priority: Priority::Background, lane: Some(plan.lane), ..Reading::default() },
        };
        match serving.engine().classify(ask).await {
            Ok(mut answer) => {
                let answered = answer.inputs.pop().ok_or(EngineError::NotFound)?;
                let was_cut = !answered.cuts.is_empty();
                return Ok((answer_of(&served.head, answered), was_cut));
            }
            Err(EngineError::Overloaded(_)) if attempt < MOST_ATTEMPTS => sleep(wait).await,
            Err(error) => return Err(error),
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Err(EngineError::Draining)
}

fn of_row(error: EngineError, line: u64) -> Unanswered {
    match with_single_input(error) {
        EngineError::InvalidField { field, reason } => Unanswered::Bad(BadRow { line, field, reason }),
        EngineError::OverLimit { what, limit, actual } => {
            Unanswered::Bad(BadRow { line, field: what, reason: format!("{actual}, the limit is {limit}") })
        }
        error @ (EngineError::NotFound
        | EngineError::Overloaded(_)
        | EngineError::OverQuota { .. }
        | EngineError::DeadlineExceeded(_)
        | EngineError::Starting
        | EngineError::Draining
        | EngineError::WorkerStuck
        | EngineError::WorkerDown
        | EngineError::Misfit(_)
        | EngineError::Unsupported(_)
        | EngineError::NotFinite
        | EngineError::Internal(_)) => Unanswered::Failed(error),
    }
}
