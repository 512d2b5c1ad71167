//! Reads a pickle in a process of its own, as the server's hidden subcommand does.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    checkpoint::jail::child_main(&arguments)
}
