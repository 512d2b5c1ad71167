//! `synth`: checkpoints made from a seed, at any published size.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use checkpoint::{HubSettings, ImportOptions, Layout, Preset, Source, SynthOptions, synth};
use clap::{Args, ValueEnum};

use crate::import::jail;
use crate::telemetry::say;

const BENCH_SEED: u64 = 20_251_123;

/// A geometry by name; v3-base where none is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PresetName(Preset);

impl Default for PresetName {
    fn default() -> Self {
        Self(Preset::Base)
    }
}

impl FromStr for PresetName {
    type Err = <Preset as FromStr>::Err;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.parse().map(Self)
    }
}

/// Make a checkpoint of random weights from a seed
#[derive(Debug, Args)]
pub(crate) struct Synth {
    /// Geometry: tiny, xsmall, small, base, large, and their like
    #[arg(long, default_value = "tiny")]
    preset: PresetName,
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
            preset: self.preset.0,
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

/// A bundle of random weights in `scratch`, with as many tasks and the model's own classifier.
pub(crate) fn bundle(
    scratch: &Path,
    preset: PresetName,
    n_tasks: usize,
) -> Result<PathBuf, Box<dyn Error + Send + Sync>> {
    let folder = scratch.join("checkpoint");
    let options = SynthOptions { preset: preset.0, n_tasks, layout: Layout::OneFile, seed: BENCH_SEED, folder };
    let made = synth(&options)?;
    let bundle = scratch.join("bundle");
    checkpoint::import(&ImportOptions {
        source: Source::Folder(made.model),
        adapters: None,
        task: None,
        kinds_file: Some(made.kinds),
        bundle: bundle.clone(),
        jail: jail(0)?,
        hub: HubSettings::from_environment(),
    })?;
    Ok(bundle)
}
