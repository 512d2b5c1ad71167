//! `synth`: checkpoints made from a seed, at any published size.

use std::error::Error;
use std::path::PathBuf;

use checkpoint::{Layout, Preset, SynthOptions, synth};
use clap::{Args, ValueEnum};

use crate::telemetry::say;

/// Make a checkpoint of random weights from a seed
#[derive(Debug, Args)]
pub(crate) struct Synth {
    /// Geometry: tiny, xsmall, small, base, large, and their like
    #[arg(long, default_value = "tiny")]
    preset: Preset,
    /// Tasks
    #[arg(long, value_name = "N", default_value_t = 444)]
    tasks: usize,
    /// Layout: a is one file, b a model with pickled adapters
    #[arg(long, default_value = "a")]
    layout: LayoutName,
    /// Seed; equal seeds give equal bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Folder to write; nothing may be there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LayoutName {
    A,
    B,
}

impl Synth {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let layout = match self.layout {
            LayoutName::A => Layout::OneFile,
            LayoutName::B => Layout::Adapters,
        };
        let made = synth(&SynthOptions {
            preset: self.preset,
            n_tasks: self.tasks,
            layout,
            seed: self.seed,
            folder: self.out.clone(),
        })?;
        say(&format!("{} parameters and {} tasks in {}", made.parameters, self.tasks, self.out.display()));
        let adapters = made.adapters.map_or_else(String::new, |folder| format!(" --adapters {}", folder.display()));
        let kinds = made.kinds.display();
        say(&format!("headwater-server import {}{adapters} --kinds {kinds} --data DIR", made.model.display()));
        Ok(())
    }
}
