//! The jail as a program of its own, for the tests of this crate; the server starts itself with a hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    checkpoint::jail::child_main(&arguments)
}
