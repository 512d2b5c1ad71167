//! `registry`: look after a data directory while no server runs on it.

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use registry::OpenOptions;
use registry::tools::{export, rebuild, restore, verify};

use crate::config::REGISTRY_FOLDER;
use crate::telemetry::say;

/// Verify, export, restore or rebuild the registry of a data folder
#[derive(Debug, Args)]
pub(crate) struct RegistryTool {
    /// The server's data folder
    #[arg(long, env = "HEADWATER_DATA", value_name = "DIR")]
    data: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check every record and every object; changes nothing
    Verify,
    /// Write everything to a new folder, as one generation
    Export {
        /// The folder; nothing may be there
        out: PathBuf,
    },
    /// Make an empty data folder's registry from an export
    Restore {
        /// What `export` wrote
        from: PathBuf,
    },
    /// Make the record store anew from the journal; the old one stays beside it
    Rebuild,
}

impl RegistryTool {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let dir = self.data.join(REGISTRY_FOLDER);
        match self.action {
            Action::Verify => {
                let report = verify(&dir)?;
                say(&format!(
                    "generation {}: {} heads are whole, {} damaged, {} unused objects",
                    report.generation,
                    report.heads,
                    report.damaged.len(),
                    report.unused_objects
                ));
                let damaged = report.damaged.iter().map(|head| format!("{head:?}"));
                let wrong: Vec<_> = damaged.chain(report.problems).collect();
                if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
            }
            Action::Export { out } => {
                let generation = export(&dir, &out)?;
                say(&format!("generation {generation} written to {}", out.display()));
                Ok(())
            }
            Action::Restore { from } => {
                let report = restore(&from, &dir, &OpenOptions::SERVER)?;
                say(&format!("{} heads restored", report.heads));
                Ok(())
            }
            Action::Rebuild => {
                let report = rebuild(&dir, &OpenOptions::SERVER)?;
                say(&format!("{} heads found, {} damaged", report.heads, report.damaged.len()));
                Ok(())
            }
        }
    }
}
