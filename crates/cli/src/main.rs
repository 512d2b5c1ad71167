//! The binary `headwater`: hands the arguments and the standard streams to the library.

use std::io::{self, BufWriter, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use cli::{Arguments, Streams};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let streams = Streams {
        input: Box::new(io::stdin()),
        output: Box::new(BufWriter::new(io::stdout())),
        output_is_terminal: io::stdout().is_terminal(),
        errors: Box::new(io::stderr()),
    };
    let code = cli::run(arguments, streams).await;
    // A thread may still wait for standard input; leaving by `exit` does not wait for it.
    std::process::exit(code)
}
