//! The command line as typed parts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    audit, classify, compare, embed, evaluate, fit, heads, health, load, registry, score, server, tasks, tenants,
    tokenize, tokens, zero_shot,
};

/// Where a server is looked for.
pub(crate) const DEFAULT_ADDRESS: &str = "http://127.0.0.1:50051";

/// Asks a Headwater server, and looks after its heads.
///
/// Exit status: 0 done, 1 some inputs failed, 2 usage, 3 cannot reach the server, 4 refused by the server, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) session: SessionArguments,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// How to reach the server, and how to print what it says.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct SessionArguments {
    /// Address of the server; `https://` speaks TLS.
    #[arg(long, global = true, env = "HEADWATER_ADDR", default_value = DEFAULT_ADDRESS, value_name = "URL")]
    pub(crate) addr: String,
    /// Token sent with every call.
    #[arg(long, global = true, env = "HEADWATER_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// PEM file with the authorities that may vouch for the server, instead of the system's.
    #[arg(long, global = true, env = "HEADWATER_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// PEM file with this client's certificate.
    #[arg(long, global = true, env = "HEADWATER_CERT", value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    #[arg(long, global = true, env = "HEADWATER_KEY", value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Tenant that the credential is taken to speak for; the server refuses where it speaks for another one.
    #[arg(long, global = true, env = "HEADWATER_TENANT")]
    pub(crate) tenant: Option<String>,
    /// Give up on a call after this many seconds; a stream of inputs has no limit.
    #[arg(long, global = true, env = "HEADWATER_TIMEOUT", value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Table for people or JSON lines for programs [default: table on a terminal, json elsewhere].
    #[arg(long, global = true, env = "HEADWATER_OUTPUT", value_enum)]
    pub(crate) output: Option<Format>,
}

/// What results look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Ask a task about texts.
    Classify(classify::Arguments),
    /// Hold texts against labels of your own.
    ZeroShot(zero_shot::Arguments),
    /// Reward of answers to a prompt.
    Score(score::Arguments),
    /// Rank answers to a prompt.
    Compare(compare::Arguments),
    /// The encoder's vectors of texts.
    Embed(embed::Arguments),
    /// The tokens that the encoder would read.
    Tokenize(tokenize::Arguments),
    /// List the tasks that you may use, or find some.
    Tasks(tasks::ListArguments),
    /// One task's page: its card, a sample input, and how to ask it.
    Task(tasks::ShowArguments),
    /// Judge heads on labelled rows.
    Evaluate(evaluate::Arguments),
    /// Install, name, route, export and delete heads.
    #[command(subcommand)]
    Heads(heads::Verb),
    /// Fit a head on labelled rows.
    Fit(fit::Arguments),
    /// Make, list, limit and delete tenants.
    #[command(subcommand)]
    Tenants(tenants::Verb),
    /// Make, list and revoke tokens.
    #[command(subcommand)]
    Tokens(tokens::Verb),
    /// Who changed what, newest first.
    Audit(audit::Arguments),
    /// Count, check, back up and sweep what the server has stored.
    #[command(subcommand)]
    Registry(registry::Verb),
    /// Ask whether the server is ready.
    Health(health::Arguments),
    /// Look after the running server.
    #[command(subcommand)]
    Server(server::Verb),
    /// Measure how fast texts are answered, so many at a time.
    Load(load::Arguments),
}

impl SessionArguments {
    /// What was asked for, otherwise what suits the reader.
    pub(crate) fn format(&self, output_is_terminal: bool) -> Format {
        self.output.unwrap_or(if output_is_terminal { Format::Table } else { Format::Json })
    }
}

pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a number of seconds above 0 is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_terminal_gets_a_table_and_a_program_gets_json_unless_told_otherwise() {
        let plain = Arguments::try_parse_from(["headwater", "health"]).unwrap();
        assert_eq!(plain.session.format(true), Format::Table);
        assert_eq!(plain.session.format(false), Format::Json);
        let told = Arguments::try_parse_from(["headwater", "health", "--output", "table"]).unwrap();
        assert_eq!(told.session.format(false), Format::Table);
    }

    #[test]
    fn a_timeout_of_nothing_is_refused() {
        assert!(parse_seconds("0").is_err());
        assert!(parse_seconds("-1").is_err());
        assert!(parse_seconds("nan").is_err());
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
    }
}
