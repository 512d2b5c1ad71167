//! A server to be killed: serves the folder it is told, says on which address, and goes on until then.

#![expect(clippy::print_stdout, reason = "whoever has started it waits for the address")]

use std::path::PathBuf;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else { return ExitCode::from(2) };
    match tests::serve_until_killed(&folder, |address| println!("LISTENING {address}")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED {error}");
            ExitCode::FAILURE
        }
    }
}
