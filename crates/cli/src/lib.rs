//! The command line of callers and operators: a pure gRPC client, as a library, so that tests can run it in their own
//! process. The modules stand in the order in which a call meets them.

mod config;
mod connect;
mod session;
mod error;
mod inputs;
mod options;
mod row;
mod labelled;
mod labelled_lines;
mod lines;
mod window;
mod calls;
mod stream;
mod answer;
mod output;
mod progress;
mod classify;
mod classify_tasks;
mod zero_shot;
mod score;
mod compare;
mod embed;
mod tokenize;
mod tasks;
mod evaluate;
mod heads;
mod fit;
mod tenants;
mod tokens;
mod audit;
mod registry;
mod health;
mod server;
mod load;

use std::io::{Read, Write};

pub use config::Arguments;
pub use error::CliError;

use config::Verb;
use session::{Outcome, Session};

/// Everything worked.
pub const DONE: i32 = 0;
/// Some inputs failed; the others have their answers.
pub const SOME_FAILED: i32 = 1;
/// The command line, or a file it names, is at fault.
pub const USAGE: i32 = 2;
/// No server answers at the address.
pub const UNREACHABLE: i32 = 3;
/// The server refused the call.
pub const REFUSED: i32 = 4;
/// The caller pressed Ctrl-C, and what was under way is undone.
pub const INTERRUPTED: i32 = 130;

/// Where a run reads and writes.
pub struct Streams {
    /// What `--input -` reads.
    pub input: Box<dyn Read + Send>,
    /// Results, and nothing else.
    pub output: Box<dyn Write>,
    /// Whether a person reads the results: then tables are the default.
    pub output_is_terminal: bool,
    /// What went wrong with the call as a whole.
    pub errors: Box<dyn Write>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("output_is_terminal", &self.output_is_terminal).finish_non_exhaustive()
    }
}

/// Runs one command and returns the exit status: [`DONE`], [`SOME_FAILED`], [`USAGE`], [`UNREACHABLE`] or [`REFUSED`].
pub async fn run(arguments: Arguments, streams: Streams) -> i32 {
    let Streams { input, output, output_is_terminal, mut errors } = streams;
    let format = arguments.session.format(output_is_terminal);
    let mut session = Session::new(arguments.session, input, output::Printer::new(output, format, output_is_terminal));
    let result = obey(arguments.verb, &mut session).await.and_then(|outcome| {
        session.printer.flush()?;
        Ok(outcome)
    });
    match result {
        Ok(Outcome::Done) => DONE,
        Ok(Outcome::SomeFailed) => SOME_FAILED,
        // Whoever read the results has seen enough, as `head` does.
        Err(CliError::Write(cause)) if cause.kind() == std::io::ErrorKind::BrokenPipe => DONE,
        Err(error) => {
            // What was answered before the failure still counts.
            let _ = session.printer.flush();
            // Nobody is left to tell where standard error is closed.
            let _ = writeln!(errors, "headwater: {error}");
            error.exit_status()
        }
    }
}

async fn obey(verb: Verb, session: &mut Session) -> Result<Outcome, CliError> {
    match verb {
        Verb::Classify(arguments) => classify::run(arguments, session).await,
        Verb::ZeroShot(arguments) => zero_shot::run(arguments, session).await,
        Verb::Score(arguments) => score::run(arguments, session).await,
        Verb::Compare(arguments) => compare::run(arguments, session).await,
        Verb::Embed(arguments) => embed::run(arguments, session).await,
        Verb::Tokenize(arguments) => tokenize::run(arguments, session).await,
        Verb::Tasks(arguments) => tasks::run(arguments, session).await,
        Verb::Task(arguments) => tasks::show(arguments, session).await,
        Verb::Evaluate(arguments) => evaluate::run(arguments, session).await,
        Verb::Heads(verb) => heads::run(verb, session).await,
        Verb::Fit(arguments) => fit::run(arguments, session).await,
        Verb::Tenants(verb) => tenants::run(verb, session).await,
        Verb::Tokens(verb) => tokens::run(verb, session).await,
        Verb::Audit(arguments) => audit::run(arguments, session).await,
        Verb::Registry(verb) => registry::run(verb, session).await,
        Verb::Health(arguments) => health::run(arguments, session).await,
        Verb::Server(verb) => server::run(verb, session).await,
        Verb::Load(arguments) => load::run(arguments, session).await,
    }
}
