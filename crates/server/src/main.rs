//! `headwater-server`: serve, token, import, import-head, synth, bench, accuracy, ood, and the registry's tools.

mod config;
mod run;
mod import;
mod import_head;
mod synth;
mod registry_tool;
mod first_token;
mod bench;
mod accuracy;
mod ood;
mod native_settings;
mod telemetry;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Serves hundreds of text classifiers from one resident DeBERTa encoder.
#[derive(Debug, Parser)]
#[command(name = "headwater-server", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<config::Serve>),
    Import(import::Import),
    ImportHead(import_head::ImportHead),
    Synth(synth::Synth),
    Registry(registry_tool::RegistryTool),
    Token(first_token::FirstToken),
    Bench(bench::Bench),
    Accuracy(accuracy::MeasureAccuracy),
    Ood(ood::MeasureOod),
    /// Print the digest of a bundle's encoder
    EncoderDigest(config::DigestOf),
}

fn main() -> ExitCode {
    if let Some(done) = import::read_pickle_if_asked() {
        return done;
    }
    let arguments = Arguments::parse();
    telemetry::start();
    if let Command::Serve(_) | Command::Bench(_) | Command::Accuracy(_) | Command::Ood(_) = arguments.command
        && let Some(error) = native_settings::settle()
    {
        tracing::warn!(%error, "libtorch runs with its own settings");
    }
    let done = match arguments.command {
        Command::Serve(options) => run::run(*options),
        Command::Import(options) => options.run(),
        Command::ImportHead(options) => options.run(),
        Command::Synth(options) => options.run(),
        Command::Registry(options) => options.run(),
        Command::Token(options) => options.run(),
        Command::Bench(options) => options.run(),
        Command::Accuracy(options) => options.run(),
        Command::Ood(options) => options.run(),
        Command::EncoderDigest(options) => options.run().map(|digest| telemetry::say(&digest.to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::say_failure(error.as_ref());
            ExitCode::FAILURE
        }
    }
}
