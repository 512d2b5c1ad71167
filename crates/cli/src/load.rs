//! `headwater load`: rows of a file as calls, a fixed number under way at any time, and how fast they were answered.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::v1::classifier_service_client::ClassifierServiceClient;
use api::v1::{ClassifyRequest, ClassifyResponse, Input, Timings};
use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use crate::answer::Failure;
use crate::config::{Format, parse_seconds};
use crate::connect::Connection;
use crate::error::CliError;
use crate::lines::{Line, Lines};
use crate::output::table;
use crate::row::{self, TextRow};
use crate::session::{Outcome, Session, deadline};
use crate::tasks;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Rows to ask about, `-` for standard input: JSON lines with the fields text, text_pair, choices and tokens.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Task to ask; give one for each task, each call draws one of them [default: every task that is served].
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<String>,
    /// Calls under way at any time.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Go on for so long, beginning again after the last row [default: every row once].
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Seed of the drawing of tasks.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What all callers draw their calls from. Shared by them and dropped with the last.
struct Plan {
    rows: Vec<Input>,
    tasks: Vec<String>,
    seed: u64,
    /// The next call's number.
    next: AtomicU64,
    /// No call begins later; without it every row is asked once.
    end: Option<Instant>,
    timeout: Option<Duration>,
}

/// The calls of one caller, or of all.
#[derive(Debug, Default)]
struct Calls {
    /// Of each call that was answered.
    latencies: Vec<Duration>,
    /// What each of those replies says of its own time.
    timings: Vec<Timings>,
    tokens: u64,
    failed: u64,
    /// The first failure, as an example.
    failure: Option<Failure>,
}

/// What is printed.
#[derive(Debug, PartialEq, Serialize)]
struct Load {
    concurrency: u16,
    tasks: usize,
    calls: usize,
    failed: u64,
    tokens: u64,
    seconds: f64,
    calls_per_second: f64,
    tokens_per_second: f64,
    fastest_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    /// Medians of what the replies say of their own time.
    p50_in_server_ms: InServer,
    /// Why the first call failed that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

/// Where a call's time went in the server; the rest is the network's and the caller's.
#[derive(Debug, Default, PartialEq, Serialize)]
struct InServer {
    queue: f64,
    tokenizer: f64,
    encoder: f64,
    head: f64,
    total: f64,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let rows = rows(&arguments.input, session).await?;
    let tasks = if arguments.tasks.is_empty() { tasks::names(session).await? } else { arguments.tasks };
    if rows.is_empty() || tasks.is_empty() {
        return Err(CliError::Usage(format!("{} rows and {} tasks: nothing to ask", rows.len(), tasks.len())));
    }
    let client = session.classifier().await?;
    let n_tasks = tasks.len();
    let started = Instant::now();
    let end = arguments.seconds.map(|seconds| started + seconds);
    let plan = Plan { rows, tasks, seed: arguments.seed, next: AtomicU64::new(0), end, timeout: session.timeout() };
    let plan = Arc::new(plan);
    let mut callers = JoinSet::new();
    for _ in 0..arguments.concurrency {
        callers.spawn(call_until_done(client.clone(), Arc::clone(&plan)));
    }
    let mut all = Calls::default();
    while let Some(calls) = callers.join_next().await {
        let calls = calls.expect("a caller neither panics nor is aborted");
        all.take(calls.map_err(|status| session.failed(status))?);
    }
    let load = all.load(arguments.concurrency, n_tasks, started.elapsed());
    let outcome = Outcome::of_failures(load.failed);
    match session.printer.format() {
        Format::Json => session.printer.json(&load)?,
        Format::Table => {
            session.printer.table(&shown(&load))?;
            if let Some(Failure { code, message }) = &load.failure {
                session.printer.line(&format!("\nthe first failure: {code}: {message}"))?;
            }
        }
    }
    Ok(outcome)
}

/// Every row of the file; one that cannot be read ends the run before it begins.
async fn rows(path: &Path, session: &mut Session) -> Result<Vec<Input>, CliError> {
    let mut lines = Lines::read(session.open(path)?);
    let mut rows = Vec::new();
    while let Some(Line { content, .. }) = lines.next().await? {
        let row = content.and_then(|bytes| row::parse::<TextRow>(&bytes)).map_err(|failure| {
            CliError::Usage(format!("line {} of {}: {}", rows.len() + 1, path.display(), failure.message))
        })?;
        rows.push(row.into());
    }
    Ok(rows)
}

/// One caller: asks, waits for the answer, asks again.
///
/// # Errors
/// Where the connection breaks; what the server refuses is counted.
async fn call_until_done(mut client: ClassifierServiceClient<Connection>, plan: Arc<Plan>) -> Result<Calls, Status> {
    let mut calls = Calls::default();
    while let Some(request) = plan.next() {
        let request = deadline(plan.timeout, request);
        let asked = Instant::now();
        match client.classify(request).await {
            Ok(reply) => calls.answered(asked.elapsed(), &reply.into_inner()),
            Err(status) if std::error::Error::source(&status).is_some() => return Err(status),
            Err(status) => calls.failed(&status),
        }
    }
    Ok(calls)
}

impl Plan {
    fn next(&self) -> Option<ClassifyRequest> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let over = match self.end {
            Some(end) => Instant::now() >= end,
            None => number >= self.rows.len() as u64,
        };
        let row = self.rows.get(below(number, self.rows.len()))?;
        let task = self.tasks.get(below(scattered(self.seed, number), self.tasks.len()))?;
        let request =
            || ClassifyRequest { task: task.clone(), inputs: vec![row.clone()], ..ClassifyRequest::default() };
        (!over).then(request)
    }
}

/// `number` modulo `length`, as an index.
fn below(number: u64, length: usize) -> usize {
    usize::try_from(number % length.max(1) as u64).expect("it is below a length")
}

/// The `number`th draw of a seed: the finish of SplitMix64 (Steele, Lea and Flood, 2014).
fn scattered(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Calls {
    fn answered(&mut self, latency: Duration, reply: &ClassifyResponse) {
        self.latencies.push(latency);
        self.timings.extend(reply.timings);
        let usages = reply.predictions.iter().filter_map(|prediction| prediction.usage.as_ref());
        self.tokens += usages.map(|usage| u64::from(usage.tokens)).sum::<u64>();
    }

    fn failed(&mut self, status: &Status) {
        self.failed += 1;
        self.failure.get_or_insert_with(|| Failure::from(status));
    }

    fn take(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.timings.extend(other.timings);
        self.tokens += other.tokens;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
    }

    fn load(mut self, concurrency: u16, tasks: usize, took: Duration) -> Load {
        self.latencies.sort_unstable();
        let calls = self.latencies.len();
        let at = |hundredth: usize| {
            let index = (calls * hundredth / 100).min(calls.saturating_sub(1));
            self.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let seconds = took.as_secs_f64();
        Load {
            concurrency,
            tasks,
            calls,
            failed: self.failed,
            tokens: self.tokens,
            seconds,
            calls_per_second: calls as f64 / seconds,
            tokens_per_second: self.tokens as f64 / seconds,
            fastest_ms: at(0),
            p50_ms: at(50),
            p90_ms: at(90),
            p99_ms: at(99),
            p50_in_server_ms: InServer::medians(&self.timings),
            failure: self.failure,
        }
    }
}

impl InServer {
    fn medians(timings: &[Timings]) -> Self {
        let median = |stage: fn(&Timings) -> u64| {
            let mut micros: Vec<u64> = timings.iter().map(stage).collect();
            micros.sort_unstable();
            micros.get(micros.len() / 2).map_or(0.0, |micros| *micros as f64 / 1e3)
        };
        Self {
            queue: median(|timings| timings.queue_micros),
            tokenizer: median(|timings| timings.tokenizer_micros),
            encoder: median(|timings| timings.encoder_micros),
            head: median(|timings| timings.head_micros),
            total: median(|timings| timings.total_micros),
        }
    }
}

fn shown(load: &Load) -> comfy_table::Table {
    let mut shown = table([
        "AT ONCE",
        "TASKS",
        "CALLS",
        "FAILED",
        "CALLS/S",
        "TOKENS/S",
        "P50 MS",
        "P90 MS",
        "P99 MS",
        "ENCODER MS",
    ]);
    shown.add_row([
        load.concurrency.to_string(),
        load.tasks.to_string(),
        load.calls.to_string(),
        load.failed.to_string(),
        format!("{:.1}", load.calls_per_second),
        format!("{:.0}", load.tokens_per_second),
        format!("{:.2}", load.p50_ms),
        format!("{:.2}", load.p90_ms),
        format!("{:.2}", load.p99_ms),
        format!("{:.2}", load.p50_in_server_ms.encoder),
    ]);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: usize, tasks: usize) -> Plan {
        let rows = (0..rows).map(|row| Input { text: row.to_string(), ..Input::default() }).collect();
        let tasks = (0..tasks).map(|task| task.to_string()).collect();
        Plan { rows, tasks, seed: 1, next: AtomicU64::new(0), end: None, timeout: None }
    }

    #[test]
    fn every_row_is_asked_once_where_no_time_is_given() {
        let plan = plan(5, 2);
        let asked: Vec<String> = std::iter::from_fn(|| plan.next()).map(|call| call.inputs[0].text.clone()).collect();
        assert_eq!(asked, ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn tasks_are_drawn_about_equally_often() {
        let plan = plan(4_000, 4);
        let mut counts = [0; 4];
        while let Some(call) = plan.next() {
            counts[call.task.parse::<usize>().unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_load_has_its_rates_and_percentiles() {
        let mut calls = Calls { tokens: 300, ..Calls::default() };
        calls.latencies = (1..=100).rev().map(Duration::from_millis).collect();
        calls.timings =
            [3_000, 1_000, 2_000].map(|encoder_micros| Timings { encoder_micros, ..Timings::default() }).to_vec();
        let load = calls.load(8, 3, Duration::from_secs(2));
        assert_eq!((load.calls, load.tokens_per_second, load.calls_per_second), (100, 150.0, 50.0));
        assert_eq!((load.fastest_ms, load.p50_ms, load.p99_ms), (1.0, 51.0, 100.0));
        assert_eq!(load.p50_in_server_ms.encoder, 2.0);
    }
}
