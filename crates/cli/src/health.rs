//! `headwater health`: whether the server is ready.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::config::{Format, parse_seconds};
use crate::error::CliError;
use crate::session::{Outcome, Session};

/// How often a server that is not ready is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Service to ask about, such as headwater.v1.ClassifierService [default: the whole server].
    #[arg(long, default_value = "", hide_default_value = true)]
    service: String,
    /// Wait so many seconds for the server to be there and ready.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    wait: Option<Duration>,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let deadline = arguments.wait.map(|wait| Instant::now() + wait);
    loop {
        let answer = ask(&arguments.service, session).await;
        let ready = matches!(answer, Ok(ServingStatus::Serving));
        let worth_waiting = !matches!(answer, Err(CliError::Usage(_) | CliError::Read { .. }));
        if !ready && worth_waiting && deadline.is_some_and(|deadline| Instant::now() < deadline) {
            session.disconnect();
            sleep(ASK_AGAIN).await;
            continue;
        }
        let status = answer?;
        match session.printer.format() {
            Format::Json => session.printer.json(&json!({"status": status.as_str_name()}))?,
            Format::Table => session.printer.line(status.as_str_name())?,
        }
        return Ok(if ready { Outcome::Done } else { Outcome::SomeFailed });
    }
}

async fn ask(service: &str, session: &mut Session) -> Result<ServingStatus, CliError> {
    let mut client = session.health().await?;
    let request = session.call(HealthCheckRequest { service: service.to_owned() });
    let reply = client.check(request).await.map_err(|status| session.failed(status))?;
    Ok(reply.into_inner().status())
}
