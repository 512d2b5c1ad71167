//! `headwater-server`: serve, import, import-head, synth, bench, accuracy, ood, and the registry's tools.

mod config;
mod layers;
mod run;
mod open_files;
mod import;
mod import_head;
mod synth;
mod registry_tool;
mod bench;
mod accuracy;
mod ood;
mod native_settings;
mod telemetry;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use layers::{LayerError, Layers};
use run::Origin;

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
    let words: Vec<_> = std::env::args_os().collect();
    let command = Arguments::command();
    let layers = match Layers::read(&command, &words) {
        Ok(layers) => layers,
        Err(LayerError::Usage(error)) => error.exit(),
        Err(error) => {
            telemetry::say_failure(&error);
            return ExitCode::FAILURE;
        }
    };
    let arguments = Arguments::from_arg_matches(&layers.matches).unwrap_or_else(|error| error.exit());
    let filter = match &arguments.command {
        Command::Serve(options) => telemetry::parse_filter(&options.log).unwrap_or_default(),
        Command::Import(_)
        | Command::ImportHead(_)
        | Command::Synth(_)
        | Command::Registry(_)
        | Command::Bench(_)
        | Command::Accuracy(_)
        | Command::Ood(_)
        | Command::EncoderDigest(_) => telemetry::filter_of_environment(),
    };
    let set_filter = telemetry::start(filter);
    if let Command::Serve(_) | Command::Bench(_) | Command::Accuracy(_) | Command::Ood(_) = arguments.command
        && let Some(error) = native_settings::settle()
    {
        tracing::warn!(%error, "libtorch runs with its own settings");
    }
    let done = match arguments.command {
        Command::Serve(options) => run::run(*options, Origin { command, words, layers, set_filter }),
        Command::Import(options) => options.run(),
        Command::ImportHead(options) => options.run(),
        Command::Synth(options) => options.run(),
        Command::Registry(options) => options.run(),
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
